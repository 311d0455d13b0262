//! What the registry keeps of an object beside whose it is.
//!
//! Owns the JSON in `agent_iac.objects.detail`: what the server cannot be
//! asked for later. Writing puts it there, and reading answers from it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::ids::Oid;

/// Of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct RoleDetail {
    /// Who takes over what it owns when it goes.
    #[serde(default)]
    pub(in super::super) heir: Option<String>,
    /// While it is suspended: the roles that had LOGIN and were switched off,
    /// which are its logins and perhaps itself.
    #[serde(default)]
    pub(in super::super) suspended: Option<BTreeSet<Oid>>,
    /// The same, while their sessions are being ended: not suspended yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) ending: Option<BTreeSet<Oid>>,
    /// It stops logging in by itself, and its sessions may not have ended yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(in super::super) retiring: bool,
    /// What its sessions start with, as the server had it when it was written
    /// last; its logins have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) settings: Option<BTreeMap<String, String>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Of a login: the role that it was made for, whatever that is called later, and
/// the digest of the verifier that it was made with, and its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct LoginDetail {
    #[serde(default)]
    pub(in super::super) role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) verifier: Option<String>,
    /// Until when its password is good by the lease of its generation, in the
    /// server's form: nobody declared that instant, so it is no drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in super::super) lease: Option<String>,
}

/// Of a grant: the privileges that it was given, by their words. Two grants
/// may name the same column, and only this tells which of them a privilege on
/// it is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct GrantDetail {
    #[serde(default)]
    pub(in super::super) allow: BTreeSet<String>,
}

/// Of a policy: each expression as it was declared, and as the server wrote it
/// then. As long as the server writes the same, it means what was declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct PolicyDetail {
    #[serde(default)]
    pub(in super::super) using: Option<Expression>,
    #[serde(default)]
    pub(in super::super) check: Option<Expression>,
    /// Whether it turns row security of its table on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(in super::super) secures: bool,
}

/// One expression of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Expression {
    pub(in super::super) declared: String,
    pub(in super::super) server: String,
}

/// Of what was taken from PUBLIC, by the words of the privileges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct PublicDetail {
    /// What nobody may do just because everybody may.
    #[serde(default)]
    pub(in super::super) revoke: BTreeSet<String>,
    /// What PUBLIC really had, which is given back at the end: each privilege
    /// with the columns that it was on, and none where it was on the whole.
    #[serde(default)]
    pub(in super::super) taken: BTreeMap<String, BTreeSet<String>>,
}

/// Of what was taken from PUBLIC of what a role will create.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct PublicDefaultsDetail {
    /// What nobody will be allowed just because everybody is.
    #[serde(default)]
    pub(in super::super) revoke: BTreeSet<String>,
    /// What PUBLIC really would have got: each privilege with the schemas, and
    /// none for all of them at once.
    #[serde(default)]
    pub(in super::super) taken: BTreeMap<String, BTreeSet<Option<String>>>,
}

/// Of an ownership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct OwnershipDetail {
    /// The name of the role that gets the object when this ends.
    #[serde(default)]
    pub(in super::super) heir: Option<String>,
}

/// Reads a detail. One that is not there, or that is not as it was written, is
/// as one that says nothing: the object then reads as one of nobody's making.
pub(in super::super) fn read<D: DeserializeOwned + Default>(json: Option<&str>) -> D {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_read_back_and_one_that_says_nothing_is_empty() {
        let detail = RoleDetail {
            heir: Some("dba".into()),
            suspended: Some(BTreeSet::from([7, 9])),
            ending: None,
            retiring: false,
            settings: None,
        };
        let json = serde_json::to_string(&detail).unwrap();
        assert_eq!(json, r#"{"heir":"dba","suspended":[7,9]}"#);
        assert_eq!(read::<RoleDetail>(Some(&json)), detail);
        for json in [None, Some("{}"), Some("[]"), Some("{\"suspended\":\"x\"}")] {
            assert_eq!(read::<RoleDetail>(json), RoleDetail::default(), "{json:?}");
        }
    }
}
