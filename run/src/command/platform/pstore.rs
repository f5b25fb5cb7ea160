//! Persistent stores for the guest's crash messages.

use capscache_domain::Kind;

use crate::command::Setup;
use crate::command::address;
use crate::command::args::Args;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// The smallest size in KiB.
const MIN_KIB: u64 = 4;

/// Adds persistent stores for the guest's crash messages.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    if let Some(device) = cx.only(Kind::Pstore)? {
        let view = device.view;
        view.one_of("@backend", &["acpi-erst"])?;
        cx.require_device(view, "acpi-erst")?;
        let size = view.kib("size")?.unwrap_or(0);
        if size < MIN_KIB || !size.is_power_of_two() {
            let what = format!("it is not a power of two of at least {MIN_KIB} KiB; change it");
            return Err(view.invalid("size", what));
        }
        let path = view.text("path").filter(|path| !path.is_empty()).map_or_else(
            || {
                let name = cx.guest.name.as_deref().unwrap_or_default();
                cx.host.nvram_dir.join(format!("{name}_PSTORE.raw")).display().to_string()
            },
            str::to_owned,
        );
        let memory = format!("mem{}", device.alias());
        let object = Props::object("memory-backend-file", &memory)
            .with("mem-path", path.as_str())
            .with("size", size.saturating_mul(1024))
            .with("share", true);
        args.setup(Setup::Store { path: path.into(), kib: size });
        args.object(&object);
        let mut props =
            Props::device("acpi-erst").with("id", device.alias()).with("memdev", memory);
        address::add(cx, device, &mut props)?;
        args.device(&props);
    }
    Ok(())
}
