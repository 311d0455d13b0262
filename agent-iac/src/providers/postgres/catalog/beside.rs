//! What makes a row policy mean less than it says: the permissive ones beside
//! it, of which one is enough, and who its table does not hold for.
//!
//! Owns the query for both, and the one line in which a policy is told.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Within,
    ids::{Oid, PolicyId},
    people::inherit_option,
};
use crate::{
    address::is_printable,
    error::Result,
    providers::postgres::{Command, server::Type},
};

/// What stands beside one policy of one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// The policies for everybody or for a role that it inherits from, by their
    /// names: each with its id, and in one line.
    pub(super) policies: BTreeMap<String, (String, String)>,
    /// Whether the role owns the table, whose policies are not forced.
    pub(super) is_owner: bool,
}

/// Finds what stands beside policies, each with the role that it is for, in one
/// request. Those for the role itself are its own, and are not told.
///
/// Of many policies on one table, each for a role of its own, only those for
/// others than these are compared with each of them.
pub(super) async fn of(
    within: &Within,
    of: &BTreeSet<(Oid, Oid)>,
) -> Result<BTreeMap<(Oid, Oid), Beside>> {
    let mut found: BTreeMap<(Oid, Oid), Beside> = BTreeMap::new();
    if of.is_empty() {
        return Ok(found);
    }
    let (policies, roles): (Vec<Oid>, Vec<Oid>) = of.iter().copied().unzip();
    let sql = format!(
        "WITH RECURSIVE up AS (
            SELECT DISTINCT role, role AS reached FROM unnest($2::oid[]) AS t (role)
            UNION SELECT up.role, m.roleid FROM up JOIN pg_auth_members m ON m.member = up.reached
            WHERE {}
        ), asked AS MATERIALIZED (
            SELECT t.role, p.oid, p.polrelid, p.polcmd, p.polpermissive, c.relowner,
                c.relforcerowsecurity
            FROM unnest($1::oid[], $2::oid[]) AS t (policy, role)
            JOIN pg_policy p ON p.oid = t.policy JOIN pg_class c ON c.oid = p.polrelid
        ), others AS MATERIALIZED (
            SELECT o.* FROM pg_policy o WHERE o.polpermissive AND o.polroles && (
                SELECT array_agg(reached) || 0::oid FROM up WHERE reached <> role)
            UNION ALL SELECT o.* FROM pg_policy o WHERE o.polpermissive AND 0 = ANY (o.polroles)
                AND NOT EXISTS (SELECT FROM up WHERE reached <> role)
        )
        SELECT a.oid, a.role, o.oid, o.polname::text, o.polcmd::text,
            pg_get_expr(o.polqual, o.polrelid), pg_get_expr(o.polwithcheck, o.polrelid)
        FROM asked a JOIN others o ON o.polrelid = a.polrelid AND o.oid <> a.oid
        WHERE a.polpermissive AND (a.polcmd = '*' OR o.polcmd IN ('*', a.polcmd))
            AND NOT a.role = ANY (o.polroles) AND (0 = ANY (o.polroles) OR EXISTS (
                SELECT FROM up WHERE up.role = a.role AND up.reached = ANY (o.polroles)))
        UNION ALL SELECT a.oid, a.role, NULL, NULL, NULL, NULL, NULL
        FROM asked a JOIN up ON up.role = a.role AND up.reached = a.relowner
        WHERE NOT a.relforcerowsecurity",
        inherit_option(within.version)
    );
    let parameters = [(&policies as _, Type::OID_ARRAY), (&roles as _, Type::OID_ARRAY)];
    for row in within.tx.query(&sql, &parameters).await? {
        let beside = found.entry((row.get(0), row.get(1))).or_default();
        let Some(policy) = row.get::<_, Option<Oid>>(2) else {
            beside.is_owner = true;
            continue;
        };
        let id = PolicyId { policy, database: within.database.clone() }.to_string();
        let command = Command::of_letter(row.get(4)).map_or("something", Command::word);
        let mut line = vec![command.to_owned()];
        line.extend(expressions(row.get(5), row.get(6)));
        beside.policies.insert(row.get(3), (id, line.join(" ")));
    }
    Ok(found)
}

/// The expressions of a policy, each in one line.
pub(in super::super) fn expressions(using: Option<&str>, check: Option<&str>) -> Vec<String> {
    let given = [("using", using), ("check", check)];
    given
        .into_iter()
        .filter_map(|(word, expression)| {
            let words: Vec<&str> = expression?.split_whitespace().collect();
            let expression = words.join(" ");
            Some(if is_printable(&expression) {
                format!("{word} ({expression})")
            } else {
                format!("{word} what cannot be shown")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_of_many_lines_stands_in_one() {
        assert_eq!(
            expressions(Some("(EXISTS ( SELECT\n   FROM x))"), None),
            ["using ((EXISTS ( SELECT FROM x)))"]
        );
        assert_eq!(expressions(None, Some("a = '\u{202e}'")), ["check what cannot be shown"]);
    }
}
