//! Reads that are asked for at the same moment, on one transaction.
//!
//! Owns who shares a transaction with whom, and what happens when one of them
//! fails. A connection costs a server as much as ten small queries, and what
//! several reads have to know, one of them can find out for all. It knows no
//! catalog: what the readers share is theirs.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::sync::{mpsc, oneshot};

use super::{Server, Transaction, connection::About, error::copy};
use crate::error::{Error, ErrorKind, Result};

/// The reads of one server that are about to begin, by their databases. What
/// each transaction is shared with is made once, of the type `C`.
pub struct Together<C>(Arc<Mutex<BTreeMap<Arc<str>, Joint<C>>>>);

/// A transaction that is about to begin.
#[derive(Clone)]
struct Joint<C> {
    begun: Begun<C>,
    /// How many share it, and how many of them are not done.
    readers: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    /// That it has ended, and its connection is free.
    over: Shared<BoxFuture<'static, ()>>,
}

type Begun<C> = Shared<BoxFuture<'static, Result<Held<C>, Arc<Error>>>>;

/// What the readers share; the transaction ends when the last one drops it.
#[derive(Clone)]
struct Held<C> {
    shared: C,
    _alive: mpsc::Sender<()>,
}

impl<C> Clone for Together<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Default for Together<C> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<C> fmt::Debug for Together<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Together")
    }
}

impl<C: Clone + Send + Sync + 'static> Together<C> {
    fn open(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Joint<C>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads on a snapshot of a database that was taken after this was asked
    /// for, with whoever asks before it is taken. `make` makes what the readers
    /// share.
    ///
    /// A statement that fails takes the transaction from all of its readers:
    /// then each repeats its work on one of its own, so that no error is that
    /// of somebody else.
    ///
    /// # Errors
    ///
    /// Those of the work, and when the server cannot be reached.
    pub async fn read<T, M, F, W>(
        &self,
        server: &Server,
        database: Option<&str>,
        make: M,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        M: Fn(Transaction, &About) -> C + Clone + Send + Sync + 'static,
        F: Fn(C) -> W + Send + Sync + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let joint = self.join(server, &server.named(database), make.clone());
        let (one, name) = (server.clone(), database.map(str::to_owned));
        server
            .run(Box::pin(async move {
                let answer = match joint.begun.await {
                    Ok(held) => work(held.shared.clone()).await,
                    Err(error) => return Err(copy(&error)),
                };
                // Whoever reads next finds the connection, and needs no other.
                if joint.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    joint.over.await;
                }
                match answer {
                    Err(_) if joint.readers.load(Ordering::Relaxed) > 1 => {
                        let known = one.clone();
                        let alone = |tx| async move {
                            let about = known.about().await?;
                            work(make(tx, &about)).await
                        };
                        one.read(name.as_deref(), alone).await
                    }
                    answer => answer,
                }
            }))
            .await
    }

    fn join<M>(&self, server: &Server, database: &Arc<str>, make: M) -> Joint<C>
    where
        M: Fn(Transaction, &About) -> C + Send + Sync + 'static,
    {
        let mut open = self.open();
        if let Some(joint) = open.get(database) {
            joint.readers.fetch_add(1, Ordering::Relaxed);
            joint.left.fetch_add(1, Ordering::Relaxed);
            return joint.clone();
        }
        let (told, hears) = oneshot::channel();
        let (ending, ends) = oneshot::channel::<()>();
        let hears = async move { hears.await.unwrap_or_else(|_| Err(Arc::new(nobody()))) };
        let joint = Joint {
            begun: hears.boxed().shared(),
            readers: Arc::new(AtomicUsize::new(1)),
            left: Arc::new(AtomicUsize::new(1)),
            over: ends.map(drop).boxed().shared(),
        };
        open.insert(Arc::clone(database), joint.clone());
        drop(open);
        self.begin(server, database, make, told, ending);
        joint
    }

    /// Begins the transaction, and keeps it for as long as somebody reads.
    fn begin<M>(
        &self,
        server: &Server,
        database: &Arc<str>,
        make: M,
        told: oneshot::Sender<Result<Held<C>, Arc<Error>>>,
        ending: oneshot::Sender<()>,
    ) where
        M: Fn(Transaction, &About) -> C + Send + Sync + 'static,
    {
        let told = Arc::new(Mutex::new(Some(told)));
        let tell = move |answer| {
            let told = told.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Where nobody waits any more, nobody has to be told.
            let _unheard = told.map(|told| told.send(answer));
        };
        let (this, known, name) = (self.clone(), server.clone(), Arc::clone(database));
        let (first, last) = (tell.clone(), tell);
        let hold = move |tx| async move {
            // From here on the snapshot may be older than a question.
            this.open().remove(&name);
            let about = known.about().await?;
            let (alive, mut held) = mpsc::channel(1);
            first(Ok(Held { shared: make(tx, &about), _alive: alive }));
            while held.recv().await.is_some() {}
            Ok(())
        };
        let (this, one, name) = (self.clone(), server.clone(), Arc::clone(database));
        server.0.route.thread().post(Box::pin(async move {
            if let Err(error) = one.read(Some(&name), hold).await {
                this.open().remove(&name);
                last(Err(Arc::new(error)));
            }
            drop(ending);
        }));
    }
}

fn nobody() -> Error {
    Error::new(ErrorKind::Bug, "a read of a PostgreSQL server was given up by who began it")
}
