//! Encrypting and decrypting, and the errors of both.
//!
//! Owns the only calls into the `age` crate besides the parsing of keys.

use std::{
    io::{Read as _, Write as _},
    path::Path,
};

use ::age::{DecryptError, Decryptor, Encryptor, x25519};

use crate::{
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// Encrypts to every recipient.
pub(super) fn seal<'a>(
    recipients: impl Iterator<Item = &'a x25519::Recipient>,
    secret: &[u8],
) -> Result<Vec<u8>> {
    let encryptor = Encryptor::with_recipients(recipients.map(|one| one as _))
        .map_err(|error| unsealed("age found no recipient that it can encrypt to", error))?;
    let mut out = Vec::with_capacity(secret.len() + 1024);
    let write = || {
        let mut writer = encryptor.wrap_output(&mut out)?;
        writer.write_all(secret)?;
        writer.finish()
    };
    write().map_err(|error| unsealed("age cannot encrypt", error))?;
    Ok(out)
}

fn unsealed(message: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Vault, message).help("check the recipients of the vault").caused_by(error)
}

/// Decrypts the bytes of a file with one of the keys.
pub(super) fn unseal(keys: &[x25519::Identity], sealed: &[u8], file: &Path) -> Result<Secret> {
    let decrypt = || -> Result<Secret, DecryptError> {
        let mut reader =
            Decryptor::new_buffered(sealed)?.decrypt(keys.iter().map(|one| one as _))?;
        // No reallocation, which would leave a copy of the secret behind.
        let mut plain = Vec::with_capacity(sealed.len());
        let read = reader.read_to_end(&mut plain);
        let secret = Secret::from_bytes(plain);
        read?;
        Ok(secret)
    };
    decrypt().map_err(|error| {
        let file = file.display();
        match error {
            DecryptError::NoMatchingKeys => Error::new(
                ErrorKind::Denied,
                format!("`{file}` is not encrypted to the key at hand"),
            )
            .help("use the key of a recipient; what was encrypted before a key was added stays closed to it"),
            _ => Error::new(ErrorKind::Damaged, format!("`{file}` is no sound age file"))
                .help("restore the file from a backup, or rotate the credential"),
        }
        .caused_by(error)
    })
}
