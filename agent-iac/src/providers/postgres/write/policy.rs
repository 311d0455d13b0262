//! Row policies.
//!
//! An expression is SQL that somebody declared, and stands in the statement as
//! it is. It is sent as a statement of its own, which the server takes only
//! when it is one, and it must be one expression, so that it can say nothing
//! about the policy but which rows.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Entry, Found, Job, Kind, Seen,
    grant::{key_changed, not_there, number},
    powers::{self, Acting, Powers},
    role_names, rules,
    script::around,
};
use crate::{
    address::quoted,
    error::{Error, ErrorKind, Result},
    provider,
    providers::postgres::{
        Command, Object, Policy, PolicySpec,
        catalog::{
            Found as Place, Within, classes,
            detail::{Expression, PolicyDetail},
        },
        name::ident,
        server::{Type, sqlstate},
    },
    resource::Property as _,
    value::Value,
};

/// What is known beside the policies themselves.
pub(super) struct Now {
    powers: Powers,
    names: BTreeMap<u32, String>,
    places: BTreeMap<Object, Place>,
    /// The tables whose policies hold.
    hold: BTreeSet<u32>,
}

/// What becomes of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    acting: Acting,
    /// Nothing when it is gone already.
    statement: String,
}

impl Kind for Policy {
    const NOUN: &'static str = "policy";
    const DETAILED: bool = true;

    type Now = Now;
    type Change = Change;

