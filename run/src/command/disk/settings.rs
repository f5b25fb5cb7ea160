//! Settings of a disk that its images share.

use crate::command::disk::facts::Disk;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;

/// Settings of the images of a disk.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::command) struct Settings {
    pub(super) cache: Option<Cache>,
    /// The kind of asynchronous I/O.
    pub(super) io: Option<&'static str>,
    pub(super) discard: Option<&'static str>,
    /// Detection of zeroes, in the top image only.
    pub(super) detect_zeroes: Option<&'static str>,
    pub(super) discard_no_unref: Option<bool>,
    /// True for directories that are shown as floppies.
    pub(super) is_floppy: bool,
}

/// The cache of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cache {
    pub(super) mode: &'static str,
    /// True if writes are reported before they are on the disk.
    pub(super) is_write_back: bool,
    is_direct: bool,
    ignores_flushes: bool,
}

impl Cache {
    fn new(mode: &'static str) -> Cache {
        Cache {
            mode,
            is_write_back: matches!(mode, "none" | "writeback" | "unsafe"),
            is_direct: matches!(mode, "none" | "directsync"),
            ignores_flushes: mode == "unsafe",
        }
    }
}

impl Settings {
    /// Reads the settings in the `<driver>` of a disk.
    pub(super) fn read(cx: &Context<'_>, disk: &Disk<'_>) -> Result<Settings, Error> {
        let view = disk.device.view;
        let modes = ["default", "none", "writethrough", "writeback", "directsync", "unsafe"];
        let mode = view.one_of("driver@cache", &modes)?.filter(|mode| *mode != "default");
        // Guests that share a disk must not have different caches of it.
        let shared = (disk.is_shared && !disk.is_readonly).then_some("none");
        let settings = Settings {
            cache: mode.or(shared).map(Cache::new),
            io: view.one_of("driver@io", &["native", "threads", "io_uring"])?,
            discard: view.one_of("driver@discard", &["unmap", "ignore"])?,
            detect_zeroes: view.one_of("driver@detect_zeroes", &["off", "on", "unmap"])?,
            discard_no_unref: view.switch("driver@discard_no_unref")?,
            is_floppy: disk.is_floppy(),
        };
        settings.check(cx, disk, mode)?;
        Ok(settings)
    }

    fn check(&self, cx: &Context<'_>, disk: &Disk<'_>, mode: Option<&str>) -> Result<(), Error> {
        let view = disk.device.view;
        let is_direct = matches!(mode, Some("none" | "directsync"));
        let schema = cx.entry.schema();
        if self.io == Some("native") && !is_direct {
            return Err(view.invalid("driver@io", "native I/O needs the cache none or directsync"));
        }
        let uring = "blockdev-add/arg-type/+file/aio/^io_uring";
        if self.io == Some("io_uring") && !schema.has(uring).is_yes() {
            return Err(view.lacks("driver@io", "io_uring; use threads"));
        }
        let unref = "blockdev-add/arg-type/+qcow2/discard-no-unref";
        if self.discard_no_unref.is_some() && !schema.has(unref).is_yes() {
            return Err(view.lacks("driver@discard_no_unref", "this setting; remove it"));
        }
        if self.discard_no_unref == Some(true) && disk.is_readonly {
            let what = "a disk that is only read discards nothing; remove it";
            return Err(view.invalid("driver@discard_no_unref", what));
        }
        Ok(())
    }

    /// Returns the settings of an image below the top one.
    pub(super) fn below(self) -> Settings {
        Settings { detect_zeroes: None, ..self }
    }

    /// Returns the detection of zeroes as it is without discarding.
    pub(super) fn effective_detect_zeroes(&self) -> Option<&'static str> {
        match self.detect_zeroes {
            Some("unmap") if self.discard != Some("unmap") => Some("on"),
            other => other,
        }
    }

    /// Adds the options that all nodes have. The node on top of an image has those that the disk sets.
    pub(in crate::command) fn add(
        &self,
        props: &mut Props,
        node: &str,
        is_top: bool,
        is_readonly: bool,
    ) {
        props.set("node-name", node);
        match is_top {
            true => {
                props.set("read-only", is_readonly);
                props.set_some("discard", self.discard);
                props.set_some("detect-zeroes", self.effective_detect_zeroes());
            }
            false => {
                props.set("auto-read-only", true);
                props.set("discard", "unmap");
            }
        }
        if let Some(cache) = self.cache {
            let cache = Props::default()
                .with("direct", cache.is_direct)
                .with("no-flush", cache.ignores_flushes);
            props.set("cache", cache);
        }
    }
}
