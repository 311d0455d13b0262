//! A PostgreSQL cluster, as options name it.
//!
//! Passwords stand in files of their owner's; no option takes one.

use std::sync::Arc;

use agent_iac::{
    deployment::Deployment,
    error::{Error, ErrorKind, Result},
    providers::postgres::{Endpoint, Password, PostgresProvider, Principal},
};

pub(crate) const OPTIONS: &str = "\
A PostgreSQL cluster, as the provider `postgres` of the fleet:
      --postgres <URL>                   postgresql://HOST:PORT/DATABASE, without a password
      --postgres-observe <USER:FILE>     The login that plans, and the file with its password
      --postgres-apply <USER:FILE>       The login that applies
      --postgres-administrators <ROLE>   The role that it becomes
      --postgres-database <NAME>         Another database that is managed; may be repeated
      --postgres-probe-at <URL>          The server itself, behind a pooler: there logins are tried
      --postgres-scope <PATTERN>         Roles that are looked after, as `agent_*`; may be repeated

";

/// What the options say.
#[derive(Default)]
pub(crate) struct Postgres {
    url: Option<String>,
    observe: Option<String>,
    apply: Option<String>,
    administrators: Option<String>,
    databases: Vec<String>,
    probe_at: Option<String>,
    scope: Vec<String>,
}

impl Postgres {
    /// Takes an option; `false` when it is none of these.
    pub(crate) fn takes(name: &str) -> bool {
        matches!(
            name,
            "--postgres"
                | "--postgres-observe"
                | "--postgres-apply"
                | "--postgres-administrators"
                | "--postgres-database"
                | "--postgres-probe-at"
                | "--postgres-scope"
        )
    }

    /// Keeps the value of an option.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        match name {
            "--postgres" => self.url = Some(value),
            "--postgres-observe" => self.observe = Some(value),
            "--postgres-apply" => self.apply = Some(value),
            "--postgres-administrators" => self.administrators = Some(value),
            "--postgres-database" => self.databases.push(value),
            "--postgres-probe-at" => self.probe_at = Some(value),
            _ => self.scope.push(value),
        }
    }

    /// Puts the cluster behind its name, when there is one.
    pub(crate) fn add_to(self, deployment: Deployment) -> Result<Deployment> {
        let Some(url) = self.url else { return Ok(deployment) };
        let mut provider = PostgresProvider::new(url.parse::<Endpoint>()?);
        if let Some(who) = &self.observe {
            provider = provider.observe(principal("--postgres-observe", who)?);
        }
        if let Some(who) = &self.apply {
            provider = provider.apply(principal("--postgres-apply", who)?);
        }
        if let Some(role) = self.administrators {
            provider = provider.administrators(role);
        }
        for name in self.databases {
            provider = provider.database(name);
        }
        if let Some(url) = self.probe_at {
            provider = provider.probe_at(url.parse()?);
        }
        for pattern in self.scope {
            provider = provider.scope(pattern);
        }
        Ok(deployment.with_provider("postgres", Arc::new(provider)))
    }
}

fn principal(option: &str, text: &str) -> Result<Principal> {
    match text.split_once(':') {
        Some((user, file)) if !user.is_empty() && !file.is_empty() => {
            Principal::new(user, Password::file(file))
        }
        // The text is not repeated: somebody may have taken it for the place
        // of a password.
        _ => Err(Error::new(ErrorKind::InvalidInput, format!("`{option}` names no login"))
            .help("write USER:FILE, with the file that holds the password")),
    }
}
