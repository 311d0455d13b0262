//! The resource types of the authority.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Pattern};
use crate::{
    Resource,
    access::{Access, Tuple},
    resource::{Grants, Link, Node},
    value::Value,
};

/// An account of the authority: who an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "authority.account", kind = "identity")]
pub struct Account {
    /// Its name, unique in the authority: visible characters, at most 256 bytes.
    #[resource(key)]
    pub name: String,
    /// What it is for, shown to people.
    pub description: Option<String>,
    /// Its id, never given again to another.
    #[resource(output)]
    pub id: String,
}

/// A permission: some actions on the objects of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "authority.grant", kind = "permission")]
pub struct Grant {
    /// The account that may act.
    #[resource(key)]
    pub to: Link<Account>,
    /// The objects on which it may act.
    #[resource(key)]
    pub on: Pattern,
    /// What it may do there.
    pub allow: BTreeSet<Action>,
    /// Its id.
    #[resource(output)]
    pub id: String,
}

/// An API key. The authority makes it and answers it once.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "authority.api_key", kind = "credential")]
pub struct ApiKey {
    /// The account that it speaks for.
    #[resource(replace)]
    pub of: Link<Account>,
    /// What it is for, shown to people.
    #[resource(replace)]
    pub note: Option<String>,
    /// Its id, which tells nothing of the key.
    #[resource(output)]
    pub id: String,
}

impl Grants for Grant {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let pattern = match properties.get("on").and_then(Node::known) {
            Some(Value::Text(pattern)) => Pattern::new(pattern),
            _ => {
                return Access::undecided(format!("`on` of {principal} is known only after apply"));
            }
        };
        if let Err(error) = pattern.validate() {
            return Access::undecided(error.to_string());
        }
        let Some(actions) = properties.get("allow").and_then(Node::known) else {
            return Access::undecided(format!("`allow` of {principal} is known only after apply"));
        };
        let actions = actions.as_list().unwrap_or_default().iter().filter_map(Value::as_text);
        Access::exactly(actions.map(|action| Tuple::allow(principal, action, pattern.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Address,
        resource::{Builder as _, Ref, Resource as _},
    };

    fn account() -> Ref<Account> {
        Ref::to("triage.account".parse::<Address>().unwrap())
    }

    #[test]
    fn a_grant_gives_one_tuple_for_each_action() {
        let mut grant = Grant::builder();
        grant.to(account()).on("invoices/*").allow(["read", "list", "read"]);
        assert_eq!(
            Grant::grants("triage.account", grant.fields().nodes()),
            Access::exactly([
                Tuple::allow("triage.account", "list", "invoices/*"),
                Tuple::allow("triage.account", "read", "invoices/*"),
            ])
        );
    }

    #[test]
    fn a_grant_on_what_is_not_known_is_undecided() {
        let mut grant = Grant::builder();
        grant.to(account()).on(format!("of/{}", account().id())).allow(["read"]);
        let access = Grant::grants("triage.account", grant.fields().nodes());
        assert!(access.tuples.is_empty() && !access.undecided.is_empty(), "{access:?}");
    }

    #[test]
    fn a_grant_on_what_is_no_pattern_is_undecided_and_says_so() {
        let mut grant = Grant::builder();
        grant.to(account()).on(Pattern::new("inv*")).allow([Action::new("read")]);
        let access = Grant::grants("triage.account", grant.fields().nodes());
        assert!(access.undecided.first().is_some_and(|why| why.contains("inv*")), "{access:?}");
    }
}
