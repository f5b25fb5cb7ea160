//! Secrets from files, descriptors and credentials, encrypted with the master key of a guest.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::{Encrypted, SecretError, SecretId, SecretUsage, Secrets};
use crate::root::Root;
use crate::uuid;

/// Bound on the size of a secret.
const MAX_BYTES: usize = 64 << 10;

/// The size of a block of AES: also that of an initialization vector.
const BLOCK_BYTES: usize = 16;

/// The key by which the command line of one guest encrypts secrets. It is overwritten when it is dropped.
pub(crate) struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// Creates a key from random numbers of the kernel.
    pub(crate) fn random() -> io::Result<MasterKey> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut key[..])?;
        Ok(MasterKey(key))
    }

    /// The key, which is written to a file for the emulator.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0[..]
    }

    fn encrypt(&self, value: &[u8]) -> Result<Encrypted, SecretError> {
        let failed = |what: &str| SecretError::Failed(format!("cannot encrypt it: {what}"));
        let mut iv = [0; BLOCK_BYTES];
        getrandom::fill(&mut iv).map_err(|error| failed(&error.to_string()))?;
        // The padding has 1 to 16 bytes.
        let mut buffer = Zeroizing::new(vec![0; value.len() + BLOCK_BYTES]);
        buffer[..value.len()].copy_from_slice(value);
        let cipher = cbc::Encryptor::<Aes256>::new((&*self.0).into(), (&iv).into());
        let data = cipher
            .encrypt_padded::<Pkcs7>(&mut buffer, value.len())
            .map_err(|error| failed(&error.to_string()))?;
        Ok(Encrypted { data: STANDARD.encode(data), iv: STANDARD.encode(iv) })
    }
}

/// The places of a guest's secrets.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Places by UUID, which precede the directory.
    places: Vec<(String, Place)>,
    /// The directory with a file for each UUID.
    directory: PathBuf,
}

/// The place of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    /// An open descriptor of this process.
    Descriptor(u32),
    /// A name in `$CREDENTIALS_DIRECTORY`, see systemd.exec(5).
    Credential(String),
}

impl Sources {
    /// Takes secrets from the files `secrets/UUID` of a root.
    pub fn new(root: &Root) -> Sources {
        Sources { places: Vec::new(), directory: root.path().join("secrets") }
    }

    /// Adds a secret: `UUID=FILE`, `UUID=fd:N` or `UUID=systemd-credential:NAME`. All bytes are the secret, also a
    /// line end.
    ///
    /// # Errors
    /// A message for text of another form.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let form = "write UUID=FILE, UUID=fd:N or UUID=systemd-credential:NAME";
        let (uuid, place) = text.split_once('=').ok_or(form)?;
        let uuid = uuid::format(uuid).ok_or_else(|| format!("the UUID is not valid; {form}"))?;
        let place = if let Some(number) = place.strip_prefix("fd:") {
            Place::Descriptor(number.parse().map_err(|_| form)?)
        } else if let Some(name) = place.strip_prefix("systemd-credential:") {
            if name.is_empty() || name.contains('/') || name == ".." {
                return Err("the name of a credential has no slashes".to_owned());
            }
            Place::Credential(name.to_owned())
        } else if place.is_empty() {
            return Err(form.to_owned());
        } else {
            Place::File(place.into())
        };
        self.places.push((uuid, place));
        Ok(())
    }

    /// Reads a secret.
    fn read(&self, uuid: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let place = self.places.iter().find(|(found, _)| found == uuid);
        let path = match place.map(|(_, place)| place) {
            None => self.directory.join(uuid),
            Some(Place::File(path)) => path.clone(),
            Some(Place::Descriptor(number)) => format!("/proc/self/fd/{number}").into(),
            Some(Place::Credential(name)) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    SecretError::Failed(
                        "CREDENTIALS_DIRECTORY is not set; run under systemd with LoadCredential="
                            .to_owned(),
                    )
                })?;
                PathBuf::from(directory).join(name)
            }
        };
        let result = match place {
            None => open_own(&self.directory, uuid),
            Some(_) => File::open(&path),
        };
        match result.and_then(read) {
            Ok(secret) => Ok(secret),
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.is_none() => {
                Err(SecretError::NotFound)
            }
            Err(error) => {
                Err(SecretError::Failed(format!("cannot read {}: {error}", path.display())))
            }
        }
    }
}

