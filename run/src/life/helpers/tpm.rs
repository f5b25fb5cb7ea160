//! The emulator of a TPM: swtpm.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::{Program, Service};
use crate::command::Swtpm;
use crate::life::prepared::Prepared;
use crate::resources::ResourceError;
use crate::resources::unsupported;
use crate::user::User;

/// The place of the state of a TPM.
#[derive(Debug)]
pub(in crate::life) struct State {
    place: Place,
    /// The directories above that of a guest in the root, and the user of the state.
    root: PathBuf,
    user: Option<User>,
}

#[derive(Debug)]
enum Place {
    Dir(PathBuf),
    File(PathBuf),
}

/// Returns the process of a TPM. It is manufactured at the first start, without certificates: these are made with keys
/// of the host, outside of the root.
pub(in crate::life) fn service(
    swtpm: &Swtpm,
    prepared: &Prepared,
) -> Result<Service, ResourceError> {
    if swtpm.secret.is_some() {
        return Err(unsupported("an encrypted TPM (<encryption>)"));
    }
    if swtpm.profile.is_some() {
        return Err(unsupported("a profile of a TPM (<profile>)"));
    }
    let root = prepared.root.path().join("lib/tpm");
    let place = match &swtpm.source {
        Some((kind, path)) if kind == "file" => Place::File(path.into()),
        Some((_, path)) => Place::Dir(path.into()),
        None => Place::Dir(root.join(&prepared.name).join(&swtpm.version)),
    };
    check(&swtpm.socket)?;
    match &place {
        Place::Dir(path) | Place::File(path) => check(path)?,
    }
    let state = State { place, root, user: prepared.user.clone() };
    let is_2 = swtpm.version == "2.0";
    let mut steps = Vec::new();
    if state.is_new(is_2) {
        steps.push(Program::new("swtpm_setup", manufacture(&state, is_2))?);
    }
    if !swtpm.banks.is_empty() {
        steps.push(Program::new("swtpm_setup", activate(&state, &swtpm.banks))?);
    }
    let program = Program::new("swtpm", run(swtpm, &state, is_2))?;
    Ok(Service { steps, state: Some(state), ..Service::new(program, &swtpm.socket) })
}

fn manufacture(state: &State, is_2: bool) -> Vec<String> {
    let mut words = state.setup_words(is_2);
    words.extend(["--createek", "--lock-nvram", "--not-overwrite"].map(str::to_owned));
    words
}

fn activate(state: &State, banks: &[String]) -> Vec<String> {
    let mut words = state.setup_words(true);
    words.extend(["--reconfigure".to_owned(), "--pcr-banks".to_owned(), banks.join(",")]);
    words
}

fn run(swtpm: &Swtpm, state: &State, is_2: bool) -> Vec<String> {
    let socket = swtpm.socket.display();
    let place = match &state.place {
        Place::Dir(path) => format!("dir={},mode=0600", path.display()),
        Place::File(path) => format!("backend-uri=file://{}", path.display()),
    };
    let mut words = vec![
        "socket".to_owned(),
        "--ctrl".to_owned(),
        format!("type=unixio,path={socket},mode=0600"),
        "--tpmstate".to_owned(),
        place,
        "--terminate".to_owned(),
    ];
    if swtpm.debug > 0 {
        words.extend(["--log".to_owned(), format!("fd=2,level={}", swtpm.debug)]);
    }
    if is_2 {
        words.push("--tpm2".to_owned());
    }
    words
}

impl State {
    /// Returns whether the TPM was not manufactured yet.
    fn is_new(&self, is_2: bool) -> bool {
        let file = if is_2 { "tpm2-00.permall" } else { "tpm-00.permall" };
        match &self.place {
            Place::Dir(path) => !path.join(file).exists(),
            Place::File(path) => !path.exists(),
        }
    }

    fn setup_words(&self, is_2: bool) -> Vec<String> {
        let place = match &self.place {
            Place::Dir(path) => path.display().to_string(),
            Place::File(path) => format!("file://{}", path.display()),
        };
        let mut words = vec!["--tpm-state".to_owned(), place];
        if is_2 {
            words.push("--tpm2".to_owned());
        }
        words
    }

    /// Creates the directory of the state.
    pub(in crate::life) fn create(&self) -> Result<(), ResourceError> {
        let Place::Dir(path) = &self.place else { return Ok(()) };
        let create = || -> io::Result<()> {
            if path.exists() {
                return Ok(());
            }
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(path)?;
            let Some(user) = &self.user else { return Ok(()) };
            // Those above it must be searchable by its user.
            for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&self.root))
            {
                fs::set_permissions(above, PermissionsExt::from_mode(0o711))?;
            }
            chown(path, Some(user.uid), Some(user.gid))
        };
        create().map_err(ResourceError::io("create", path))
    }
}

/// Refuses paths that swtpm would split.
fn check(path: &Path) -> Result<(), ResourceError> {
    match path.to_string_lossy().contains(',') {
        true => Err(ResourceError::host(
            format!("swtpm cannot use {}, which contains a comma", path.display()),
            "use another directory or name",
        )),
        false => Ok(()),
    }
}
