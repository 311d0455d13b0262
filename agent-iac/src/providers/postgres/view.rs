//! A cluster as one principal sees it.
//!
//! Owns which databases of a cluster are looked at, which of them an object is
//! in, which roles are the engine's own, and who reads together. It knows no
//! catalog.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{
    catalog::Within,
    server::{About, Server, Together},
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
};

/// A server with the databases that the fleet names, as one login works there.
#[derive(Clone)]
pub(super) struct View {
    pub(super) server: Server,
    pub(super) layout: Arc<Layout>,
    /// What is about to be read there.
    reads: Together<Within>,
}

impl View {
    pub(super) fn new(server: Server, layout: Arc<Layout>) -> Self {
        Self { server, layout, reads: Together::default() }
    }

    /// Reads one of the databases, as objects name it, on a snapshot that was
    /// taken after this was asked for. What is asked for at the same time
    /// shares it, and what one read finds out of the database's logins and
    /// registry.
    ///
    /// # Errors
    ///
    /// Those of the work, and when the server cannot be reached.
    pub(super) async fn read<T, F, W>(&self, database: Option<&str>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(Within) -> W + Send + Sync + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let (layout, name) = (Arc::clone(&self.layout), database.map(str::to_owned));
        let make = move |tx, about: &About| {
            Within::reading(tx, Arc::clone(&layout), name.clone(), about.major())
        };
        self.reads.read(&self.server, database, make, work).await
    }
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
    /// The login that planning reads as, which is let into the registry.
    pub(super) observer: Option<String>,
    /// The names of the roles that are ours to look after, with `*` for any
    /// characters; all of them when there are none.
    pub(super) scope: BTreeSet<String>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Layout {
    /// The databases, as an object names them: the own one is
    /// `None`, and comes first.
    pub(super) fn databases(&self) -> impl Iterator<Item = Option<&str>> {
        std::iter::once(None).chain(self.others.iter().map(|name| Some(name.as_str())))
    }

    /// The name of a database.
    pub(super) fn name<'a>(&'a self, database: Option<&'a str>) -> &'a str {
        database.unwrap_or(&self.own)
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

    /// Whether a role is among those that are looked after, declared or not.
    pub(super) fn is_in_scope(&self, role: &str) -> bool {
        self.scope.is_empty() || self.scope.iter().any(|pattern| matches(pattern, role))
    }

    /// Whether a role is the engine's own: its administrators, or a login of
    /// its principals.
    pub(super) fn is_own_role(&self, name: &str) -> bool {
        self.administrators.as_deref() == Some(name) || self.principals.contains(name)
    }
}

/// Whether a name is of a pattern, in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place leaves most for what follows.
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_of_a_scope_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("reader", "reader", true),
            ("reader", "reader2", false),
            ("agent_*", "agent_", true),
            ("agent_*", "agent_x", true),
            ("agent_*", "my_agent_x", false),
            ("*_reader", "a_reader", true),
            ("*_reader", "a_reader_", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn an_object_is_looked_for_in_its_database_and_the_own_one_is_never_named() {
        let layout = Layout {
            own: "app".into(),
            others: BTreeSet::from(["archive".into()]),
            ..Layout::default()
        };
        assert_eq!(layout.managed(None).unwrap(), None);
        assert_eq!(layout.managed(Some("archive")).unwrap(), Some("archive"));
        for (database, says) in [("app", "own database"), ("other", "none of the provider's")] {
            let error = layout.managed(Some(database)).unwrap_err();
            assert!(error.message().contains(says) && error.repair().is_some(), "{error:?}");
        }
        assert_eq!(layout.databases().collect::<Vec<_>>(), [None, Some("archive")]);
    }
}
