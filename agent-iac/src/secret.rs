//! Secrets, and the rule that nothing prints one.
//!
//! Owns [`Secret`], which has no `Display`, no `Serialize` and a `Debug` that
//! says nothing, and [`Fingerprint`], by which a secret's drift is seen
//! without the secret.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretBox};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{address::Address, clock::Entropy};

/// A secret's bytes, wiped when dropped.
///
/// ```
/// use agent_iac::secret::Secret;
///
/// let secret = Secret::from_bytes(b"hunter2".to_vec());
/// assert_eq!(format!("{secret:?}"), "Secret(…)");
/// assert_eq!(secret.expose(|bytes| bytes.len()), 7);
/// ```
pub struct Secret(SecretBox<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    /// Takes a text's bytes over.
    pub fn from_text(text: String) -> Self {
        Self::from_bytes(text.into_bytes())
    }

    /// Draws `bytes` random bytes and writes them as lower-case hexadecimal.
    pub fn random(entropy: &dyn Entropy, bytes: usize) -> Self {
        let mut raw = SecretBox::new(Box::new(vec![0_u8; bytes]));
        entropy.fill(secrecy::ExposeSecretMut::expose_secret_mut(&mut raw).as_mut_slice());
        // Full capacity from the start: a reallocation would leave a copy.
        let mut text = Vec::with_capacity(bytes * 2);
        for byte in raw.expose_secret() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(b"0123456789abcdef"[usize::from(nibble)]);
            }
        }
        Self::from_bytes(text)
    }

    /// Lends the bytes for the length of one call.
    pub fn expose<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        read(self.0.expose_secret())
    }

    /// A second holder of the same bytes, for the few places that need one.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::from_bytes(self.0.expose_secret().clone())
    }

    /// Whether both hold the same bytes, in a time that depends on their
    /// lengths only.
    pub fn equals(&self, other: &Self) -> bool {
        let (a, b) = (self.0.expose_secret(), other.0.expose_secret());
        a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A keyed digest of a secret, mixed with its address and generation, so that
/// equal secrets of two agents cannot be told from their records.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Computes HMAC-SHA-256 (RFC 2104) under `key`.
    pub fn of(key: &Secret, address: &Address, generation: u32, secret: &Secret) -> Self {
        let place = format!("{address}\n{generation}\n");
        let mac = key.expose(|key| {
            let key_digest: [u8; 32] = Sha256::digest(key).into();
            let pad = |byte: u8| {
                let mut block = [byte; 64];
                block.iter_mut().zip(key_digest).for_each(|(b, k)| *b ^= k);
                block
            };
            let inner = secret.expose(|secret| {
                Sha256::new()
                    .chain_update(pad(0x36))
                    .chain_update(place.as_bytes())
                    .chain_update(secret)
                    .finalize()
            });
            Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize()
        });
        Self(mac.iter().fold(String::from("hmac-sha256:"), |mut text, byte| {
            use fmt::Write as _;
            let _: fmt::Result = write!(text, "{byte:02x}");
            text
        }))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
