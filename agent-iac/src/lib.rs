//! Infrastructure as code for software agents.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod access;
pub mod address;
pub mod agent;
pub mod clock;
pub mod error;
pub mod ledger;
pub mod plan;
pub mod provider;
pub mod resource;
pub mod schema;
pub mod secret;
#[cfg(feature = "testing")]
pub mod testing;
pub mod value;
pub mod vault;

pub use error::{Error, ErrorKind, Result};
/// What derived code names. Not part of the public interface: it changes
/// without notice, together with the macro crate, which is pinned to it.
#[doc(hidden)]
pub mod __private {
    pub use std;

    /// Reports a key that a declaration forgot, at compile time.
    ///
    /// # Panics
    ///
    /// In a constant, when `given` lacks one of `required`.
    #[track_caller]
    pub const fn require(required: &[&str], given: &[&str]) {
        let mut i = 0;
        while i < required.len() {
            let mut found = false;
            let mut j = 0;
            while j < given.len() {
                found |= same(required[i], given[j]);
                j += 1;
            }
            if !found {
                missing(required[i]);
            }
            i += 1;
        }
    }

    const fn same(a: &str, b: &str) -> bool {
        let (a, b) = (a.as_bytes(), b.as_bytes());
        if a.len() != b.len() {
            return false;
        }
        let mut i = 0;
        while i < a.len() {
            if a[i] != b[i] {
                return false;
            }
            i += 1;
        }
        true
    }

    #[track_caller]
    const fn missing(key: &str) -> ! {
        let mut text = [0_u8; 96];
        let parts = ["missing key `", key, "`"];
        let mut length = 0;
        let mut part = 0;
        while part < parts.len() {
            let bytes = parts[part].as_bytes();
            let mut i = 0;
            while i < bytes.len() && length < text.len() {
                text[length] = bytes[i];
                length += 1;
                i += 1;
            }
            part += 1;
        }
        let (text, _) = text.split_at(length);
        match str::from_utf8(text) {
            Ok(text) => panic!("{}", text),
            Err(_) => panic!("missing key"),
        }
    }
}
