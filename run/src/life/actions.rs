//! The actions that a guest names for its own end.

use capscache_domain::{Element, Guest};

use crate::error::{Error, Place};

/// An action at the end of a guest's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Destroy,
    Restart,
}

/// The actions of a guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actions {
    pub(super) poweroff: Action,
    pub(super) reboot: Action,
    pub(super) crash: Action,
}

impl Actions {
    /// Reads the actions of a guest; those that keep the guest's memory are not supported.
    pub(super) fn of(guest: &Guest) -> Result<Actions, Error> {
        let action = |name, default| action(guest, name, default);
        Ok(Actions {
            poweroff: action("on_poweroff", Action::Destroy)?,
            reboot: action("on_reboot", Action::Restart)?,
            crash: action("on_crash", Action::Destroy)?,
        })
    }

    /// Checks the actions of a guest without a runner, which cannot restart it.
    pub(super) fn check_detached(self, guest: &Guest) -> Result<(), Error> {
        for (name, action) in [("on_poweroff", self.poweroff), ("on_crash", self.crash)] {
            if let (Action::Restart, Some(element)) = (action, guest.tree().child(name)) {
                let what = "restart needs a runner; use destroy, or do not detach";
                return Err(unsupported(guest, element, what.to_owned()));
            }
        }
        Ok(())
    }
}

fn action(guest: &Guest, name: &str, default: Action) -> Result<Action, Error> {
    let Some(element) = guest.tree().child(name) else { return Ok(default) };
    match element.text() {
        "destroy" => Ok(Action::Destroy),
        "restart" => Ok(Action::Restart),
        other => {
            let what = format!("{other:?} is not supported; use destroy or restart");
            Err(unsupported(guest, element, what))
        }
    }
}

fn unsupported(guest: &Guest, element: &Element, what: String) -> Error {
    let path = format!("/domain/{}", element.name);
    Error::Unsupported { place: Place { path, line: guest.line(element.offset) }, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_that_keep_memory_are_refused_with_their_line() {
        let text = "<domain type='qemu'>\n<os><type arch='x86_64'>hvm</type></os>\n\
                    <on_crash>preserve</on_crash></domain>";
        let refused = Actions::of(&Guest::from_xml(text).unwrap()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot run the guest: line 3: /domain/on_crash: \"preserve\" is not supported; use destroy or restart"
        );
    }
}
