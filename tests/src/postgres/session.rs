//! What a test says to a server, and what the server answers besides rows.

use std::{
    ops::Deref,
    panic::Location,
    sync::{Arc, Mutex},
};

use tokio::task::JoinHandle;
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, NoTls, SimpleQueryMessage, error::DbError,
};

/// An error or a warning of the server, as one compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The five characters, as `28P01`.
    pub code: String,
    /// What the server says, in English.
    pub text: String,
}

impl Message {
    fn of(error: &DbError) -> Self {
        Self { code: error.code().code().to_owned(), text: error.message().to_owned() }
    }
}

/// The server's part of a client's error.
///
/// # Panics
///
/// When the error is not the server's, as that of a connection that broke.
pub fn message(error: &Error) -> Message {
    Message::of(error.as_db_error().unwrap_or_else(|| panic!("not the server's: {error:?}")))
}

/// A connection, with the notices that came over it. It is also the client that
/// it holds, for whatever has no short form here.
///
/// Dropped, it closes the connection without a word, as the kernel does for a
/// process that was killed: what the server was told before, it goes on with.
#[derive(Debug)]
pub struct Session {
    client: Client,
    connection: JoinHandle<()>,
    notices: Arc<Mutex<Vec<Message>>>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Session {
    /// Logs in at a port of 127.0.0.1.
    pub(super) async fn at(
        port: u16,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<Self, Error> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(port).user(user).password(password).dbname(database);
        let (client, mut connection) = config.connect(NoTls).await?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&notices);
        let connection = tokio::spawn(async move {
            // A connection that broke fails the next call on its client.
            while let Some(Ok(message)) =
                std::future::poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notice(notice) = message {
                    heard.lock().expect("nobody panics in it").push(Message::of(&notice));
                }
            }
        });
        Ok(Self { client, connection, notices })
    }

    /// Runs statements that succeed.
    ///
    /// # Panics
    ///
    /// When one does not, with it and the server's words.
    #[track_caller]
    pub fn run(&self, sql: &str) -> impl Future<Output = ()> {
        let at = Location::caller();
        async move {
            if let Err(error) = self.client.batch_execute(sql).await {
                panic!("{at}: `{sql}`: {}", words(&error));
            }
        }
    }

    /// Runs statements of which one is refused, and says how.
    ///
    /// # Panics
    ///
    /// When all of them succeed, or when the connection breaks.
    #[track_caller]
    pub fn refused(&self, sql: &str) -> impl Future<Output = Message> {
        let at = Location::caller();
        async move {
            match self.client.batch_execute(sql).await {
                Ok(()) => panic!("{at}: `{sql}` was not refused"),
                Err(error) => message(&error),
            }
        }
    }

    /// The rows of a query, each with `|` between its columns, as `psql -At` has
    /// them.
    ///
    /// # Panics
    ///
    /// When the query fails.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> impl Future<Output = Vec<String>> {
        self.rows_at(sql, Location::caller())
    }

    pub(super) async fn rows_at(&self, sql: &str, at: &'static Location<'static>) -> Vec<String> {
        let answer = self.client.simple_query(sql).await;
        let answer = answer.unwrap_or_else(|error| panic!("{at}: `{sql}`: {}", words(&error)));
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                let columns = (0..row.len()).map(|n| row.get(n).unwrap_or_default());
                Some(columns.collect::<Vec<&str>>().join("|"))
            }
            _ => None,
        };
        answer.into_iter().filter_map(row).collect()
    }

    /// The one row of a query.
    ///
    /// # Panics
    ///
    /// When the query fails, or has another number of rows.
    #[track_caller]
    pub fn value(&self, sql: &str) -> impl Future<Output = String> {
        let at = Location::caller();
        async move {
            let mut rows = self.rows_at(sql, at).await;
            assert_eq!(rows.len(), 1, "{at}: `{sql}` has other than one row: {rows:?}");
            rows.remove(0)
        }
    }

    /// The number of the server's process for this session.
    ///
    /// # Panics
    ///
    /// When the connection breaks.
    pub async fn pid(&self) -> String {
        self.value("SELECT pg_backend_pid()").await
    }

    /// The warnings and notices that came since this was last asked.
    ///
    /// # Panics
    ///
    /// Never: nobody panics while he adds one.
    pub fn notices(&self) -> Vec<Message> {
        std::mem::take(&mut *self.notices.lock().expect("nobody panics in it"))
    }
}

fn words(error: &Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{}: {}", error.code().code(), error.message()),
        None => format!("{error:?}"),
    }
}
