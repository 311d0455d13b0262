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
            detail::{self, Expression, PolicyDetail},
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
    /// The tables whose policies do not hold for these roles, who own them.
    owned: BTreeSet<(u32, u32)>,
    /// What is written together: none of it is a stranger's.
    ours: BTreeSet<(Object, String)>,
}

/// What becomes of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    acting: Acting,
    /// None when it is gone already.
    statements: Vec<String>,
    /// What the registry kept of it.
    before: PolicyDetail,
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
            ("beside", spec.beside.to_value()),
            ("secures", spec.secures.into()),
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
        let on_tables: BTreeSet<(u32, u32)> = seen
            .iter()
            .filter_map(|(job, found)| {
                let place = places.get(&table(job, found.as_ref())?)?;
                let role = job.spec().and_then(|spec| number(spec.to.target()).ok());
                Some((place.place.oid, role.unwrap_or_default()))
            })
            .collect();
        let (tables, of): (Vec<u32>, Vec<u32>) = on_tables.into_iter().unzip();
        let sql = "SELECT c.oid, r.oid, c.relrowsecurity,
                NOT c.relforcerowsecurity AND pg_has_role(r.oid, c.relowner, 'USAGE')
            FROM unnest($1::oid[], $2::oid[]) AS t (policy_of, role)
            JOIN pg_class c ON c.oid = t.policy_of LEFT JOIN pg_roles r ON r.oid = t.role";
        let parameters = [(&tables as _, Type::OID_ARRAY), (&of as _, Type::OID_ARRAY)];
        let (mut hold, mut owned) = (BTreeSet::new(), BTreeSet::new());
        for row in within.tx.query(sql, &parameters).await? {
            if row.get(2) {
                hold.insert(row.get(0));
            }
            if let (Some(role), Some(true)) = (row.get(1), row.get(3)) {
                owned.insert((row.get(0), role));
            }
        }
        let specs = seen.iter().filter_map(|(job, _)| job.spec());
        let ours = specs.map(|spec| (spec.on.clone(), spec.name.clone())).collect();
        Ok(Now { powers, names, places, hold, owned, ours })
    }

    fn judge(_: &Within, now: &Now, job: &Job<Self>, found: Option<&Found>) -> Result<Change> {
        let what = Self::what(job, found);
        let before = detail::read(found.and_then(|found| found.detail.as_deref()));
        let Some(on) = table(job, found) else {
            return Ok(Change { acting: Acting::Me, statements: Vec::new(), before });
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
                return Ok(Change { acting, statements: Vec::new(), before });
            };
            if found.object.value("to").is_none() {
                return Err(Error::new(
                    ErrorKind::Refused,
                    format!("{what} is for others too, who would lose it"),
                )
                .help("leave this role out of it by ALTER POLICY … TO"));
            }
            let statement = format!("DROP POLICY {} ON {}", ident(&name), on.sql_name());
            return Ok(Change { acting, statements: vec![statement], before });
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
        let oid = number(spec.to.target()).ok();
        let role = oid.and_then(|role| now.names.get(&role)).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("{what} is for a role that is not there"))
                .help("plan again; it may have been dropped meanwhile")
        })?;
        let table = place.place.oid;
        let is_owner = oid.is_some_and(|oid| now.owned.contains(&(table, oid)));
        let mut statements = Vec::new();
        if spec.secures {
            let secure = |how| format!("ALTER TABLE {} {how} ROW LEVEL SECURITY", on.sql_name());
            statements.extend((!now.hold.contains(&table)).then(|| secure("ENABLE")));
            statements.extend(is_owner.then(|| secure("FORCE")));
        }
        statements.push(match found {
            None => {
                if !now.hold.contains(&table) && !spec.secures {
                    return Err(without_row_security(&what, &on));
                }
                if is_owner && !spec.secures {
                    return Err(not_forced(&what, &on));
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
                let beside = others(&found.object, spec, &BTreeSet::new());
                if let Some(beside) = beside {
                    return Err(lets_through(&what, &beside, &on));
                }
                alter(spec, role)
            }
        });
        Ok(Change { acting, statements, before })
    }

    async fn carry_out(within: &Within, now: &Now, changes: &[(&Job<Self>, Change)]) -> Result<()> {
        let mut by_name: BTreeMap<Acting, Vec<&str>> = BTreeMap::new();
        for (_, Change { acting, statements, .. }) in changes {
            if !statements.is_empty() {
                let all = by_name.entry(*acting).or_default();
                all.extend(statements.iter().map(String::as_str));
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
        now: &Now,
        job: &Job<Self>,
        change: &Change,
        read: Option<&provider::Object>,
    ) -> Result<Entry> {
        let (Some(spec), Some(read)) = (job.spec(), read) else {
            return match (job.id(), read) {
                (Some(id), None) => Ok(Entry::new(id)),
                _ => Err(rules::not_as_written(&Self::what(job, None), "it is still there")),
            };
        };
        if let Some(beside) = others(read, spec, &now.ours) {
            return Err(lets_through(&Self::what(job, None), &beside, &spec.on));
        }
        // What means as before what was declared reads as that, and not in the
        // server's words.
        let expression = |field: &str, declared: &Option<String>, before: &Option<Expression>| {
            let server = read.value(field).and_then(Value::as_text)?;
            let same = before.as_ref().filter(|before| before.declared == server);
            let server = same.map_or(server, |before| &before.server).to_owned();
            Some(Expression { declared: declared.clone()?, server })
        };
        let detail = PolicyDetail {
            using: expression("using", &spec.using, &change.before.using),
            check: expression("check", &spec.check, &change.before.check),
            secures: spec.secures,
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

/// The policies beside one that its declaration does not name as they are, or
/// names and that are not there.
fn others(
    read: &provider::Object,
    spec: &PolicySpec,
    ours: &BTreeSet<(Object, String)>,
) -> Option<Vec<String>> {
    let Some(Value::Map(there)) = read.value("beside") else { return None };
    let is_ours = |name: &String| ours.contains(&(spec.on.clone(), name.clone()));
    let is_named =
        |name: &String, line: &Value| spec.beside.get(name).map(String::as_str) == line.as_text();
    let more = there.iter().filter(|(name, line)| !is_ours(name) && !is_named(name, line));
    let gone = spec.beside.keys().filter(|name| !there.contains_key(*name));
    let all: Vec<String> = more
        .map(|(name, line)| format!("{} ({})", quoted(name), line.as_text().unwrap_or_default()))
        .chain(gone.map(|name| format!("{}, which is gone", quoted(name))))
        .collect();
    (!all.is_empty()).then_some(all)
}

fn lets_through(what: &str, beside: &[String], on: &Object) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!(
            "{what} is not alone on {on}: whoever it is for is let through by other policies too, \
             and not as its `beside` says: {}",
            beside.join(", ")
        ),
    )
    .help("DROP POLICY what nobody wants, or write in `beside` what is there")
}

fn not_forced(what: &str, on: &Object) -> Error {
    Error::new(ErrorKind::Refused, format!("{what} would do nothing: its role owns {on}")).help(
        format!(
            "ALTER TABLE {} FORCE ROW LEVEL SECURITY, or let it `secure` the table",
            on.sql_name()
        ),
    )
}

fn without_row_security(what: &str, on: &Object) -> Error {
    Error::new(ErrorKind::Refused, format!("{what} would do nothing: row security of {on} is off"))
        .help(format!(
            "ALTER TABLE {} ENABLE ROW LEVEL SECURITY, or let it `secure` the table, once every role \
             that reads it has a policy",
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
            beside: BTreeMap::new(),
            secures: false,
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
