//! Many writes in one transaction, of which each may fail alone.
//!
//! Owns how a batch is taken apart and repeated. It knows nothing of what is
//! written.

use std::{future::Future, sync::Arc, time::Duration};

use super::{
    Server,
    error::copy,
    lookout::Lookout,
    sqlstate,
    transaction::{Options, Transaction},
};
use crate::error::{Error, ErrorKind, Result, Retry};

/// How often a transaction is repeated that failed for a reason that passes.
const ATTEMPTS: u32 = 5;
/// How long a job waits for a lock that those before it waited for in vain.
const NO_LONGER: &str = "SET LOCAL lock_timeout = '20ms'";
/// The pause before the first repetition; each is twice as long as the last.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a slice of a batch failed.
#[derive(Debug)]
pub enum Fault {
    /// It is not known whose fault it is: the slice is halved until it is.
    Somewhere(Error),
    /// These did, by their places in the slice; the others are repeated
    /// without them.
    These(Vec<(usize, Error)>),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Somewhere(error)
    }
}

/// Some jobs of a batch, in their order.
#[derive(Debug)]
pub struct Slice<J> {
    jobs: Arc<Vec<J>>,
    places: Arc<[usize]>,
}

impl<J> Slice<J> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The jobs.
    pub fn iter(&self) -> impl Iterator<Item = &J> {
        self.places.iter().map(|place| &self.jobs[*place])
    }
}

impl<J> Clone for Slice<J> {
    fn clone(&self) -> Self {
        Self { jobs: Arc::clone(&self.jobs), places: Arc::clone(&self.places) }
    }
}

/// A batch to come: where, and what is done before its work.
pub struct Batch<J> {
    server: Server,
    database: Option<String>,
    options: Options,
    jobs: Arc<Vec<J>>,
}

impl<J> std::fmt::Debug for Batch<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} jobs on {:?})", self.jobs.len(), self.server)
    }
}