/// Opens a file in the directory of secrets, which no other user may read or change.
fn open_own(directory: &Path, name: &str) -> io::Result<File> {
    let open = |directory: BorrowedFd<'_>, name: &Path, flags: OFlags, forbidden: Mode| {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
        let status = rustix::fs::fstat(&file)?;
        let is_own = [0, rustix::process::geteuid().as_raw()].contains(&status.st_uid);
        if !is_own || Mode::from_raw_mode(status.st_mode).intersects(forbidden) {
            let what = format!(
                "another user owns {}, or may read or change it; use chmod go= and chown",
                name.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        Ok(File::from(file))
    };
    let above = open(rustix::fs::CWD, directory, OFlags::DIRECTORY, Mode::WGRP | Mode::WOTH)?;
    let file = open(above.as_fd(), Path::new(name), OFlags::RDONLY, Mode::RWXG | Mode::RWXO)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Reads a file of bounded size into memory that is overwritten later and never moved.
fn read(mut file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; MAX_BYTES + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if length > MAX_BYTES {
        let what = format!("it has more than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The secrets of one guest.
pub(crate) struct SecretStore<'a> {
    sources: &'a Sources,
    key: &'a MasterKey,
}

impl<'a> SecretStore<'a> {
    pub(crate) fn new(sources: &'a Sources, key: &'a MasterKey) -> SecretStore<'a> {
        SecretStore { sources, key }
    }
}

impl Secrets for SecretStore<'_> {
    fn secret(&self, _: SecretUsage, id: SecretId<'_>) -> Result<Encrypted, SecretError> {
        let uuid = match id {
            SecretId::Uuid(uuid) => uuid::format(uuid).ok_or_else(|| {
                SecretError::Failed("its UUID is not valid; correct it".to_owned())
            })?,
            SecretId::Usage(_) => {
                let what = "secrets are found by UUID only; name the UUID in the guest";
                return Err(SecretError::Failed(what.to_owned()));
            }
        };
        self.key.encrypt(&self.sources.read(&uuid)?)
    }

    fn encrypt(&self, value: &[u8]) -> Result<Encrypted, SecretError> {
        self.key.encrypt(value)
    }
}

#[cfg(test)]
mod tests {
    use cbc::cipher::BlockModeDecrypt;

    use super::*;

    const UUID: &str = "0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f";

    #[test]
    fn what_is_encrypted_can_be_decrypted_with_the_key() {
        let key = MasterKey::random().unwrap();
        for value in [&b""[..], b"letmein", &[0xff; 16], &[7; 1000]] {
            let Encrypted { data, iv } = key.encrypt(value).unwrap();
            let mut data = STANDARD.decode(data).unwrap();
            let iv: [u8; 16] = STANDARD.decode(iv).unwrap().try_into().unwrap();
            let cipher = cbc::Decryptor::<Aes256>::new((&*key.0).into(), (&iv).into());
            assert_eq!(cipher.decrypt_padded::<Pkcs7>(&mut data).unwrap(), value);
        }
    }

    #[test]
    fn each_place_of_a_secret_is_read_and_the_directory_is_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path()).unwrap();
        let mut sources = Sources::new(&root);
        assert_eq!(sources.read(UUID), Err(SecretError::NotFound));
        std::fs::create_dir(directory.path().join("secrets")).unwrap();
        let own = directory.path().join("secrets").join(UUID);
        std::fs::write(&own, "in the directory").unwrap();
        let set_mode = |path: &Path, mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, mode).unwrap();
        };
        for (mode, of_directory) in [(0o640, 0o755), (0o604, 0o700), (0o600, 0o777)] {
            set_mode(&own, mode);
            set_mode(own.parent().unwrap(), of_directory);
            let refused = sources.read(UUID).unwrap_err().to_string();
            assert!(refused.contains("may read or change it"), "{refused}");
        }
        set_mode(own.parent().unwrap(), 0o755);
        assert_eq!(&sources.read(UUID).unwrap()[..], b"in the directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "in a file\n").unwrap();
        sources.add(&format!("0A81F5B284037B23C8D621CCC2F80D6F={}", file.display())).unwrap();
        assert_eq!(&sources.read(UUID).unwrap()[..], b"in a file\n");
    }

    #[test]
    fn other_forms_are_refused() {
        let mut sources = Sources::new(&Root::new("/r").unwrap());
        let credential = format!("{UUID}=systemd-credential:a/b");
        for text in [UUID, "x=file", &format!("{UUID}="), &format!("{UUID}=fd:x"), &credential] {
            assert!(sources.add(text).is_err(), "{text}");
        }
        assert!(sources.places.is_empty());
    }
}
