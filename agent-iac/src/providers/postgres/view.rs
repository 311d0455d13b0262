//! A cluster as one principal sees it.
//!
//! Owns which databases of a cluster are looked at, which of them an object is
//! in, and which roles are the engine's own. It asks the server nothing.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{Object, server::Server};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// A server with the databases that the fleet names, as one login works there.
#[derive(Clone)]
pub(super) struct View {
    pub(super) server: Server,
    pub(super) layout: Arc<Layout>,
}

/// What is known of a cluster before it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// The provider's own database: no object names it, and what belongs to
    /// the whole cluster is written there.
    pub(super) own: String,
    /// The other databases that are managed.
    pub(super) others: BTreeSet<String>,
    /// The role that applying becomes in each transaction.
    pub(super) administrators: Option<String>,
    /// The logins of the engine itself, which no fleet declares.
    pub(super) principals: BTreeSet<String>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Layout {
    /// The databases, as [`Object::database`] names them: the own one is
    /// `None`, and comes first.
    pub(super) fn databases(&self) -> impl Iterator<Item = Option<&str>> {
        std::iter::once(None).chain(self.others.iter().map(|name| Some(name.as_str())))
    }

    /// The name of a database.
    pub(super) fn name<'a>(&'a self, database: Option<&'a str>) -> &'a str {
        database.unwrap_or(&self.own)
    }

    /// The database that one connects to for an object: for what belongs to
    /// the whole cluster, the own one.
    ///
    /// # Errors
    ///
    /// When the object names the own database, or one that is not managed.
    pub(super) fn database_of<'a>(&self, object: &'a Object) -> Result<Option<&'a str>> {
        self.managed(object.database.as_deref())
    }

    /// Checks the name of a database as a declaration gives it.
    ///
    /// # Errors
    ///
    /// When it names the own database, or one that is not managed.
    pub(super) fn managed<'a>(&self, database: Option<&'a str>) -> Result<Option<&'a str>> {
        match database {
            None => Ok(None),
            Some(name) if name == self.own => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} is the provider's own database", quoted(name)),
            )
            .help("leave `database` out")),
            Some(name) if self.others.contains(name) => Ok(Some(name)),
            Some(name) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the database {} is none of the provider's", quoted(name)),
            )
            .help("add it to the provider with `.database(…)`")),
        }
    }

    /// Whether a role is the engine's own: its administrators, or a login of
    /// its principals.
    pub(super) fn is_own_role(&self, name: &str) -> bool {
        self.administrators.as_deref() == Some(name) || self.principals.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::postgres::{Database, Table};

    #[test]
    fn an_object_is_looked_for_in_its_database_and_the_own_one_is_never_named() {
        let layout = Layout {
            own: "app".into(),
            others: BTreeSet::from(["archive".into()]),
            ..Layout::default()
        };
        let table = || Table::new("s", "t");
        assert_eq!(layout.database_of(&table()).unwrap(), None);
        assert_eq!(layout.database_of(&Database::new("archive")).unwrap(), None);
        let archive = table().in_database("archive");
        assert_eq!(layout.database_of(&archive).unwrap(), Some("archive"));
        for (database, says) in [("app", "own database"), ("other", "none of the provider's")] {
            let error = layout.database_of(&table().in_database(database)).map(drop).unwrap_err();
            assert!(error.message().contains(says) && error.repair().is_some(), "{error:?}");
        }
        assert_eq!(layout.databases().collect::<Vec<_>>(), [None, Some("archive")]);
    }
}