    fn declared(spec: &PolicySpec) -> BTreeMap<&'static str, Value> {
        BTreeMap::from([
            ("to", spec.to.target().into()),
            ("on", spec.on.to_value()),
            ("name", (*spec.name).into()),
            ("command", spec.command.to_value()),
            ("restrictive", spec.restrictive.into()),
            ("using", spec.using.to_value()),
            ("check", spec.check.to_value()),
        ])
    }

    async fn now(within: &Within, seen: &[Seen<'_, Self>]) -> Result<Now> {
        let (mut objects, mut roles) = (BTreeSet::new(), BTreeSet::new());
        for (job, found) in seen {
            objects.extend(table(job, found.as_ref()));
            roles.extend(job.spec().and_then(|spec| number(spec.to.target()).ok()));
        }
        let places = classes::named(within, &objects).await?;
        let owners = places.values().map(|place| place.owner).collect();
        let powers = powers::read(within, &owners, &BTreeSet::new()).await?;
        let names = role_names(within, &roles).await?;
        let oids: Vec<u32> = places.values().map(|place| place.place.oid).collect();
        let sql = "SELECT oid FROM pg_class WHERE oid = ANY ($1) AND relrowsecurity";
        let rows = within.tx.query(sql, &[(&oids, Type::OID_ARRAY)]).await?;
        Ok(Now { powers, names, places, hold: rows.iter().map(|row| row.get(0)).collect() })
    }

    fn judge(_: &Within, now: &Now, job: &Job<Self>, found: Option<&Found>) -> Result<Change> {
        let what = Self::what(job, found);
        let Some(on) = table(job, found) else {
            return Ok(Change { acting: Acting::Me, statement: String::new() });
        };
        let Some(place) = now.places.get(&on) else { return Err(not_there(&what, &on)) };
        let acting = now.powers.as_owner(place.owner);
        let acting = acting.ok_or_else(|| not_owner(&now.powers, &what, place.owner))?;
        let name = |object: &provider::Object| {
            object.value("name").and_then(Value::as_text).map(str::to_owned)
        };
        let Some(spec) = job.spec() else {
            let found = found.and_then(|found| Some((found, name(&found.object)?)));
            let Some((found, name)) = found else {
                return Ok(Change { acting, statement: String::new() });
            };
            if found.object.value("to").is_none() {
                return Err(Error::new(
                    ErrorKind::Refused,
                    format!("{what} is for others too, who would lose it"),
                )
                .help("leave this role out of it by ALTER POLICY … TO"));
            }
            let statement = format!("DROP POLICY {} ON {}", ident(&name), on.sql_name());
            return Ok(Change { acting, statement });
        };
        for (field, text) in [("using", &spec.using), ("check", &spec.check)] {
            if let Some(wrong) = text.as_deref().and_then(not_one_expression) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("`{field}` of {what} is not one expression: {wrong}"),
                )
                .help("write one SQL expression that is true or false"));
            }
        }
        let role = number(spec.to.target()).ok().and_then(|role| now.names.get(&role));
        let role = role.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("{what} is for a role that is not there"))
                .help("plan again; it may have been dropped meanwhile")
        })?;
        let statement = match found {
            None => {
                if !now.hold.contains(&place.place.oid) {
                    return Err(without_row_security(&what, &on));
                }
                create(spec, role)
            }
            Some(found) => {
                let is_same = name(&found.object).as_ref() == Some(&spec.name)
                    && spec.on == on
                    && found.object.value("command") == Some(&spec.command.to_value())
                    && found.object.value("restrictive") == Some(&spec.restrictive.into());
                if !is_same {
                    return Err(key_changed(&what, Self::NOUN));
                }
                for (field, text) in [("using", &spec.using), ("check", &spec.check)] {
                    let before = found.object.value(field).and_then(Value::as_text);
                    if before.is_some() && text.is_none() {
                        return Err(Error::new(
                            ErrorKind::Unsupported,
                            format!("`{field}` cannot be taken from {what}, only changed"),
                        )
                        .help("declare a policy of another name, and remove this one"));
                    }
                }
                alter(spec, role)
            }
        };
        Ok(Change { acting, statement })
    }

    async fn carry_out(within: &Within, now: &Now, changes: &[(&Job<Self>, Change)]) -> Result<()> {
        let mut by_name: BTreeMap<Acting, Vec<&str>> = BTreeMap::new();
        for (_, Change { acting, statement }) in changes {
            if !statement.is_empty() {
                by_name.entry(*acting).or_default().push(statement);
            }
        }
        for (acting, statements) in by_name {
            let (before, after) = around(&now.powers, acting);
            if !before.is_empty() {
                within.tx.batch(&before).await?;
            }
            for statement in statements {
                within.tx.execute(statement, &[]).await?;
            }
            if !after.is_empty() {
                within.tx.batch(&after).await?;
            }
        }
        Ok(())
    }

    fn entry(
        _: &Now,
        job: &Job<Self>,
        _: &Change,
        read: Option<&provider::Object>,
    ) -> Result<Entry> {
        let (Some(spec), Some(read)) = (job.spec(), read) else {
            return match (job.id(), read) {
                (Some(id), None) => Ok(Entry::new(id)),
                _ => Err(rules::not_as_written(&Self::what(job, None), "it is still there")),
            };
        };
        let expression = |field: &str, declared: &Option<String>| {
            let server = read.value(field).and_then(Value::as_text)?.to_owned();
            Some(Expression { declared: declared.clone()?, server })
        };
        let detail = PolicyDetail {
            using: expression("using", &spec.using),
            check: expression("check", &spec.check),
        };
        Entry::with(read.id.clone(), &detail)
    }

    async fn explain(_: &Within, now: &Now, job: &Job<Self>, _: &Change, error: Error) -> Error {
        let what = Self::what(job, None);
        let on = job.spec().map(|spec| &spec.on);
        match sqlstate(&error) {
            Some("42501") => match on.and_then(|on| now.places.get(on)) {
                Some(place) => not_owner(&now.powers, &what, place.owner).caused_by(error),
                None => error,
            },
            Some("42601" | "42703" | "42883" | "42P01" | "42804" | "42P02") => Error::new(
                ErrorKind::InvalidInput,
                format!("the server does not take an expression of {what}"),
            )
            .help(
                "correct it; what it names is looked for in `pg_catalog` only, so that tables and \
                 functions need their schemas",
            )
            .caused_by(error),
            _ => error,
        }
    }
}