impl<J: Send + Sync + 'static> Batch<J> {
    /// Jobs for one database of a server.
    pub fn new(server: &Server, database: Option<&str>, jobs: Vec<J>) -> Self {
        Self {
            server: server.clone(),
            database: database.map(str::to_owned),
            options: Options::writing(),
            jobs: Arc::new(jobs),
        }
    }

    /// How its transactions work.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Carries the jobs out, all in one transaction where that is possible, and
    /// answers for each, in their order.
    ///
    /// `before` begins each transaction, outside of any savepoint: it takes the
    /// locks, which would else be given back with the savepoint. `work` carries
    /// out a slice within one, any number of times, and answers for each of its
    /// jobs. A job that fails alone is answered with its error, and leaves
    /// nothing behind.
    ///
    /// What passes (deadlocks, lost connections before the commit) is repeated
    /// as a whole, a few times with growing pauses. A lock that somebody else
    /// holds is waited for twice, for as long as the options say; then the jobs
    /// that need it fail alone, and say who holds it. A commit whose answer is
    /// lost leaves all jobs that had been carried out in doubt.
    pub async fn carry_out<A, B, BW, F, W>(self, before: B, work: F) -> Vec<Result<A>>
    where
        A: Send + 'static,
        B: Fn(Transaction, Slice<J>) -> BW + Send + Sync + 'static,
        BW: Future<Output = Result<()>> + Send + 'static,
        F: Fn(Transaction, Slice<J>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Vec<A>, Fault>> + Send + 'static,
    {
        let count = self.jobs.len();
        if count == 0 {
            return Vec::new();
        }
        let server = self.server.clone();
        let (before, work) = (Arc::new(before), Arc::new(work));
        // In a box, or every caller's future would hold all of it.
        let attempts = Box::pin(async move { Ok(self.attempts(&before, &work).await) });
        let answers = server.run(attempts).await;
        answers.unwrap_or_else(|error| (0..count).map(|_| Err(copy(&error))).collect())
    }

    async fn attempts<A, B, BW, F, W>(&self, before: &Arc<B>, work: &Arc<F>) -> Vec<Result<A>>
    where
        A: Send + 'static,
        B: Fn(Transaction, Slice<J>) -> BW + Send + Sync + 'static,
        BW: Future<Output = Result<()>> + Send + 'static,
        F: Fn(Transaction, Slice<J>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Vec<A>, Fault>> + Send + 'static,
    {
        let mut pause = PAUSE;
        let mut held_up = false;
        for attempt in 1.. {
            let is_last = held_up || attempt == ATTEMPTS;
            let (before, work) = (Arc::clone(before), Arc::clone(work));
            let all =
                Slice { jobs: Arc::clone(&self.jobs), places: (0..self.jobs.len()).collect() };
            let lookout = held_up.then(|| (self.server.clone(), Lookout::default()));
            let done = self
                .server
                .transaction(self.database.as_deref(), self.options.clone(), move |tx| async move {
                    before(tx.clone(), all.clone()).await?;
                    if let Some((server, lookout)) = &lookout {
                        let rows = tx.query("SELECT pg_backend_pid()", &[]).await?;
                        if let Some(row) = rows.first() {
                            lookout.begin(server, tx.place().database(), row.get(0));
                        }
                    }
                    let lookout = lookout.map(|(_, lookout)| lookout);
                    take_apart(&tx, all, &*work, is_last, lookout.as_ref()).await
                })
                .await;
            match done {
                Ok(answers) => return answers,
                Err(error) if is_last || !passes(&error) => {
                    let error = if held_up { in_vain(error) } else { error };
                    return self.jobs.iter().map(|_| Err(copy(&error))).collect();
                }
                Err(error) => held_up = sqlstate(&error) == Some("55P03"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the last attempt answers")
    }
}

/// Whether repeating the transaction can help. What is in doubt is not
/// repeated: its claims have to be settled first.
fn passes(error: &Error) -> bool {
    error.retry() != Retry::Never && error.kind() != ErrorKind::InDoubt
}

/// A lock was waited for long enough: whoever repeats the job at once would wait
/// for it as long again, and everybody else for him.
fn in_vain(error: Error) -> Error {
    if sqlstate(&error) == Some("55P03") { error.retry_as(Retry::Never) } else { error }
}

/// Carries out what can be, and finds what cannot.
///
/// An error means that the whole transaction is gone, or is to be repeated.
async fn take_apart<J, A, F, W>(
    tx: &Transaction,
    all: Slice<J>,
    work: &F,
    is_last: bool,
    lookout: Option<&Lookout>,
) -> Result<Vec<Result<A>>>
where
    J: Send + Sync,
    A: Send,
    F: Fn(Transaction, Slice<J>) -> W + Sync,
    W: Future<Output = Result<Vec<A>, Fault>> + Send,
{
    let mut answers: Vec<Option<Result<A>>> = all.places.iter().map(|_| None).collect();
    let mut hurried = false;
    // A stack, with what comes first on top: jobs stay in their order.
    let mut open = vec![all.clone()];
    while let Some(slice) = open.pop() {
        if slice.is_empty() {
            continue;
        }
        let fault = match tx.savepoint(|tx| work(tx, slice.clone())).await {
            Ok(done) if done.len() == slice.len() => {
                for (place, answer) in slice.places.iter().zip(done) {
                    answers[*place] = Some(Ok(answer));
                }
                continue;
            }
            Ok(_) => {
                return Err(Error::new(
                    ErrorKind::Bug,
                    "a batch was answered with another number of answers",
                ));
            }
            Err(fault) => fault,
        };
        if tx.is_lost() {
            return Err(match fault {
                Fault::Somewhere(error) => error,
                Fault::These(_) => tx.place().lost(),
            });
        }
        if let Fault::Somewhere(error) = &fault
            && is_last
            && !hurried
            && sqlstate(error) == Some("55P03")
        {
            // The time is used up: what is held now stays held.
            tx.batch(NO_LONGER).await?;
            hurried = true;
        }
        match fault {
            // On the last attempt, whoever is held up fails alone.
            Fault::Somewhere(error) if passes(&error) && !is_last => return Err(error),
            Fault::Somewhere(error) if slice.len() == 1 => {
                answers[slice.places[0]] = Some(Err(match lookout {
                    Some(lookout) => in_vain(lookout.explain(error)),
                    None => error,
                }));
            }
            Fault::Somewhere(_) => {
                let (first, second) = slice.places.split_at(slice.len() / 2);
                for half in [second, first] {
                    open.push(Slice { jobs: Arc::clone(&slice.jobs), places: half.into() });
                }
            }
            Fault::These(failed) => {
                if failed.is_empty() || failed.iter().any(|(at, _)| *at >= slice.len()) {
                    return Err(Error::new(
                        ErrorKind::Bug,
                        "a batch failed, and does not say where",
                    ));
                }
                let mut rest = slice.places.to_vec();
                for (at, error) in failed {
                    let place = slice.places[at];
                    rest.retain(|one| *one != place);
                    answers[place] = Some(Err(error));
                }
                open.push(Slice { jobs: Arc::clone(&slice.jobs), places: rest.into() });
            }
        }
    }
    Ok(answers
        .into_iter()
        .map(|answer| answer.expect("each job is answered before its slice is left"))
        .collect())
}
