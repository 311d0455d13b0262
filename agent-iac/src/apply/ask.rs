//! One batch as the provider is asked for it, and again where that is safe.

use std::{sync::Arc, time::Duration};

use super::{Progress, batch::Begun, run::Run, values::mark};
use crate::{
    bugs::bug,
    error::{Error, ErrorKind, Result},
    ledger::Claim,
    provider::{
        Capabilities, DynWrite, Issued, NewCredential, Recovery, Settled, UNANSWERED, WriteRequest,
    },
    rotation::later,
    schema::Kind,
    secret::Secret,
};

/// What the provider answered to one write.
pub(super) enum Answer {
    Written(Box<Issued>),
    Failed(Error),
    InDoubt(Error),
}

/// Asks the provider, again where its errors allow that.
pub(super) async fn ask(
    run: &Run<'_>,
    writer: &dyn DynWrite,
    capabilities: &Capabilities,
    provider: &str,
    begun: &[Begun<'_>],
) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = begun.iter().map(|_| None).collect();
    let mut open: Vec<usize> = (0..begun.len()).collect();
    // One attempt whose answer was lost leaves a doubt that no later error ends.
    let mut doubted = vec![false; begun.len()];
    let mut attempt = 0;
    while !open.is_empty() {
        run.engine.pace(provider, open.len()).await;
        // The begin was appended just before the first attempt.
        let renewed = if attempt == 0 { Ok(()) } else { run.renew().await };
        let holds = match renewed {
            Ok(()) => run.still_holds().await,
            lost => lost,
        };
        if let Err(error) = holds {
            // What was asked before may have been carried out all the same.
            let error = Arc::new(error);
            for at in open {
                answers[at] = Some(Answer::InDoubt(not_asked(&error)));
            }
            break;
        }
        let mut batch: Vec<WriteRequest> =
            open.iter().map(|at| request(run, &begun[*at])).collect();
        if attempt > 0 && bug!("new token on retry") {
            for request in &mut batch {
                request.claim = run.next_claim();
            }
        }
        let mut results = writer.write(batch).await;
        if bug!("batch answers misordered") {
            results.reverse();
        }
        attempt += 1;
        let mut again = Vec::new();
        let mut longest = None;
        let mut results = results.into_iter();
        for at in std::mem::take(&mut open) {
            let result = results.next().unwrap_or_else(|| Err(too_few(provider)));
            let error = match result {
                Ok(issued) => {
                    answers[at] = Some(Answer::Written(Box::new(issued)));
                    continue;
                }
                Err(error) if error.message() == UNANSWERED => too_few(provider),
                Err(error) => withheld(error, begun[at].secret.as_ref(), provider),
            };
            let lost = matches!(error.kind(), ErrorKind::InDoubt | ErrorKind::Timeout);
            doubted[at] |= lost;
            // A claim that stands on the object says nothing of its change.
            let told = capabilities.recovery != Recovery::Tagged || begun[at].job.step.id.is_none();
            // Where the claim stands on the object alone, an earlier request
            // that lands after the object went makes another one.
            let repeatable = !lost
                || match capabilities.recovery {
                    Recovery::Registry => true,
                    Recovery::Tagged => {
                        begun[at].job.step.id.is_some() || bug!("repeated while it may land")
                    }
                    Recovery::NaturalKey | Recovery::None => false,
                };
            match run.engine.pause(&error, attempt).filter(|_| repeatable) {
                Some(pause) => {
                    run.tell(&Progress::StepRetried {
                        address: begun[at].job.step.address.clone(),
                        attempt,
                        pause,
                        error: error.to_string(),
                    });
                    longest = longest.max(Some(pause));
                    again.push(at);
                }
                None if doubted[at] && !told => answers[at] = Some(Answer::InDoubt(error)),
                None if doubted[at] => {
                    answers[at] = Some(settle(writer, &begun[at].claim, error).await);
                }
                None => answers[at] = Some(Answer::Failed(error)),
            }
        }
        if let Some(pause) = longest {
            run.engine.clock.sleep(pause).await;
        }
        open = again;
    }
    answers.into_iter().flatten().collect()
}

/// The error, unless it holds the secret: a system may repeat what it was
/// given, and an error is recorded and shown.
fn withheld(error: Error, secret: Option<&Secret>, provider: &str) -> Error {
    // What is shown at its most: the causes, and the help.
    let text = format!("{error:?}");
    if !secret.is_some_and(|secret| secret.is_in(&text)) {
        return error;
    }
    Error::new(
        error.kind(),
        format!("the error of the provider `{provider}` holds the secret, and is withheld"),
    )
    .retry_as(error.retry())
}

fn not_asked(error: &Error) -> Error {
    Error::new(error.kind(), "the provider was not asked, because the lease may be lost")
        .help("the next run settles it")
        .caused_by(error.chain())
}

fn too_few(provider: &str) -> Error {
    Error::new(
        ErrorKind::InDoubt,
        format!("the provider `{provider}` answered for fewer writes than it was given"),
    )
}

fn request(run: &Run<'_>, begun: &Begun<'_>) -> WriteRequest {
    let job = &begun.job;
    let credential = (job.ty.kind == Kind::Credential && !job.removes()).then(|| {
        let credential = job.target.as_ref().and_then(|target| target.credential.as_ref());
        let planned = job.step.target.as_ref().and_then(|target| target.credential.as_ref());
        let lease = planned.and_then(|planned| planned.lease).map(Duration::from_secs);
        NewCredential {
            generation: credential.map_or(1, |credential| credential.generation),
            secret: begun.secret.as_ref().map(Secret::duplicate),
            until: lease.map(|lease| later(run.engine.clock.now(), lease)),
        }
    });
    WriteRequest {
        claim: begun.claim.clone(),
        mark: mark(&run.engine.fleet, &run.engine.environment, &job.step.address),
        operation: job.operation(),
        seen: job.seen.clone(),
        credential,
    }
}

/// Asks what became of a write whose answer was lost for good.
async fn settle(writer: &dyn DynWrite, claim: &Claim, error: Error) -> Answer {
    match writer.settle(std::slice::from_ref(claim)).await {
        Ok(settled) => match settled.into_iter().next() {
            Some(Settled::Done(written)) => {
                Answer::Written(Box::new(Issued { written, secret: None }))
            }
            Some(Settled::NotDone) => Answer::Failed(error),
            Some(Settled::Unknown(_)) | None => Answer::InDoubt(error),
        },
        Err(_) => Answer::InDoubt(error),
    }
}

/// Fails with the error of a provider that answered nothing.
pub(super) fn first<T>(answers: Vec<Result<T>>, provider: &str) -> Result<T> {
    answers.into_iter().next().unwrap_or_else(|| Err(too_few(provider)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Retry;

    #[test]
    fn an_error_that_repeats_the_secret_is_withheld_and_keeps_its_kind() {
        let secret = Secret::from_text("hunter2".into());
        for error in [
            Error::new(ErrorKind::Refused, "no password `hunter2`"),
            Error::new(ErrorKind::Refused, "no").help("choose another than hunter2"),
            Error::new(ErrorKind::Refused, "no").caused_by("PASSWORD 'hunter2'"),
        ] {
            let error = withheld(error.retry_as(Retry::Backoff), Some(&secret), "sim");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Refused, Retry::Backoff));
        }
        let plain = withheld(Error::new(ErrorKind::Refused, "too short"), Some(&secret), "sim");
        assert_eq!(plain.message(), "too short");
    }
}
