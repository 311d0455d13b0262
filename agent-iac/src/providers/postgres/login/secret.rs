//! What is delivered of a login: its name and its password together.

use serde::Deserialize;

use crate::{
    clock::Entropy,
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// How many random bytes a password has, before they are written as
/// hexadecimal.
const PASSWORD: usize = 32;

/// A login as a consumer reads it.
pub(super) struct Delivered {
    pub(super) user: String,
    pub(super) password: Secret,
}

/// The password as it stands in the text: it has no escapes, so that no copy
/// of it is made on the way.
#[derive(Deserialize)]
struct Form<'a> {
    user: String,
    #[serde(borrow)]
    password: &'a str,
}

/// Makes what is delivered of a login: its name with a new password.
pub(super) fn compose(user: &str, entropy: &dyn Entropy) -> Secret {
    let user = serde_json::Value::from(user).to_string();
    Secret::random(entropy, PASSWORD).expose(|password| {
        let parts: [&[u8]; 5] =
            [b"{\"user\":", user.as_bytes(), b",\"password\":\"", password, b"\"}"];
        // Of full length from the start: a reallocation would leave a copy.
        let mut text = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            text.extend_from_slice(part);
        }
        Secret::from_bytes(text)
    })
}

/// Reads what was delivered of a login.
///
/// # Errors
///
/// When it has another form; the error says nothing of it.
pub(super) fn read(secret: &Secret) -> Result<Delivered> {
    secret.expose(|text| {
        // The error of the parser could quote what it read.
        let form: Form<'_> = serde_json::from_slice(text).map_err(|_| {
            Error::new(ErrorKind::InvalidInput, "the secret is no login of PostgreSQL")
                .help(r#"a login is {"user": …, "password": …}"#)
        })?;
        Ok(Delivered {
            user: form.user,
            password: Secret::from_bytes(form.password.as_bytes().to_vec()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::world::SimEntropy;

    #[test]
    fn a_login_is_read_back_as_it_was_made() {
        let entropy = SimEntropy::new(1);
        for user in ["reader__g7", r#"we"ird\__g1"#, "Ünï__g2"] {
            let made = compose(user, &entropy);
            let read = read(&made).unwrap();
            assert_eq!(read.user, user);
            assert_eq!(read.password.expose(<[u8]>::len), PASSWORD * 2);
        }
    }

    #[test]
    fn two_logins_have_two_passwords() {
        let entropy = SimEntropy::new(1);
        let (one, other) = (compose("a", &entropy), compose("a", &entropy));
        assert!(!one.equals(&other));
    }

    #[test]
    fn what_is_no_login_is_refused_without_a_word_of_it() {
        for text in ["", "hunter2", r#"{"user":"a"}"#, r#"{"user":"a","password":7}"#] {
            let error = read(&Secret::from_text(text.into())).map(|_| ()).unwrap_err();
            assert!(!format!("{error:?}{}", error.chain()).contains("hunter2"));
        }
    }
}