/// The table of a policy.
fn table(job: &Job<Policy>, found: Option<&Found>) -> Option<Object> {
    match (found, job.spec()) {
        (Some(found), _) => Object::from_value(found.object.value("on")?),
        (None, Some(spec)) => Some(spec.on.clone()),
        (None, None) => None,
    }
}

fn not_owner(powers: &Powers, what: &str, owner: u32) -> Error {
    let (me, name) = (powers.my_name(), powers.name(owner));
    let message =
        format!("{what} is on a table of {name}, and {} is no member of that role", quoted(me));
    powers.no_member(owner, message)
}

fn without_row_security(what: &str, on: &Object) -> Error {
    Error::new(ErrorKind::Refused, format!("{what} would do nothing: row security of {on} is off"))
        .help(format!(
            "ALTER TABLE {} ENABLE ROW LEVEL SECURITY, once every role that reads it has a policy",
            on.sql_name()
        ))
}

fn expressions(spec: &PolicySpec) -> String {
    let mut text = String::new();
    // A comment at an expression's end must not reach over the bracket.
    for (word, expression) in [("USING", &spec.using), ("WITH CHECK", &spec.check)] {
        if let Some(expression) = expression {
            text.push_str(&format!(" {word} ({expression}\n)"));
        }
    }
    text
}

fn create(spec: &PolicySpec, role: &str) -> String {
    let kind = if spec.restrictive { "RESTRICTIVE" } else { "PERMISSIVE" };
    format!(
        "CREATE POLICY {} ON {} AS {kind} FOR {} TO {}{}",
        ident(&spec.name),
        spec.on.sql_name(),
        Command::sql(spec.command),
        ident(role),
        expressions(spec)
    )
}

fn alter(spec: &PolicySpec, role: &str) -> String {
    format!(
        "ALTER POLICY {} ON {} TO {}{}",
        ident(&spec.name),
        spec.on.sql_name(),
        ident(role),
        expressions(spec)
    )
}

/// Says why a text could be more, or less, than one expression in brackets.
///
/// It is stricter than the server where two readers of SQL could disagree, as
/// about a backslash before a quote.
fn not_one_expression(text: &str) -> Option<&'static str> {
    if text.contains('\0') {
        return Some("it has a character that no text has");
    }
    let mut open = Vec::new();
    let mut rest = text;
    let mut last = ' ';
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let next = match c {
            '\'' | '"' => match quoted_end(after, c) {
                Some((body, _)) if c == '\'' && body.ends_with('\\') => {
                    return Some("it has a backslash before a quote; write a quote as two");
                }
                end => end.map(|(_, next)| next),
            },
            '-' if after.starts_with('-') => {
                Some(after.find(['\n', '\r']).map_or("", |end| &after[end..]))
            }
            '/' if after.starts_with('*') => comment_end(&after[1..]),
            '$' => match dollar_quote(rest) {
                None => Some(after),
                // In a name it is one sign, and after a number a quote begins.
                Some(_) if is_in_names(last) => return Some("it has a dollar sign in a name"),
                Some(tag) => {
                    let body = &rest[tag.len()..];
                    body.find(tag).map(|end| &body[end + tag.len()..])
                }
            },
            ';' => return Some("it has a semicolon"),
            '(' | '[' => {
                open.push(c);
                Some(after)
            }
            ')' | ']' => {
                let wanted = if c == ')' { '(' } else { '[' };
                if open.pop() != Some(wanted) {
                    return Some("it closes a bracket that it has not opened");
                }
                Some(after)
            }
            _ => Some(after),
        };
        let Some(next) = next else { return Some("a quote or a comment is not closed") };
        (rest, last) = (next, c);
    }
    if !open.is_empty() {
        return Some("it opens a bracket that it does not close");
    }
    text.trim().is_empty().then_some("it is empty")
}

