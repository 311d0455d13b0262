//! A PostgreSQL cluster, as options name it.
//!
//! Passwords stand in files of their owner's; no option takes one.

use std::sync::Arc;

use agent_iac::{
    cli::{Asked, ProgramOption},
    deployment::Deployment,
    error::{Error, ErrorKind, Result},
    providers::postgres::{Endpoint, Password, PostgresProvider, Principal},
};

/// What can be said of it.
pub(crate) fn options() -> impl Iterator<Item = ProgramOption> {
    let url = "postgresql://HOST:PORT/DATABASE, without a password";
    let more = |name, value, help| ProgramOption::new(name, value, help).with("postgres");
    [
        ProgramOption::new("postgres", "URL", url),
        more(
            "postgres-observe",
            "USER:FILE",
            "The login that plans, and the file with its password",
        ),
        more("postgres-apply", "USER:FILE", "The login that applies"),
        more("postgres-administrators", "ROLE", "The role that it becomes"),
        more("postgres-database", "NAME", "Another database that is managed; may be repeated")
            .repeated(),
        more(
            "postgres-probe-at",
            "URL",
            "The server itself, behind a pooler: there logins are tried",
        ),
        more(
            "postgres-scope",
            "PATTERN",
            "Roles that are looked after, as `agent_*`; may be repeated",
        )
        .repeated(),
    ]
    .into_iter()
    .map(|option| option.under("A PostgreSQL cluster, as the provider `postgres` of the fleet"))
}

/// Puts the cluster behind its name, when there is one.
pub(crate) fn add_to(deployment: Deployment, asked: &Asked) -> Result<Deployment> {
    let Some(url) = asked.text("postgres") else { return Ok(deployment) };
    let mut provider = PostgresProvider::new(url.parse::<Endpoint>()?);
    if let Some(who) = asked.text("postgres-observe") {
        provider = provider.observe(principal("--postgres-observe", who)?);
    }
    if let Some(who) = asked.text("postgres-apply") {
        provider = provider.apply(principal("--postgres-apply", who)?);
    }
    if let Some(role) = asked.text("postgres-administrators") {
        provider = provider.administrators(role);
    }
    for name in asked.texts("postgres-database") {
        provider = provider.database(name);
    }
    if let Some(url) = asked.text("postgres-probe-at") {
        provider = provider.probe_at(url.parse()?);
    }
    for pattern in asked.texts("postgres-scope") {
        provider = provider.scope(pattern);
    }
    Ok(deployment.with_provider("postgres", Arc::new(provider)))
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
