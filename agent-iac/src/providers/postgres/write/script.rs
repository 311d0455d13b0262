//! Many small changes of rights as few statements.
//!
//! Pure. Owns the order of what depends on one another, what can be said in
//! one `GRANT` or `REVOKE`, and in whose name. Statements for a thousand roles
//! cost the server a fifth of a thousand statements.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    super::{Object, Privilege, name::ident},
    powers::{Acting, Powers},
};

/// What is done with some privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    /// Taken back.
    Revoke,
    /// Kept, but may no longer be passed on.
    RevokeOption,
    /// Given.
    Grant,
    /// Given, with the right to pass it on.
    GrantOption,
}

/// When something is done. What is taken is taken first, from the last in a
/// chain of grantors to the first; a `REVOKE` on a whole table also takes what
/// was given on its columns, which is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Whole(Reverse<u8>),
    PutBack,
    Columns(Reverse<u8>),
    Give,
}

/// One change: some privileges on one object, of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) phase: Phase,
    pub(super) acting: Acting,
    pub(super) verb: Verb,
    pub(super) privileges: BTreeSet<Privilege>,
    pub(super) on: Object,
    /// The role, as it stands in SQL.
    pub(super) grantee: String,
}

/// What everybody is in SQL.
pub(super) const PUBLIC: &str = "PUBLIC";

/// What is done in whose name, one after the other. An empty statement only
/// lends what its name needs.
pub(super) type Statements = Vec<(Acting, String)>;

