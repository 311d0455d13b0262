//! What became of writes: how the registry keeps it, and what is said of it.
//!
//! Owns the form of an outcome in `agent_iac.claims`, and in which databases a
//! claim is settled.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Login, Membership, Role,
    server::{
        Options, Transaction,
        registry::{self, Registered, State},
    },
    view::View,
};
use crate::{
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    provider::{Mark, Object, Settled, Written},
    resource::Resource,
};

/// How long settling waits for transactions of a dead run: longer than any of
/// them may wait for a lock, and shorter than a person waits.
const PATIENCE: Duration = Duration::from_secs(90);

/// The outcome of one claim, as JSON in the registry.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    #[serde(rename = "type")]
    type_name: String,
    /// The object as it was then; none when it was removed.
    object: Option<Object>,
    /// The transaction, by which the server's log finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation: Option<String>,
}

impl From<Outcome> for Written {
    fn from(outcome: Outcome) -> Self {
        Self { object: outcome.object, correlation: outcome.correlation }
    }
}

/// What a write of type `R` left behind, as the registry keeps it.
pub(super) fn of<R: Resource>(
    claim: &Claim,
    mark: &Mark,
    written: &Written,
) -> Result<registry::Outcome> {
    let text = text_of::<R>(written)?;
    Ok(registry::Outcome { claim: claim.clone(), mark: mark.clone(), text })
}

fn text_of<R: Resource>(written: &Written) -> Result<String> {
    let outcome = Outcome {
        type_name: R::TYPE.to_owned(),
        object: written.object.clone(),
        correlation: written.correlation.clone(),
    };
    serde_json::to_string(&outcome)
        .map_err(|error| Error::new(ErrorKind::Bug, "an object has no JSON form").caused_by(error))
}

/// The answer to a claim of type `R` that is registered already.
///
/// # Errors
///
/// When it was given up, or was one of another type.
pub(super) fn repeated<R: Resource>(claim: &Claim, registered: &Registered) -> Result<Written> {
    match registered {
        Registered::GivenUp => Err(registry::given_up(claim)),
        Registered::Done(text) => {
            let outcome = read(claim, text)?;
            if outcome.type_name != R::TYPE {
                return Err(Error::new(
                    ErrorKind::Bug,
                    format!("the claim {claim} was used for a `{}` before", outcome.type_name),
                ));
            }
            Ok(outcome.into())
        }
    }
}

fn read(claim: &Claim, text: &str) -> Result<Outcome> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Damaged, format!("the outcome of the claim {claim} cannot be read"))
            .help("look at its row in `agent_iac.claims`; somebody may have changed it")
            .caused_by(error)
    })
}

/// Whether what a type writes belongs to the whole cluster, so that its claims
/// are registered in the provider's own database alone.
fn is_of_cluster(type_name: &str) -> bool {
    [Role::TYPE, Login::TYPE, Membership::TYPE].contains(&type_name)
}

/// Says what became of the claims of a run that died, all of one type, in every
/// database in which one of them may have been carried out.
///
/// A database that cannot be asked leaves open only the claims that no other
/// one knows, and that could be there.
///
/// # Errors
///
/// When the provider's own database cannot be asked, or when one still works
/// for that run.
pub(super) async fn settle(view: &View, type_name: &str, claims: &[Claim]) -> Result<Vec<Settled>> {
    let mut settled: Vec<Option<Settled>> = claims.iter().map(|_| None).collect();
    let mut unknown = None;
    for database in view.layout.databases() {
        let found = match settle_in(view, database, claims).await {
            Err(error) if database.is_some() && error.kind() != ErrorKind::InDoubt => {
                // What was begun there for the whole cluster is no proof of
                // anything: only the own database says that it was done.
                if !is_of_cluster(type_name) {
                    unknown.get_or_insert_with(|| error.chain());
                }
                continue;
            }
            found => found?,
        };
        for ((claim, answer), found) in
            claims.iter().zip(&mut settled).zip(found.into_iter().flatten())
        {
            if let Registered::Done(text) = found {
                *answer = Some(Settled::Done(read(claim, &text)?.into()));
            }
        }
    }
    let otherwise = unknown.map_or(Settled::NotDone, Settled::Unknown);
    Ok(settled.into_iter().map(|answer| answer.unwrap_or_else(|| otherwise.clone())).collect())
}

/// What one database says of claims; nothing, where it has no registry and
/// can have none.
async fn settle_in(
    view: &View,
    database: Option<&str>,
    claims: &[Claim],
) -> Result<Option<Vec<Registered>>> {
    let asked = claims.to_vec();
    let observer = view.layout.observer.clone();
    // The transaction of the dead run may be the one that makes the registry,
    // and is waited for as long.
    let options = Options::writing().statement_timeout(PATIENCE * 2).lock_timeout(PATIENCE);
    let work = move |tx: Transaction| async move {
        match registry::install(&tx, observer.as_deref()).await {
            // Where not even the schema can be made, nothing was done.
            Err(error) if error.kind() == ErrorKind::Denied => {
                if registry::state(&tx).await.is_ok_and(|state| state == State::Missing) {
                    return Ok(None);
                }
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) => {
                let settled = registry::settle(&tx, &asked, PATIENCE).await?;
                registry::admit(&tx, observer.as_deref()).await?;
                Ok(Some(settled))
            }
        }
    };
    view.server.transaction(database, options, work).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::postgres::Grant;

    fn claim() -> Claim {
        Claim::from_text("run-1.1")
    }

    fn written() -> Written {
        let object = Object {
            id: "16384".into(),
            fields: std::collections::BTreeMap::new(),
            suspended: false,
            mark: None,
            obstacle: None,
            label: None,
        };
        Written { object: Some(object), correlation: Some("pid 7".into()) }
    }

    #[test]
    fn a_repeated_claim_is_answered_as_it_was() {
        let text = text_of::<Role>(&written()).unwrap();
        assert_eq!(repeated::<Role>(&claim(), &Registered::Done(text)).unwrap(), written());
    }

    #[test]
    fn a_claim_is_never_answered_for_another_type_nor_after_it_was_given_up() {
        let text = text_of::<Role>(&written()).unwrap();
        let error = repeated::<Grant>(&claim(), &Registered::Done(text)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bug);
        let error = repeated::<Role>(&claim(), &Registered::GivenUp).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let error = repeated::<Role>(&claim(), &Registered::Done("{}".into())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}
