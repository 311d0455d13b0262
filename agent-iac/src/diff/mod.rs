//! What differs between two views of one object. Pure.
//!
//! Owns the comparison of a property as it was read with the value that is
//! wanted or was recorded, and nothing else: what to do about a difference is
//! the planner's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    resource::{Node, Reading},
    schema::{Field, ResourceType},
    value::Value,
};

/// How one property compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// Both are equal.
    Matched,
    /// They differ; this is what was read.
    Differs(Value),
    /// What is wanted is not known before apply.
    Unknown,
    /// It could not be read, or is hidden; the reason.
    Unreadable(String),
    /// The system has no such property.
    Unsupported,
}

/// Compares one property as it was read with a value.
pub fn compare(field: &Field, read: Option<&Reading>, wanted: Option<&Value>) -> Compared {
    let Some(wanted) = wanted else {
        return Compared::Unknown;
    };
    match read {
        // A provider answers every field; one that is left out reads as null,
        // which is how an optional property that is not set reads.
        None if wanted.is_null() => Compared::Matched,
        None => Compared::Differs(Value::Null),
        // Nearly all that is read is as it is wanted, and in its normal form.
        Some(Reading::Known(value)) if value == wanted => Compared::Matched,
        Some(Reading::Known(value)) => {
            let value = field.ty.normalise(value.clone());
            if value == *wanted { Compared::Matched } else { Compared::Differs(value) }
        }
        Some(Reading::Redacted) => Compared::Unreadable("the system hides it".into()),
        Some(Reading::Unreadable(why)) => Compared::Unreadable(why.clone()),
        Some(Reading::Unsupported) => Compared::Unsupported,
    }
}

/// The readings as nodes, for what computes access of a real object: what was
/// not read is left out.
pub fn readings_as_nodes(
    resource_type: &'static ResourceType,
    read: &BTreeMap<String, Reading>,
    name_of: &dyn Fn(&'static str, &str) -> Option<crate::address::Address>,
) -> BTreeMap<String, Node> {
    let mut nodes = BTreeMap::new();
    for field in resource_type.fields {
        let Some(Reading::Known(value)) = read.get(field.name) else { continue };
        let value = field.ty.normalise(value.clone());
        let node = match (field.ty.link(), &value) {
            // An id that is one of ours shows as its address, so that access
            // compares equal on both sides.
            (Some(target), Value::Text(id)) => match name_of(target, id) {
                Some(address) => Node::Link(address),
                None => Node::Known(value),
            },
            _ => Node::Known(value),
        };
        nodes.insert(field.name.to_owned(), node);
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{resource::Resource, testing::world::Grant};

    fn field(name: &str) -> &'static Field {
        Grant::RESOURCE.field(name).unwrap()
    }

    fn set(items: &[&str]) -> Value {
        items.iter().copied().collect::<Value>().into_set()
    }

    #[test]
    fn a_property_matches_differs_or_cannot_be_told() {
        use Compared::{Differs, Matched, Unknown, Unreadable, Unsupported};
        let (on, allow) = (field("on"), field("allow"));
        let a = Value::from("a");
        let known = |value: &Value| Reading::Known(value.clone());
        assert_eq!(compare(on, Some(&known(&a)), Some(&a)), Matched);
        assert_eq!(compare(on, Some(&known(&"b".into())), Some(&a)), Differs("b".into()));
        assert_eq!(compare(on, Some(&known(&a)), None), Unknown);
        assert_eq!(compare(on, None, Some(&a)), Differs(Value::Null));
        assert_eq!(compare(on, None, Some(&Value::Null)), Matched);
        assert_eq!(
            compare(on, Some(&Reading::Redacted), Some(&a)),
            Unreadable("the system hides it".into())
        );
        let unreadable = Reading::Unreadable("403".into());
        assert_eq!(compare(on, Some(&unreadable), Some(&a)), Unreadable("403".into()));
        assert_eq!(compare(on, Some(&Reading::Unsupported), Some(&a)), Unsupported);
        let shuffled: Value = ["write", "read", "write"].into_iter().collect();
        assert_eq!(
            compare(allow, Some(&known(&shuffled)), Some(&set(&["read", "write"]))),
            Matched
        );
        assert_eq!(
            compare(allow, Some(&known(&shuffled)), Some(&set(&["read"]))),
            Differs(set(&["read", "write"]))
        );
    }

    #[test]
    fn an_id_that_is_ours_shows_as_its_address() {
        let ours: crate::address::Address = "a.account".parse().unwrap();
        let read = |id: &str| {
            BTreeMap::from([
                ("to".to_owned(), Reading::Known(id.into())),
                ("allow".to_owned(), Reading::Redacted),
            ])
        };
        let name_of =
            |ty: &'static str, id: &str| (ty == "sim.account" && id == "1").then(|| ours.clone());
        let nodes = readings_as_nodes(Grant::RESOURCE, &read("1"), &name_of);
        assert_eq!(nodes["to"], Node::Link(ours.clone()));
        assert!(!nodes.contains_key("allow"), "what was not read is left out");
        assert_eq!(
            readings_as_nodes(Grant::RESOURCE, &read("2"), &name_of)["to"],
            Node::Known("2".into())
        );
    }
}
