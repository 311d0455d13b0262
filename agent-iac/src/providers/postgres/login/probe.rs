//! Trying logins, as whoever was given them would.

use async_trait::async_trait;

use super::secret;
use crate::{
    clock::Entropy,
    provider::{Attempt, Probe, Tried},
    providers::postgres::{Login, server::Prober as Door},
    secret::Secret,
};

/// Logs in at a server; it has no login of its own.
pub(in super::super) struct Prober {
    pub(in super::super) door: Door,
}

#[async_trait]
impl Probe<Login> for Prober {
    async fn probe(&self, attempts: &[Attempt<'_>]) -> Vec<Tried> {
        let mut answers = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            answers.push(match secret::read(attempt.secret) {
                Ok(login) => match attempt.identity.parse() {
                    Ok(role) => self.door.try_login_of(role, &login.user, &login.password).await,
                    Err(_) => Tried::Unknown(format!("no role has the id `{}`", attempt.identity)),
                },
                Err(error) => Tried::Unknown(error.to_string()),
            });
        }
        answers
    }

    /// The same user with another password: a server that tells who exists
    /// would refuse another user for another reason.
    fn decoy(&self, like: &Secret, entropy: &dyn Entropy) -> Secret {
        match secret::read(like) {
            Ok(login) => secret::compose(&login.user, entropy),
            Err(_) => Secret::random(entropy, 32),
        }
    }
}
