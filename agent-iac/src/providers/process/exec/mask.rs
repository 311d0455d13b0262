//! Secrets that are masked in a stream.

use crate::secret::Secret;

/// What stands in the place of a secret.
pub const MASK: &[u8] = b"(secret)";

/// A shorter secret is not masked: it would be found everywhere.
const SHORTEST: usize = 6;

/// Replaces secrets in bytes that come in parts. However they are divided, what
/// comes out is the same, and a secret that is split between two parts is
/// masked as well.
///
/// ```
/// use agent_iac::{providers::process::exec::Masker, secret::Secret};
///
/// let mut masker = Masker::new();
/// masker.hide(&Secret::from_bytes(b"hunter22".to_vec()));
/// let mut out = Vec::new();
/// masker.push(b"password=hun", &mut out);
/// masker.push(b"ter22\n", &mut out);
/// masker.finish(&mut out);
/// assert_eq!(out, b"password=(secret)\n");
/// ```
#[derive(Debug, Default)]
pub struct Masker {
    hidden: Vec<Secret>,
    /// The beginning of what may become a secret.
    held: Vec<u8>,
}

impl Masker {
    /// Makes one that masks nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Masks a secret from here on. Where it is JSON, as a user name with its
    /// password, each text in it is masked as well.
    pub fn hide(&mut self, secret: &Secret) {
        let mut texts = Vec::new();
        secret.expose(|bytes| {
            if let Ok(json @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) =
                serde_json::from_slice(bytes)
            {
                collect(json, &mut texts);
            }
            // A program that reads a line prints it without its end.
            texts.push(bytes.trim_ascii().to_vec());
        });
        for text in texts {
            let text = Secret::from_bytes(text);
            let known = self.hidden.iter().any(|hidden| hidden.equals(&text));
            if !known && text.expose(<[u8]>::len) >= SHORTEST {
                self.hidden.push(text);
            }
        }
    }

    /// Takes a part, and gives what can be given already.
    pub fn push(&mut self, part: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(part);
        self.mask(false, out);
    }

    /// Gives what was held back, at the end.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.mask(true, out);
    }

    fn mask(&mut self, last: bool, out: &mut Vec<u8>) {
        let mut at = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            let begins = |hidden: &Secret| {
                hidden.expose(|hidden| hidden.len() > rest.len() && hidden.starts_with(rest))
            };
            if !last && self.hidden.iter().any(begins) {
                break;
            }
            let found = |hidden: &Secret| {
                hidden.expose(|hidden| rest.starts_with(hidden).then_some(hidden.len()))
            };
            // The longest: one secret may begin as another one.
            match self.hidden.iter().filter_map(found).max() {
                Some(length) => {
                    out.extend_from_slice(MASK);
                    at += length;
                }
                None => {
                    out.push(rest[0]);
                    at += 1;
                }
            }
        }
        self.held.drain(..at);
    }
}

fn collect(json: serde_json::Value, texts: &mut Vec<Vec<u8>>) {
    match json {
        serde_json::Value::String(text) => texts.push(text.into_bytes()),
        serde_json::Value::Array(items) => items.into_iter().for_each(|one| collect(one, texts)),
        serde_json::Value::Object(entries) => {
            entries.into_iter().for_each(|(_, one)| collect(one, texts));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(secrets: &[String], parts: &[&[u8]]) -> Vec<u8> {
        let mut masker = Masker::new();
        for secret in secrets {
            masker.hide(&Secret::from_text(secret.clone()));
        }
        let mut out = Vec::new();
        for part in parts {
            masker.push(part, &mut out);
        }
        masker.finish(&mut out);
        out
    }

    #[test]
    fn what_a_secret_is_made_of_is_masked_too() {
        let secrets = [
            r#"{"user":"reader__g1","password":"pa55\"word","port":5432}"#.to_owned(),
            "line-secret\n".to_owned(),
            "abc".to_owned(),
        ];
        let out = masked(&secrets, &[b"u=reader__g1 p=pa55\"word l=line-secret! abc"]);
        assert_eq!(out, b"u=(secret) p=(secret) l=(secret)! abc");
    }

    #[test]
    fn the_longest_secret_is_masked_and_what_only_begins_like_one_is_shown() {
        let secrets = ["secret".to_owned(), "secret-longer".to_owned()];
        let out = masked(&secrets, &[b"secret-long", b" secret-longer", b" secre"]);
        assert_eq!(out, b"(secret)-long (secret) secre");
    }

    proptest! {
        // Few letters, so that texts overlap themselves and each other.
        #[test]
        fn however_the_bytes_are_divided_the_same_comes_out_and_no_secret_is_in_it(
            secrets in prop::collection::vec("[ab]{6,9}", 1..4),
            text in "[abc]{0,80}",
            cuts in prop::collection::vec(0..80_usize, 0..12),
            insert in prop::collection::vec((0..80_usize, 0..3_usize), 0..3),
        ) {
            let mut text = text;
            for (at, which) in insert {
                text.insert_str(at.min(text.len()), &secrets[which % secrets.len()]);
            }
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let out = masked(&secrets, &parts);
            prop_assert_eq!(&out, &masked(&secrets, &[bytes]));
            let out = String::from_utf8(out).unwrap();
            // Between two masks stands no secret; over one it might seem to, were
            // the mask of these letters.
            for part in out.split("(secret)") {
                prop_assert!(secrets.iter().all(|secret| !part.contains(secret)), "{out}");
            }
        }
    }
}