fn is_in_names(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// What stands in the quotes that are open up to the next quote, and what
/// follows it. A doubled quote reads as two texts, which changes nothing here.
fn quoted_end(text: &str, quote: char) -> Option<(&str, &str)> {
    text.split_once(quote)
}

/// What follows the comment that is open; comments nest.
fn comment_end(mut text: &str) -> Option<&str> {
    let mut depth = 1_u32;
    while depth > 0 {
        let (open, close) = (text.find("/*"), text.find("*/")?);
        match open {
            Some(open) if open < close => {
                (text, depth) = (&text[open + 2..], depth + 1);
            }
            _ => (text, depth) = (&text[close + 2..], depth - 1),
        }
    }
    Some(text)
}

/// The tag of a quote that the text begins with, as `$body$`.
fn dollar_quote(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 1;
    let tag = &text[1..end];
    let is_tag = !tag.starts_with(|c: char| c.is_ascii_digit()) && tag.chars().all(is_in_names);
    is_tag.then_some(&text[..=end])
}

#[cfg(test)]
mod tests {
    use super::{super::super::Table, *};
    use crate::resource::Link;

    fn spec(using: Option<&str>, check: Option<&str>) -> PolicySpec {
        PolicySpec {
            to: Link::id("7"),
            on: Table::new("s", "t"),
            name: "p\"1".into(),
            command: Command::Update,
            restrictive: true,
            using: using.map(str::to_owned),
            check: check.map(str::to_owned),
        }
    }

    #[test]
    fn a_policy_is_said_in_one_statement() {
        assert_eq!(
            create(&spec(Some("a = 1 -- mine"), Some("b")), "x"),
            "CREATE POLICY \"p\"\"1\" ON \"s\".\"t\" AS RESTRICTIVE FOR UPDATE TO \"x\" \
             USING (a = 1 -- mine\n) WITH CHECK (b\n)"
        );
        assert_eq!(
            alter(&spec(None, Some("b")), "x"),
            "ALTER POLICY \"p\"\"1\" ON \"s\".\"t\" TO \"x\" WITH CHECK (b\n)"
        );
    }

    #[test]
    fn one_expression_is_told_from_what_says_more() {
        for good in [
            "true",
            "owner = current_user",
            "a IN (1, 2) AND b[1] = ')'",
            "name = 'it''s (' OR name = E'\\n)'",
            "d > date'2026-01-01'",
            "\"we)ird\" = 1",
            "note = $$ ) ; $$ AND note <> $x$ $$ ) $x$",
            "a /* ) /* nested */ ; */ = 1",
            "a = 1 -- ) ;",
            "a -- )\n = 1",
            "a -- )\r = 1",
            "EXISTS (SELECT FROM s.allowed WHERE id = a)",
        ] {
            assert_eq!(not_one_expression(good), None, "{good}");
        }
        for bad in [
            "",
            "  ",
            "true) WITH CHECK (true",
            "true); DROP TABLE t; --",
            "(true",
            "a = 'open",
            "a = \"open",
            "a /* open",
            "a = $x$ open $$",
            "true; SELECT 1",
            "(a])",
            "a = E'\\'",
            "a = E'\\')'",
            "d > date'\\') WITH CHECK (true) --'",
            "a$x$ ' $x$ = 1 OR 'b' = 'c'",
            "1$x$ ' $x$) WITH CHECK ('",
            "a\0b",
            "true -- \r) WITH CHECK (true",
        ] {
            assert!(not_one_expression(bad).is_some(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_taken_that_closes_the_bracket_around_it(text in "[a(\\[\\])'\"$;*/\\\\e \n-]{0,12}") {
            // A reader that knows only what brackets and quotes are: whatever is
            // taken must be balanced once its quotes and comments are left out.
            if not_one_expression(&text).is_none() {
                let plain = !text.contains(['\'', '"', '$', '/', '-']);
                if plain {
                    let mut depth = 0_i32;
                    for c in text.chars() {
                        depth += i32::from(c == '(') - i32::from(c == ')');
                        proptest::prop_assert!(depth >= 0, "{}", text);
                    }
                    proptest::prop_assert_eq!(depth, 0);
                }
            }
        }
    }
}
