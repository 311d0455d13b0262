//! The claims: begun, carried out, settled.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    super::{super::name::literal, Type, error::sqlstate, transaction::Transaction},
    locks::{CLASS, Mode, hash, holders, take, wait},
    schema::damaged,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result, Retry},
    ledger::Claim,
    provider::Mark,
};

/// The run that a claim is of.
fn run(claim: &Claim) -> &str {
    claim.as_str().rsplit_once('.').map_or(claim.as_str(), |(run, _)| run)
}

/// The numbers of the locks of some claims, in the order in which everybody
/// takes them.
fn keys(claims: &[Claim]) -> Vec<i32> {
    claims.iter().map(|claim| hash(run(claim))).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What the registry knows of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It was carried out; this is its outcome, as JSON.
    Done(String),
    /// Recovery was told that it was not, and will not be.
    GivenUp,
}

/// Begins to carry out claims: recovery waits for this transaction from here
/// on. Answers what was registered of them before.
///
/// # Errors
///
/// When recovery of the same run is at work for too long.
pub async fn enter(tx: &Transaction, claims: &[Claim]) -> Result<BTreeMap<Claim, Registered>> {
    for key in keys(claims) {
        wait(tx, CLASS, key, Mode::Shared).await?;
    }
    // By a statement of its own, which sees what was committed until the lock
    // was given.
    registered(tx, claims).await
}

/// What is registered of some claims.
///
/// # Errors
///
/// When the registry cannot be read.
pub async fn registered(tx: &Transaction, claims: &[Claim]) -> Result<BTreeMap<Claim, Registered>> {
    let texts: Vec<&str> = claims.iter().map(Claim::as_str).collect();
    let rows = tx
        .query(
            "SELECT claim, outcome::text FROM agent_iac.claims WHERE claim = ANY ($1)",
            &[(&texts, Type::TEXT_ARRAY)],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| {
            let outcome: Option<String> = row.get(1);
            let registered = outcome.map_or(Registered::GivenUp, Registered::Done);
            (Claim::from_text(row.get::<_, String>(0)), registered)
        })
        .collect())
}

/// The error of a write whose claim was given up.
pub fn given_up(claim: &Claim) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("the claim {claim} was given up when its run was settled"),
    )
    .help("repeat the write under a claim of the present run")
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The claim.
    pub claim: Claim,
    /// What it was about.
    pub mark: Mark,
    /// What is answered when it is repeated or settled, as JSON.
    pub text: String,
}

/// Writes what became of claims, in the transaction that did the work.
///
/// What was carried out before at the same address is forgotten. A ledger
/// begins a step only where no other is open, so that nobody asks for it any
/// more: there is one outcome for each address, however often it is written. A
/// claim that was given up is kept, for its writer may wake up one day.
///
/// # Errors
///
/// When one of them is registered already, which [`enter`] would have said.
pub async fn register(tx: &Transaction, outcomes: &[Outcome]) -> Result<()> {
    let column = |of: fn(&Outcome) -> &str| -> Vec<&str> { outcomes.iter().map(of).collect() };
    let addresses: Vec<String> = outcomes.iter().map(|one| one.mark.address.to_string()).collect();
    tx.execute(
        "WITH said AS (
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                $6::text[]) AS row (claim, run, fleet, environment, address, outcome)
        ), before AS (
            DELETE FROM agent_iac.claims c USING said s
            WHERE c.fleet = s.fleet AND c.environment = s.environment AND c.address = s.address
                AND c.outcome IS NOT NULL AND c.claim <> s.claim
        )
        INSERT INTO agent_iac.claims (claim, run, fleet, environment, address, outcome)
            SELECT claim, run, fleet, environment, address, outcome::jsonb FROM said",
        &[
            (&column(|one| one.claim.as_str()), Type::TEXT_ARRAY),
            (&column(|one| run(&one.claim)), Type::TEXT_ARRAY),
            (&column(|one| &one.mark.fleet), Type::TEXT_ARRAY),
            (&column(|one| &one.mark.environment), Type::TEXT_ARRAY),
            (&addresses, Type::TEXT_ARRAY),
            (&column(|one| &one.text), Type::TEXT_ARRAY),
        ],
    )
    .await
    .map(drop)
    .map_err(|error| match sqlstate(&error) {
        Some("23505") => Error::new(
            ErrorKind::Refused,
            format!("a claim is registered already in the database {}", quoted(tx.database())),
        )
        .help("repeat the write under a claim of the present run")
        .caused_by(error),
        _ => error,
    })
}

/// Says what became of the claims of runs that are dead, in the order of the
/// claims, and closes those that nothing came of. It waits until no transaction
/// that [`enter`]ed for one of the runs is left, for as long as `patience`, and
/// no longer than a statement of this transaction may take.
///
/// # Errors
///
/// With the kind [`InDoubt`](ErrorKind::InDoubt) when one is still left then.
pub async fn settle(
    tx: &Transaction,
    claims: &[Claim],
    patience: Duration,
) -> Result<Vec<Registered>> {
    let keys = keys(claims);
    let waited = tx
        .savepoint(|tx| {
            let keys = keys.clone();
            async move {
                let limit = patience.as_millis().to_string();
                tx.batch(&format!("SET LOCAL lock_timeout = {}", literal(&limit))).await?;
                for key in keys {
                    take(&tx, CLASS, key, Mode::Exclusive).await?;
                }
                Ok::<_, Error>(())
            }
        })
        .await;
    if let Err(error) = waited {
        return Err(if matches!(sqlstate(&error), Some("55P03" | "57014")) {
            still_at_work(tx, &keys, patience).await?.caused_by(error)
        } else {
            error
        });
    }
    let texts: Vec<&str> = claims.iter().map(Claim::as_str).collect();
    let runs: Vec<&str> = claims.iter().map(run).collect();
    tx.execute(
        "INSERT INTO agent_iac.claims (claim, run)
            SELECT claim, run FROM unnest($1::text[], $2::text[]) AS row (claim, run)
            ON CONFLICT (claim) DO NOTHING",
        &[(&texts, Type::TEXT_ARRAY), (&runs, Type::TEXT_ARRAY)],
    )
    .await?;
    let mut found = registered(tx, claims).await?;
    claims
        .iter()
        .map(|claim| {
            found.remove(claim).ok_or_else(|| {
                damaged(&format!(
                    "the table `agent_iac.claims` of the database {}",
                    quoted(tx.database())
                ))
                .help("look for a trigger or a policy on it that was not there")
            })
        })
        .collect()
}

async fn still_at_work(tx: &Transaction, keys: &[i32], patience: Duration) -> Result<Error> {
    let who = holders(tx, CLASS, keys).await?.unwrap_or_else(|| "one".into());
    Ok(Error::new(
        ErrorKind::InDoubt,
        format!(
            "a transaction of the run is still under way in the database {} after {} s ({who})",
            quoted(tx.database()),
            patience.as_secs(),
        ),
    )
    .help("wait for it, or end it by `pg_terminate_backend`, then repeat")
    .retry_as(Retry::Backoff))
}
