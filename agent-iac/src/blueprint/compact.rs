//! Small maps and sets of a declaration, as they are kept.
//!
//! A tree has room for eleven entries in each of its nodes, and a property, a
//! statement of access or a need has seldom more than three: held in trees, a
//! large fleet would be mostly room. What stands here is sorted and exactly as
//! large as it is; it is built once, by validation.

use std::{collections::BTreeMap, ops::Index};

use serde::{Serialize, Serializer};

use crate::{
    access::{Access, Tuple},
    resource::Node,
};

/// The properties of a desired resource, sorted by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Box<[(&'static str, Node)]>);

impl Properties {
    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Node> {
        let at = self.0.binary_search_by(|(one, _)| (*one).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// All of them, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Node)> {
        self.0.iter().map(|(name, node)| (*name, node))
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &Node> {
        self.0.iter().map(|(_, node)| node)
    }

    /// A map of them, as the functions of a type take it.
    pub fn to_map(&self) -> BTreeMap<String, Node> {
        self.iter().map(|(name, node)| (name.to_owned(), node.clone())).collect()
    }
}

impl FromIterator<(&'static str, Node)> for Properties {
    fn from_iter<I: IntoIterator<Item = (&'static str, Node)>>(properties: I) -> Self {
        let mut all: Vec<_> = properties.into_iter().collect();
        all.sort_by_key(|(name, _)| *name);
        Self(all.into())
    }
}

impl Index<&str> for Properties {
    type Output = Node;

    /// # Panics
    ///
    /// Where there is no property of that name.
    fn index(&self, name: &str) -> &Node {
        self.get(name).expect("the property is one that the type has")
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// The access that a desired resource gives, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gives {
    tuples: Box<[Tuple]>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    undecided: Box<[String]>,
}

impl Gives {
    /// The same as an [`Access`].
    pub fn access(&self) -> Access {
        Access {
            tuples: self.tuples.iter().cloned().collect(),
            undecided: self.undecided.iter().cloned().collect(),
        }
    }

    /// Whether it is known exactly.
    pub fn is_exact(&self) -> bool {
        self.undecided.is_empty()
    }
}

impl From<Access> for Gives {
    fn from(access: Access) -> Self {
        Self {
            tuples: access.tuples.into_iter().collect(),
            undecided: access.undecided.into_iter().collect(),
        }
    }
}

impl PartialEq<Access> for Gives {
    fn eq(&self, access: &Access) -> bool {
        self.tuples.iter().eq(&access.tuples) && self.undecided.iter().eq(&access.undecided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Value, canonical};

    #[test]
    fn properties_are_found_and_written_as_those_of_a_map() {
        let node = |text: &str| Node::Known(Value::from(text));
        let properties: Properties =
            [("on", node("b")), ("allow", node("a"))].into_iter().collect();
        assert_eq!(properties.get("on"), Some(&node("b")));
        assert_eq!(properties.get("of"), None);
        assert_eq!(properties["allow"], node("a"));
        let map = properties.to_map();
        assert!(map.keys().eq(["allow", "on"]));
        assert_eq!(canonical(&properties).unwrap(), canonical(&map).unwrap());
    }

    #[test]
    fn access_comes_back_and_is_written_as_it_was() {
        for access in [
            Access::NONE,
            Access::undecided("not known yet"),
            Access::exactly([Tuple::allow("b", "read", "x"), Tuple::allow("a", "read", "x")]),
        ] {
            let gives = Gives::from(access.clone());
            assert_eq!(gives.access(), access);
            assert!(gives == access);
            assert_eq!(gives.is_exact(), access.undecided.is_empty());
            assert_eq!(canonical(&gives).unwrap(), canonical(&access).unwrap());
        }
        assert!(Gives::default() != Access::undecided("why"));
    }
}
