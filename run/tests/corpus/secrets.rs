//! Secrets as libvirt's tests pretend them: each has the same value, and nothing about their encryption is random.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use capscache_run::{Encrypted, SecretError, SecretId, SecretUsage, Secrets};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};

/// The value of each secret.
const VALUE: &[u8] = b"AQCVn5hO6HzFAhAAq0NCv8jtJcIcE+HOBlMQ1A";

/// Encrypts with a key and a vector that count their bytes from 0.
pub(crate) struct Same;

impl Secrets for Same {
    fn secret(&self, _: SecretUsage, _: SecretId<'_>) -> Result<Encrypted, SecretError> {
        self.encrypt(VALUE)
    }

    fn encrypt(&self, value: &[u8]) -> Result<Encrypted, SecretError> {
        let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let iv: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let mut buffer = vec![0; value.len() + iv.len()];
        buffer[..value.len()].copy_from_slice(value);
        let cipher = cbc::Encryptor::<Aes256>::new(&key.into(), &iv.into());
        let data = cipher.encrypt_padded::<Pkcs7>(&mut buffer, value.len()).unwrap();
        Ok(Encrypted { data: STANDARD.encode(data), iv: STANDARD.encode(iv) })
    }
}