/// Says the same in fewer statements: grantees of the same thing together,
/// then objects on which the same grantees get the same.
pub(super) fn grouped(steps: impl IntoIterator<Item = Step>) -> Statements {
    type Key = (Phase, Acting, Verb, &'static str, Vec<String>, BTreeSet<Privilege>);
    let mut by_object: BTreeMap<(Key, String), BTreeSet<String>> = BTreeMap::new();
    for step in steps {
        if step.privileges.is_empty() {
            continue;
        }
        let columns = step.on.columns.iter().flatten().cloned().collect();
        let key =
            (step.phase, step.acting, step.verb, step.on.kind.sql(), columns, step.privileges);
        by_object.entry((key, step.on.sql_name())).or_default().insert(step.grantee);
    }
    let mut by_grantees: BTreeMap<(Key, BTreeSet<String>), Vec<String>> = BTreeMap::new();
    for ((key, object), grantees) in by_object {
        by_grantees.entry((key, grantees)).or_default().push(object);
    }
    let mut statements = Vec::with_capacity(by_grantees.len());
    for (((_, acting, verb, kind, columns, privileges), grantees), objects) in by_grantees {
        let columns = if columns.is_empty() {
            String::new()
        } else {
            let columns: Vec<String> = columns.iter().map(|column| ident(column)).collect();
            format!(" ({})", columns.join(", "))
        };
        let privileges: Vec<String> =
            privileges.iter().map(|privilege| format!("{}{columns}", privilege.sql())).collect();
        let privileges = privileges.join(", ");
        let grantees = grantees.into_iter().collect::<Vec<_>>().join(", ");
        let on = format!("ON {kind} {}", objects.join(", "));
        let text = match verb {
            Verb::Revoke => format!("REVOKE {privileges} {on} FROM {grantees}"),
            Verb::RevokeOption => {
                format!("REVOKE GRANT OPTION FOR {privileges} {on} FROM {grantees}")
            }
            Verb::Grant => format!("GRANT {privileges} {on} TO {grantees}"),
            Verb::GrantOption => {
                format!("GRANT {privileges} {on} TO {grantees} WITH GRANT OPTION")
            }
        };
        statements.push((acting, text));
    }
    statements
}

/// One text of all statements, each in its name, that ends as it began.
pub(super) fn script(powers: &Powers, statements: &[(Acting, String)]) -> String {
    lines(powers, statements).join(";\n")
}

/// What a script has before and after statements in one name.
pub(super) fn around(powers: &Powers, acting: Acting) -> (String, String) {
    let statement = "SELECT";
    let lines = lines(powers, &[(acting, statement.to_owned())]);
    let mut parts = lines.splitn(2, |line| line == statement).map(|part| part.join(";\n"));
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// A membership is lent for the statements that need it, and no longer: with
/// its rights, the server would take a role for the grantor that somebody's
/// grant option was given to.
fn lines(powers: &Powers, statements: &[(Acting, String)]) -> Vec<String> {
    let me = ident(powers.my_name());
    let mut lines = Vec::new();
    let mut name: Option<u32> = None;
    // What ends each of the memberships that there are.
    let mut lent: BTreeMap<u32, String> = BTreeMap::new();
    let mut needed = BTreeSet::new();
    let become_me = |lines: &mut Vec<String>, name: &mut Option<u32>| {
        if name.take().is_some() {
            lines.push(format!("SET LOCAL ROLE {me}"));
        }
    };
    for (acting, statement) in statements {
        if let Acting::Lent(role) | Acting::With(role) = acting {
            needed.insert(*role);
        }
        if statement.is_empty() {
            continue;
        }
        let missing: Vec<(u32, (String, String))> = needed
            .iter()
            .filter(|role| !lent.contains_key(role))
            .filter_map(|role| Some((*role, powers.lend(*role)?)))
            .collect();
        let is_over = lent.keys().any(|role| !needed.contains(role));
        if is_over || !missing.is_empty() {
            become_me(&mut lines, &mut name);
        }
        lent.retain(|role, end| {
            let stays = needed.contains(role);
            if !stays {
                lines.push(std::mem::take(end));
            }
            stays
        });
        for (role, (lend, end)) in missing {
            lines.push(lend);
            lent.insert(role, end);
        }
        needed.clear();
        let actor = match acting {
            Acting::Me | Acting::With(_) => None,
            Acting::As(role) | Acting::Lent(role) => Some(*role),
        };
        if actor != name {
            match actor.and_then(|role| powers.role(role)) {
                Some(power) => lines.push(format!("SET LOCAL ROLE {}", ident(&power.name))),
                None => become_me(&mut lines, &mut name),
            }
            name = actor;
        }
        lines.push(statement.clone());
    }
    become_me(&mut lines, &mut name);
    lines.extend(lent.into_values());
    // A membership that was there already is not lent.
    lines.retain(|line| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Column, Function, Insert, Parameter, Schema, Select, Table, Update, Usage},
        *,
    };

    fn step(verb: Verb, privileges: &[Privilege], on: Object, grantee: &str) -> Step {
        let phase = match verb {
            Verb::Revoke | Verb::RevokeOption => Phase::Whole(Reverse(0)),
            Verb::Grant | Verb::GrantOption => Phase::Give,
        };
        Step {
            phase,
            acting: Acting::Me,
            verb,
            privileges: privileges.iter().copied().collect(),
            on,
            grantee: ident(grantee),
        }
    }

    fn texts(steps: Vec<Step>) -> Vec<String> {
        grouped(steps).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn the_same_for_many_roles_and_objects_is_one_statement() {
        let steps = ["t1", "t2"].into_iter().flat_map(|table| {
            ["b", "a"].map(|role| step(Verb::Grant, &[Select], Table::new("s", table), role))
        });
        assert_eq!(
            texts(steps.collect()),
            [r#"GRANT SELECT ON TABLE "s"."t1", "s"."t2" TO "a", "b""#]
        );
    }

    #[test]
    fn what_differs_in_anything_is_a_statement_of_its_own() {
        let one = || Table::new("s", "t");
        let steps = vec![
            step(Verb::Grant, &[Select], one(), "a"),
            step(Verb::Grant, &[Select, Insert], one(), "b"),
            step(Verb::GrantOption, &[Select], one(), "c"),
            step(Verb::Grant, &[Usage], Schema::new("s"), "a"),
            step(Verb::Grant, &[Select], Column::new("s", "t", ["x", "y"]), "d"),
            step(Verb::Grant, &[Update], Function::new("s", "f", ["integer"]), "a"),
            step(Verb::Grant, &[Privilege::AlterSystem], Parameter::new("my.p"), "a"),
            step(Verb::Grant, &[], one(), "nobody"),
        ];
        assert_eq!(
            texts(steps),
            [
                r#"GRANT UPDATE ON FUNCTION "s"."f"(integer) TO "a""#,
                r#"GRANT ALTER SYSTEM ON PARAMETER "my"."p" TO "a""#,
                r#"GRANT USAGE ON SCHEMA "s" TO "a""#,
                r#"GRANT SELECT ON TABLE "s"."t" TO "a""#,
                r#"GRANT SELECT, INSERT ON TABLE "s"."t" TO "b""#,
                r#"GRANT SELECT ("x", "y") ON TABLE "s"."t" TO "d""#,
                r#"GRANT SELECT ON TABLE "s"."t" TO "c" WITH GRANT OPTION"#,
            ]
        );
    }

    #[test]
    fn what_depends_on_something_is_taken_before_it_and_given_after_it() {
        let one = || Table::new("s", "t");
        let mut deep = step(Verb::Revoke, &[Select], one(), "c");
        deep.phase = Phase::Whole(Reverse(1));
        let mut put_back = step(Verb::Grant, &[Select], Column::new("s", "t", ["x"]), "b");
        put_back.phase = Phase::PutBack;
        let steps = vec![
            step(Verb::Grant, &[Insert], one(), "a"),
            put_back,
            step(Verb::Revoke, &[Select], one(), "b"),
            step(Verb::RevokeOption, &[Select], one(), "a"),
            deep,
        ];
        assert_eq!(
            texts(steps),
            [
                r#"REVOKE SELECT ON TABLE "s"."t" FROM "c""#,
                r#"REVOKE SELECT ON TABLE "s"."t" FROM "b""#,
                r#"REVOKE GRANT OPTION FOR SELECT ON TABLE "s"."t" FROM "a""#,
                r#"GRANT SELECT ("x") ON TABLE "s"."t" TO "b""#,
                r#"GRANT INSERT ON TABLE "s"."t" TO "a""#,
            ]
        );
    }

    #[test]
    fn each_statement_runs_in_its_name_and_the_last_name_is_the_first() {
        let powers = Powers::of(
            16,
            &[(2, "owner", [false, true, false]), (4, "ours", [false, false, true])],
        );
        let say = |acting, text: &str| (acting, text.to_owned());
        let statements = [
            say(Acting::Me, "one"),
            say(Acting::As(2), "two"),
            say(Acting::As(2), "three"),
            say(Acting::Lent(4), "four"),
            say(Acting::With(4), "five"),
            say(Acting::As(2), "six"),
        ];
        assert_eq!(
            script(&powers, &statements).split(";\n").collect::<Vec<_>>(),
            [
                "one",
                r#"SET LOCAL ROLE "owner""#,
                "two",
                "three",
                r#"SET LOCAL ROLE "administrators""#,
                r#"GRANT "ours" TO "administrators" WITH INHERIT true, SET true GRANTED BY "administrators""#,
                r#"SET LOCAL ROLE "ours""#,
                "four",
                r#"SET LOCAL ROLE "administrators""#,
                "five",
                r#"REVOKE "ours" FROM "administrators" GRANTED BY "administrators""#,
                r#"SET LOCAL ROLE "owner""#,
                "six",
                r#"SET LOCAL ROLE "administrators""#,
            ]
        );
        assert_eq!(script(&powers, &[say(Acting::Me, "one")]), "one");
        let lent = script(&powers, &[say(Acting::With(4), ""), say(Acting::Me, "one")]);
        assert_eq!(lent.split(";\n").count(), 3, "{lent}");
        // It is not there while somebody else's statement runs.
        let apart = [say(Acting::Me, "one"), say(Acting::With(4), "two"), say(Acting::Me, "three")];
        let apart = script(&powers, &apart);
        let (before, after) = apart.split_once("two").unwrap();
        assert!(before.starts_with("one;\nGRANT"), "{apart}");
        assert!(after.starts_with(";\nREVOKE") && after.ends_with("three"), "{apart}");
        assert_eq!(script(&powers, &[]), "");
    }

    #[test]
    fn what_stands_around_statements_is_found_whatever_roles_are_called() {
        let powers = Powers::of(
            16,
            &[(2, "SELECT", [false, true, false]), (4, "; SELECT", [false, false, true])],
        );
        assert_eq!(
            around(&powers, Acting::As(2)),
            (
                r#"SET LOCAL ROLE "SELECT""#.to_owned(),
                r#"SET LOCAL ROLE "administrators""#.to_owned()
            )
        );
        let (before, after) = around(&powers, Acting::With(4));
        assert!(before.starts_with(r#"GRANT "; SELECT" TO "administrators""#), "{before}");
        assert!(after.starts_with(r#"REVOKE "; SELECT" FROM "administrators""#), "{after}");
        assert_eq!(around(&powers, Acting::Me), (String::new(), String::new()));
    }

    #[test]
    fn everybody_is_never_quoted_and_a_role_always_is() {
        let mut all = step(Verb::Revoke, &[Select], Table::new("s", "t"), "x");
        all.grantee = PUBLIC.into();
        assert_eq!(texts(vec![all]), [r#"REVOKE SELECT ON TABLE "s"."t" FROM PUBLIC"#]);
        let role = step(Verb::Revoke, &[Select], Table::new("s", "t"), "public x");
        assert_eq!(texts(vec![role]), [r#"REVOKE SELECT ON TABLE "s"."t" FROM "public x""#]);
    }
}
