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

impl Secret {
    /// Whether a text repeats the secret.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        let secret = self.0.expose_secret();
        !secret.is_empty() && text.as_bytes().windows(secret.len()).any(|part| part == secret)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected digests were computed with another implementation: Python's
    /// `hmac`, under the SHA-256 digest of the key. Keys and messages are those
    /// of RFC 4231, test cases 1 and 2, and a key longer than a block.
    #[test]
    fn a_fingerprint_is_the_standard_hmac_of_address_generation_and_secret() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let cases = [
            (
                &[0x0b; 20][..],
                "triage.key",
                1,
                &b"Hi There"[..],
                "4133f4bea90c468abdea874b5470b24eadb0a41f329a5a91ae1b1d79d55ba1a1",
            ),
            (
                b"Jefe",
                r#"invoice-reader["eu"].db_key"#,
                u32::MAX,
                b"what do ya want for nothing?",
                "5c859ee833b6f5a72ea9b2ead9a8c92ef6f20c56cb0812724aabf9190a86f26a",
            ),
            (
                &[0xaa; 131],
                "triage.key",
                2,
                &every_byte.repeat(8),
                "661ae2e8f37232289fb3ffdb4e3a8ffe7ec13fc65055cb7104828daaa8356705",
            ),
            (
                b"",
                "a.b",
                0,
                b"",
                "69f4e78c9068ec39d542234de44ac49fcd7dc944cc2876e9a3a4b5f3979b6cec",
            ),
        ];
        for (key, address, generation, secret, expected) in cases {
            let (key, secret) =
                (Secret::from_bytes(key.to_vec()), Secret::from_bytes(secret.to_vec()));
            let mark = Fingerprint::of(&key, &address.parse().unwrap(), generation, &secret);
            assert_eq!(mark.to_string(), format!("hmac-sha256:{expected}"));
        }
    }

    #[test]
    fn equal_secrets_have_other_fingerprints_elsewhere() {
        let (key, secret) = (Secret::from_bytes(vec![1; 32]), Secret::from_bytes(vec![2; 32]));
        let of = |address: &str, generation| {
            Fingerprint::of(&key, &address.parse().unwrap(), generation, &secret)
        };
        let all = [of("a.k", 1), of("a.k", 11), of("b.k", 1), of("a.k1", 1)];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
    }

    #[test]
    fn debug_says_nothing_of_a_secret() {
        for text in ["", "hunter2", "a longer secret"] {
            let secret = Secret::from_text(text.to_owned());
            assert_eq!(format!("{secret:?}"), "Secret(…)");
            assert_eq!(format!("{secret:#?}"), "Secret(…)");
            assert_eq!(format!("{:?}", Some(&secret)), "Some(Secret(…))");
        }
    }

    #[test]
    fn a_random_secret_is_the_hexadecimal_of_what_was_drawn() {
        struct Counting;
        impl Entropy for Counting {
            fn fill(&self, bytes: &mut [u8]) {
                (0..).zip(bytes).for_each(|(number, byte)| *byte = 0x0e + number);
            }
        }
        let secret = Secret::random(&Counting, 4);
        assert!(secret.equals(&Secret::from_text("0e0f1011".to_owned())));
        assert!(Secret::random(&Counting, 0).expose(<[u8]>::is_empty));
    }

    #[test]
    fn secrets_are_equal_when_every_byte_is() {
        let secret = |text: &str| Secret::from_text(text.to_owned());
        for (a, b, equal) in
            [("", "", true), ("a", "", false), ("ab", "ab", true), ("ab", "aB", false)]
        {
            assert_eq!(secret(a).equals(&secret(b)), equal, "{a} and {b}");
        }
        assert!(secret("ab").duplicate().equals(&secret("ab")));
    }
}
