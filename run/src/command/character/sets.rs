//! Sets of descriptors of character devices.

use capscache_domain::Kind;

use crate::context::Context;
use crate::view::View;

/// The kinds of devices with a host's side whose files are passed in sets.
const KINDS: &[Kind] =
    &[Kind::Smartcard, Kind::Serial, Kind::Parallel, Kind::Channel, Kind::Console, Kind::Redirdev];

/// Returns the number of sets of descriptors that character devices need.
pub(in crate::command) fn count_sets(cx: &Context<'_>) -> u32 {
    let devices = cx.devices.iter().filter(|device| KINDS.contains(&device.kind().kind()));
    let of_devices = devices.map(|device| count(device.view));
    let of_rngs = cx.of(Kind::Rng).filter_map(|device| device.view.child("backend")).map(count);
    of_devices.chain(of_rngs).sum()
}

fn count(view: View<'_>) -> u32 {
    let is_console = view.name() == "console" && view.peek("target@type") == Some("serial");
    if is_console {
        return 0;
    }
    u32::from(view.peek("@type") == Some("file")) + u32::from(view.peek("log@file").is_some())
}
