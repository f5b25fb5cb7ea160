//! Parts that a guest passes to QEMU unchanged: elements in a namespace of their own.

mod overrides;

use capscache_libvirt::{UnknownFlag, find_live};

use crate::command::args::Args;
use crate::context::{Context, LIBVIRT};
use crate::error::Error;
use crate::props::Props;
use crate::view::View;

pub(in crate::command) use overrides::add as add_overrides;

/// The namespace of such elements.
const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// Returns the children of an element that are in the namespace and have a name, and records that they are read. The
/// elements around it may declare the namespace.
fn children<'a>(
    parent: View<'a>,
    outer: Option<View<'a>>,
    domain: View<'a>,
    name: &'static str,
) -> impl Iterator<Item = View<'a>> {
    let is_it = move |child: &View<'a>| {
        let (prefix, local) = child.name().split_once(':').unwrap_or(("", child.name()));
        let declaration = if prefix.is_empty() { "@xmlns" } else { &format!("@xmlns:{prefix}") };
        let around = [Some(*child), Some(parent), outer, Some(domain)];
        let mut declared = around.iter().flatten().filter_map(|view| view.peek(declaration));
        local == name && declared.next() == Some(NAMESPACE)
    };
    parent.elements().filter(is_it).map(View::read)
}

/// Returns the elements of the guest in the namespace that have a name.
fn of_guest<'a>(cx: &Context<'a>, name: &'static str) -> impl Iterator<Item = View<'a>> {
    children(cx.domain, None, cx.domain, name)
}

/// Adds arguments and variables.
pub(in crate::command) fn add(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    check_capabilities(cx)?;
    let lines = || of_guest(cx, "commandline");
    let of = |name| lines().flat_map(move |line| children(line, None, cx.domain, name));
    for arg in of("arg") {
        args.flag(arg.require("@value")?);
    }
    for env in of("env") {
        let name = env.require("@name")?;
        let is_valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_valid {
            let what = "a name has letters, digits and underscores, and starts with no digit";
            return Err(env.invalid("@name", what));
        }
        args.variable(name, env.text("@value").unwrap_or_default());
    }
    Ok(())
}

/// Checks that capabilities which the guest adds or takes away change nothing: those that libvirt does not use any more.
fn check_capabilities(cx: &Context<'_>) -> Result<(), Error> {
    for list in of_guest(cx, "capabilities") {
        for view in ["add", "del"].iter().flat_map(|name| children(list, None, cx.domain, name)) {
            let name = view.require("@capability")?;
            match find_live(name, LIBVIRT) {
                Err(UnknownFlag::Retired { .. }) => {}
                Ok(_) => {
                    let what = "capabilities of the emulator cannot be changed; remove it";
                    return Err(view.unsupported("@capability", what));
                }
                Err(_) => {
                    let what = format!("{name:?} is not a capability of libvirt");
                    return Err(view.invalid("@capability", what));
                }
            }
        }
    }
    Ok(())
}

/// Adds the behaviour of QEMU with parts that are deprecated.
pub(in crate::command) fn add_deprecation(cx: &Context<'_>, args: &mut Args) -> Result<(), Error> {
    let Some(view) = of_guest(cx, "deprecation").next() else { return Ok(()) };
    let behavior = view.one_of("@behavior", &["none", "omit", "reject", "crash"])?;
    let Some(behavior) = behavior.filter(|behavior| *behavior != "none") else { return Ok(()) };
    let mut props = Props::default().with("deprecated-output", "hide");
    if behavior != "omit" {
        props.set("deprecated-input", behavior);
    }
    args.option("-compat", props);
    Ok(())
}
