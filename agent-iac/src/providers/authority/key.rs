//! The form of an API key.
//!
//! `agia_` + 64 hexadecimal digits (256 random bits) + `_` + 8 hexadecimal
//! digits (the CRC-32 of what stands before). Secret scanners find the prefix;
//! the checksum tells a slip of the hand from a key that nobody knows, without
//! asking the file.

use crate::{clock::Entropy, secret::Secret, value::Digest};

/// What every key begins with.
pub(super) const PREFIX: &str = "agia_";
/// The length of a key.
const LENGTH: usize = PREFIX.len() + 64 + 1 + 8;

/// What the authority keeps of a key.
///
/// A plain SHA-256 is enough: a slow, salted hash protects what people choose,
/// and 256 random bits cannot be guessed however fast a guess is. As the key
/// is looked up by its digest, no comparison leaks how far a guess was right.
pub(super) type Hash = [u8; 32];

/// Makes a key.
pub(super) fn generate(entropy: &dyn Entropy) -> Secret {
    let random = Secret::random(entropy, 32);
    // Full capacity from the start: a reallocation would leave a copy.
    let mut text = Vec::with_capacity(LENGTH);
    text.extend_from_slice(PREFIX.as_bytes());
    random.expose(|random| text.extend_from_slice(random));
    let checksum = crc32(&text);
    text.extend_from_slice(format!("_{checksum:08x}").as_bytes());
    Secret::from_bytes(text)
}

/// The hash of a key; `None` when the text is none, or was mistyped.
pub(super) fn hash(key: &[u8]) -> Option<Hash> {
    let (body, checksum) = key.split_at_checked(LENGTH - 9)?;
    let sound = key.len() == LENGTH
        && body.starts_with(PREFIX.as_bytes())
        && checksum == format!("_{:08x}", crc32(body)).as_bytes();
    sound.then(|| *Digest::of_bytes(key).as_bytes())
}

/// CRC-32 as in IEEE 802.3, bit by bit: keys are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
    }

    #[test]
    fn a_slip_in_any_place_is_told_from_a_key() {
        let key = generate(&SystemEntropy).expose(<[u8]>::to_vec);
        assert_eq!(key.len(), LENGTH);
        assert!(hash(&key).is_some());
        for place in 0..key.len() {
            let mut slip = key.clone();
            slip[place] = if slip[place] == b'a' { b'b' } else { b'a' };
            assert_eq!(hash(&slip), None, "at {place}");
        }
        assert_eq!(hash(&key[1..]), None);
        assert_eq!(hash(&[&key[..], b" "].concat()), None);
        assert_eq!(hash("agia_é".as_bytes()), None);
    }
}
