use std::collections::BTreeMap;

use super::{check_object, is_given, not_yet, text};
use crate::{
    Property, Resource,
    access::{Access, Tuple},
    providers::postgres::{
        Object, ObjectKind, Role,
        name::{check_name, shown, word},
    },
    resource::{Check, Grants, Link, Node, Problem, Property as _},
    value::Value,
};

/// The commands that a row policy is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Property)]
pub enum Command {
    /// All of them.
    #[default]
    All,
    /// Reading rows.
    Select,
    /// Adding rows.
    Insert,
    /// Changing rows.
    Update,
    /// Deleting rows.
    Delete,
}

impl Command {
    /// The word of it in SQL.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }

    /// The letter of it in `pg_policy.polcmd`.
    pub const fn letter(self) -> char {
        match self {
            Self::All => '*',
            Self::Select => 'r',
            Self::Insert => 'a',
            Self::Update => 'w',
            Self::Delete => 'd',
        }
    }

    /// The command of a letter of `pg_policy.polcmd`; `None` for one that is not
    /// known.
    pub fn of_letter(letter: &str) -> Option<Self> {
        let all = [Self::All, Self::Select, Self::Insert, Self::Update, Self::Delete];
        all.into_iter().find(|command| letter.chars().eq([command.letter()]))
    }

    /// The word of it in a declaration.
    pub const fn word(self) -> &'static str {
        word::<Self>(self as usize)
    }
}

/// A row policy of a table, for one role.
///
/// Its expressions are SQL, and the server keeps them in words of its own;
/// what was declared is kept beside them, so that a difference is a change of
/// meaning and not of words. A table whose row security is off ignores its
/// policies, so making one there is refused, unless it `secures` the table.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "postgres.policy", kind = "permission", check)]
pub struct Policy {
    /// The role that it is for.
    #[resource(replace)]
    pub to: Link<Role>,
    /// The table.
    #[resource(key)]
    pub on: Object,
    /// Its name, unique on the table.
    #[resource(key)]
    pub name: String,
    /// The commands that it is about.
    #[resource(default, replace)]
    pub command: Command,
    /// Whether rows must also pass it, and not only one of the others.
    #[resource(default, replace)]
    pub restrictive: bool,
    /// Which rows are seen, as an SQL expression.
    pub using: Option<String>,
    /// Which rows may be written, as an SQL expression; as `using` when it is
    /// left out.
    pub check: Option<String>,
    /// What else lets the role's rows through, of which one is enough: the
    /// permissive policies for PUBLIC, and for roles that it inherits from,
    /// which no fleet declares. By their names, as the plan and an import tell
    /// them; one that is not named here is drift that widens.
    #[resource(default)]
    pub beside: BTreeMap<String, String>,
    /// Whether it turns row security of its table on where it is off, and
    /// forces it where the role owns the table. Who reads the table without a
    /// policy then sees no row. Nothing turns it off again.
    #[resource(default)]
    pub secures: bool,
    /// Its number in the database.
    #[resource(output)]
    pub oid: String,
}

impl Grants for Policy {
    fn grants(principal: &str, properties: &BTreeMap<String, Node>) -> Access {
        let Some(on) = Object::of(properties.get("on")) else { return not_yet(principal, "on") };
        let command = properties
            .get("command")
            .map_or(Some(Command::All), |node| Command::from_value(&node.known()?));
        let Some(command) = command else { return not_yet(principal, "command") };
        let mut conditions = Vec::new();
        for field in ["using", "check"] {
            match properties.get(field).map(Node::known) {
                None | Some(Some(Value::Null)) => {}
                Some(Some(expression)) => {
                    let expression = expression.as_text().unwrap_or_default();
                    conditions.push(format!("{field} ({expression})"));
                }
                Some(None) => return not_yet(principal, field),
            }
        }
        // Which rows an expression lets through is the server's to know, so a
        // policy is compared as a whole.
        let action = format!("{} the rows of", command.word());
        let mut tuple = Tuple::allow(principal, action, on.to_string());
        tuple.condition = Some(conditions.join(" ")).filter(|text| !text.is_empty());
        if super::flag(properties, "restrictive", false) {
            tuple.effect = crate::access::Effect::Deny;
            tuple.condition = Some(format!("not {}", tuple.condition.unwrap_or_default()));
        }
        let mut access = Access::exactly([tuple]);
        match properties.get("beside").map(Node::known) {
            None | Some(Some(Value::Null)) => {}
            Some(Some(Value::Map(beside))) => {
                access.tuples.extend(beside.iter().map(|(name, what)| {
                    let action = format!("{} the rows of", command.word());
                    let mut tuple = Tuple::allow(principal, action, on.to_string());
                    let what = what.as_text().unwrap_or_default();
                    tuple.condition = Some(format!("policy {}: {what}", shown(name)));
                    tuple
                }));
            }
            Some(_) => return not_yet(principal, "beside"),
        }
        access
    }
}

impl Check for Policy {
    fn check(properties: &BTreeMap<String, Node>) -> Vec<Problem> {
        let mut problems = check_object(properties, "on", None);
        let mut say = |field: &str, message: &str, help: &str| {
            problems.push(Problem {
                field: field.into(),
                message: message.into(),
                help: Some(help.into()),
            });
        };
        if let Some(on) = Object::of(properties.get("on"))
            && (on.kind != ObjectKind::Table || on.columns.is_some())
        {
            say("on", "a row policy is on a whole table", "name a table");
        }
        if let Some(wrong) = text(properties, "name").and_then(|name| check_name(&name)) {
            say("name", &wrong.message, wrong.help);
        }
        let given = |field: &str| is_given(properties, field);
        let command = properties
            .get("command")
            .map_or(Some(Command::All), |node| Command::from_value(&node.known()?));
        match command {
            Some(Command::Insert) if given("using") => {
                say("using", "a policy for `insert` sees no row", "give `check` instead");
            }
            Some(Command::Select | Command::Delete) if given("check") => {
                say("check", "this command writes no row", "give `using` instead");
            }
            _ => {}
        }
        if !given("using") && !given("check") {
            say("using", "a policy without an expression lets nothing through", "give one");
        }
        problems
    }
}
