//! Secrets, which a command line holds only encrypted.

pub(crate) mod store;

/// A source of secrets, and the master key of a guest that encrypts them.
///
/// QEMU reads the key from the file `master-key.aes` in the directory of the guest, and decrypts each secret with it:
/// AES-256 in CBC mode with the padding of PKCS#7 (object `secret` of QEMU, property `keyid`).
pub trait Secrets {
    /// Returns a secret that a guest names, encrypted.
    ///
    /// # Errors
    /// [`SecretError`].
    fn secret(&self, usage: SecretUsage, id: SecretId<'_>) -> Result<Encrypted, SecretError>;

    /// Returns a value that a guest itself contains, as in the cookies of a disk, encrypted.
    ///
    /// # Errors
    /// [`SecretError`].
    fn encrypt(&self, value: &[u8]) -> Result<Encrypted, SecretError>;
}

/// An encrypted value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// The ciphertext in base64.
    pub data: String,
    /// The initialization vector of 16 bytes in base64.
    pub iv: String,
}

/// The purpose of a secret: libvirt's `<usage type='…'>`. A secret of another purpose must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretUsage {
    /// The passphrase of an encrypted volume: `volume`.
    Volume,
    /// The key of a user of Ceph: `ceph`.
    Ceph,
    /// The password of an iSCSI target, and of other network disks: `iscsi`.
    Iscsi,
    /// The passphrase of a private key: `tls`.
    Tls,
    /// The passphrase of the state of a TPM: `vtpm`.
    Vtpm,
}

/// The name of a secret in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretId<'a> {
    /// Its UUID, in any notation that libvirt reads.
    Uuid(&'a str),
    /// Its usage: the volume, name or target that it belongs to.
    Usage(&'a str),
}

/// Error of a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is no secret with the name and the purpose.
    #[error("there is no such secret; define it")]
    NotFound,
    /// The secret cannot be read or encrypted.
    #[error("{0}")]
    Failed(String),
}
