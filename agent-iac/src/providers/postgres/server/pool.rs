//! A few connections to each database of one server.
//!
//! Owns how many there are at once and when one is given up. It knows nothing
//! of what is said on them.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{connection::Connection, thread::Thread};

/// How long a connection is kept that nobody uses. A database that somebody
/// wants to drop or copy must not be held for longer.
const IDLE: Duration = Duration::from_secs(20);

/// The connections of one server that are open.
pub(super) struct Pool {
    state: Mutex<State>,
    permits: Arc<Semaphore>,
    most: usize,
}

#[derive(Default)]
struct State {
    /// The last is the one that was used last.
    idle: Vec<Idle>,
    leased: usize,
    number: u64,
    /// Whether something closes what is idle for long.
    swept: bool,
}

struct Idle {
    number: u64,
    connection: Arc<Connection>,
}

/// The right to have one connection, and the connection once there is one.
pub(super) struct Lease {
    pool: Arc<Pool>,
    connection: Option<Arc<Connection>>,
    _permit: OwnedSemaphorePermit,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "Pool({} in use, {} idle)", state.leased, state.idle.len())
    }
}

impl Pool {
    /// At most `most` connections at once, to all databases together.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let most = most.max(1);
        Arc::new(Self { state: Mutex::default(), permits: Arc::new(Semaphore::new(most)), most })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to have a connection to `database`; one that is
    /// idle comes with it.
    pub(super) async fn lease(self: &Arc<Self>, database: &str) -> Lease {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
        let mut lease = Lease { pool: Arc::clone(self), connection: None, _permit: permit };
        let mut closed = Vec::new();
        let mut state = self.lock();
        while let Some(index) =
            state.idle.iter().rposition(|idle| **idle.connection.place().database() == *database)
        {
            let Idle { connection, .. } = state.idle.remove(index);
            if !connection.client().is_closed() {
                lease.connection = Some(connection);
                break;
            }
            closed.push(connection);
        }
        state.leased += 1;
        // Whoever holds a permit may open one, so one that is idle for another
        // database has to go.
        while state.leased + state.idle.len() > self.most && !state.idle.is_empty() {
            closed.push(state.idle.remove(0).connection);
        }
        drop(state);
        drop(closed);
        lease
    }

    /// Closes what was not used since `number` was the last; answers the number
    /// that is the last now, as long as there is something to look after.
    fn sweep(&self, number: u64) -> Option<u64> {
        let mut state = self.lock();
        let (old, kept) = std::mem::take(&mut state.idle)
            .into_iter()
            .partition::<Vec<_>, _>(|idle| idle.number <= number);
        state.idle = kept;
        state.swept = !state.idle.is_empty();
        let last = state.swept.then_some(state.number);
        drop(state);
        drop(old);
        last
    }

    /// Gives up all that are idle: after one of them was found dead, the
    /// others are likely to be.
    pub(super) fn clear(&self) {
        let idle = std::mem::take(&mut self.lock().idle);
        drop(idle);
    }
}

impl Lease {
    pub(super) fn connection(&self) -> Option<&Arc<Connection>> {
        self.connection.as_ref()
    }

    /// Takes over a connection that was opened under this right.
    pub(super) fn put(&mut self, connection: Connection) {
        self.connection = Some(Arc::new(connection));
    }

    /// Closes the connection.
    pub(super) fn discard(&mut self) {
        self.connection = None;
    }

    /// Lets the next one have the connection, which is in no transaction.
    pub(super) fn keep(mut self, thread: &Thread) {
        let Some(connection) = self.connection.take() else { return };
        let mut state = self.pool.lock();
        state.number += 1;
        let number = state.number;
        state.idle.push(Idle { number, connection });
        let begin = !std::mem::replace(&mut state.swept, true);
        drop(state);
        if begin {
            // It does not hold the thread: a program that ends waits for nothing.
            let pool = Arc::downgrade(&self.pool);
            thread.leave(async move {
                let mut unused_since = number;
                loop {
                    tokio::time::sleep(IDLE).await;
                    let Some(pool) = pool.upgrade() else { return };
                    match pool.sweep(unused_since) {
                        Some(number) => unused_since = number,
                        None => return,
                    }
                }
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.lock().leased -= 1;
        // The permit goes after the count, so that the next one counts well.
    }
}
