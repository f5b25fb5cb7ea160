//! Variables of firmware in a file.

use std::path::Path;

use crate::resources::ResourceError;

/// Checks that a file of variables or its template is there.
pub(super) fn check(path: &Path, template: Option<&Path>) -> Result<(), ResourceError> {
    let what = format!("there are no variables of firmware at {}", path.display());
    match template {
        _ if path.exists() => Ok(()),
        Some(template) if template.exists() => Ok(()),
        Some(template) => Err(ResourceError::host(
            format!("{what}, and no template at {}", template.display()),
            "install the firmware, or change <nvram>",
        )),
        None => Err(ResourceError::host(what, "create the file, or name a template")),
    }
}
