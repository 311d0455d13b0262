//! What is declared of what was found: the same for text and for Rust.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::civil::Date;

use super::{
    names,
    survey::{Found, Survey},
};
use crate::{
    address::{Address, Instance, is_printable, quoted},
    error::{Error, ErrorKind, Result},
    plan::render::moment,
    provider::Object,
    resource::{Node, Reading},
    schema::{Field, Kind, ResourceType, Type},
    value::Value,
};

/// Why a pattern that reaches far is there, until somebody knows.
pub(super) const BECAUSE: &str = "It was there when this was imported; say why it reaches so far.";

/// Who answers for what is imported, and until when.
///
/// ```
/// use agent_iac::import::Accountable;
///
/// let accountable = Accountable::new("team:billing", "2027-06-30".parse()?);
/// assert_eq!(accountable.owner, "team:billing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accountable {
    /// Who answers for every agent.
    pub owner: String,
    /// The last day on which they may act; then they begin to leave.
    pub expires: Date,
}

impl Accountable {
    /// Names the owner and the last day.
    pub fn new(owner: impl Into<String>, expires: Date) -> Self {
        Self { owner: owner.into(), expires }
    }
}

/// A fleet that declares what was found, before it is written in one form or
/// the other.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(super) survey: Survey,
    pub(super) accountable: Accountable,
    pub(super) agents: Vec<Agent>,
    pub(super) aside: Vec<Aside>,
}

/// An object that was found and is not declared, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Its type.
    pub resource_type: String,
    /// What it is called in its system.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Why it is not declared.
    pub why: String,
}

impl fmt::Display for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource_type, quoted(&self.name))?;
        if self.id != self.name {
            write!(f, " (id {})", quoted(&self.id))?;
        }
        write!(f, ": {}", self.why)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) instance: Instance,
    pub(super) purpose: String,
    pub(super) resources: Vec<Declared>,
    /// What belongs to it and is not declared.
    pub(super) aside: Vec<Aside>,
}

#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) address: Address,
    pub(super) ty: &'static ResourceType,
    pub(super) id: String,
    pub(super) properties: Vec<(&'static Field, Given)>,
    /// Properties that cannot be said: they stay as they are.
    pub(super) ignore: Vec<&'static str>,
    /// What cannot be said of it, and why.
    pub(super) notes: Vec<String>,
    pub(super) explained: bool,
}

/// The value of a property.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Value(Value),
    /// The id of what is not declared here.
    NotOurs(String),
    /// A resource that is declared here.
    Link(Address),
}

impl Draft {
    /// Declares what was found.
    ///
    /// # Errors
    ///
    /// When the owner is empty or cannot be shown.
    pub fn of(survey: &Survey, accountable: &Accountable) -> Result<Self> {
        let owner = &accountable.owner;
        if owner.trim().is_empty() || !is_printable(owner) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} cannot be an owner", quoted(owner)),
            )
            .help("say who answers for the agents, as `team:billing`"));
        }
        let names = names::agents(&survey.found, &survey.taken);
        let mut drawing = Drawing { identities: BTreeMap::new(), keys: BTreeSet::new() };
        let mut draft = Self {
            survey: survey.clone(),
            accountable: accountable.clone(),
            agents: Vec::with_capacity(names.len()),
            aside: Vec::new(),
        };
        // The identities first, each after those that it refers to: what comes
        // later, and what cannot be declared, is referred to by its id.
        let mut identities: Vec<_> = survey.found.iter().map(|_| Err(String::new())).collect();
        for at in in_order_of_need(&survey.found) {
            let Found { resource_type: ty, object, .. } = &survey.found[at];
            let field = names::field(ty.name, &object.id, &[], &mut BTreeSet::new());
            let address = Instance::new(&*names[at])?.resource(field)?;
            identities[at] = if object.suspended {
                Err("it is suspended, and a declaration would let it act again".to_owned())
            } else {
                drawing.declare(address, ty, object)
            };
            if let Ok(declared) = &identities[at] {
                drawing.identities.insert((ty.name, &object.id), declared.address.clone());
            }
        }
        for (found, declared) in survey.found.iter().zip(identities) {
            match declared {
                Ok(identity) => draft.agents.push(drawing.agent(survey, found, identity)),
                Err(why) => {
                    let all = found.belongings.len();
                    let why = match all {
                        0 => why,
                        _ => format!("{why}; {all} of what belongs to it are left out with it"),
                    };
                    draft.aside.push(aside(found.resource_type, &found.object, why));
                }
            }
        }
        Ok(draft)
    }

    /// The fleet as text (TOML).
    pub fn toml(&self) -> String {
        super::text::toml(self)
    }

    /// The fleet as Rust, one struct for each agent.
    ///
    /// `module` is where the provider's types are found, as
    /// `agent_iac::providers::authority`; in it, `authority.api_key` is
    /// expected to be called `ApiKey`.
    pub fn rust(&self, module: &str) -> String {
        super::rust::rust(self, module)
    }

    /// How many agents it declares.
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// How many resources it declares.
    pub fn resources(&self) -> usize {
        self.agents.iter().map(|agent| agent.resources.len()).sum()
    }

    /// What was found and is not declared, and why: credentials among it,
    /// whose secrets nobody can read.
    pub fn aside(&self) -> impl Iterator<Item = &Aside> {
        self.aside.iter().chain(self.agents.iter().flat_map(|agent| &agent.aside))
    }

    /// What both forms say at their beginning.
    pub(super) fn preface(&self) -> Vec<String> {
        let survey = &self.survey;
        let mut lines = vec![
            format!("Imported from {} at {}.", survey.system, moment(survey.at)),
            "Planning this adopts what is there, as it is; applying the plan writes to the".into(),
            "ledger only. Once that is done, the imports can be removed.".into(),
            String::new(),
            "Read through it first: each agent needs a purpose and an owner of its own, and".into(),
            "on the day after `expires` it begins to leave.".into(),
        ];
        if survey.is_addition() {
            lines.extend([
                String::new(),
                format!("This is to be ADDED to the fleet `{}`. Planned alone, it", survey.fleet),
                "would let every other agent of that fleet leave.".into(),
            ]);
        }
        lines
    }

    /// How drift goes from being reported to being undone.
    pub(super) fn enforcing(&self, widening: &str, exclusive: &str) -> Vec<String> {
        let keys = self.survey.count(Kind::Credential);
        let width = widening.len().max(exclusive.len());
        let mut lines = vec![
            "Drift is reported and nothing else. Once plans are quiet, enforce:".to_owned(),
            format!("  {widening:width$}   what widens access is taken back unattended"),
            format!("  {exclusive:width$}   what nobody declared is planned to be removed"),
        ];
        if keys > 0 {
            lines.push(format!(
                "Credentials that are not declared ({keys} below) would go then: replace them first."
            ));
        }
        lines
    }

    /// What could not be looked at.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = String> {
        self.survey.unlisted.iter().map(|(ty, why)| {
            format!("MISSING: the objects of type {ty} could not be listed: {why}")
        })
    }
}

/// What is needed to declare one object among others.
struct Drawing<'a> {
    /// Where identities are declared.
    identities: BTreeMap<(&'static str, &'a str), Address>,
    /// Natural keys that are declared.
    keys: BTreeSet<(&'static str, Vec<Value>)>,
}

impl Drawing<'_> {
    fn agent(&mut self, survey: &Survey, found: &Found, identity: Declared) -> Agent {
        let instance = identity.address.instance().clone();
        let mut agent = Agent {
            purpose: format!(
                "Imported from the provider `{}`, where it is the {} {}; say what it is for.",
                survey.provider,
                found.resource_type.name,
                quoted(&found.name)
            ),
            instance: instance.clone(),
            aside: Vec::new(),
            resources: Vec::new(),
        };
        let mut used = BTreeSet::from([identity.address.resource().to_owned()]);
        agent.resources.push(identity);
        for (ty, object) in &found.belongings {
            let declared = if ty.kind == Kind::Credential {
                Err("its secret cannot be read, so it stays as it is and is not declared; declare \
                     one of your own with `deliver`, and move its consumers"
                    .to_owned())
            } else {
                let words = telling_words(ty, object);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let field = names::field(ty.name, &object.id, &words, &mut used);
                match instance.resource(field) {
                    Ok(address) => self.declare(address, ty, object),
                    Err(error) => Err(error.to_string()),
                }
            };
            match declared {
                Ok(declared) => agent.resources.push(declared),
                Err(why) => agent.aside.push(aside(ty, object, why)),
            }
        }
        agent
    }

    /// Declares an object as it was read, or says why it cannot be declared.
    fn declare(
        &mut self,
        address: Address,
        ty: &'static ResourceType,
        object: &Object,
    ) -> Result<Declared, String> {
        if object.id.is_empty() || !is_printable(&object.id) {
            return Err("its id cannot be written".into());
        }
        let mut declared = Declared {
            address,
            ty,
            id: object.id.clone(),
            properties: Vec::new(),
            ignore: Vec::new(),
            notes: Vec::new(),
            explained: false,
        };
        for field in ty.fields {
            let default = field.left_out();
            let reading = object.fields.get(field.name);
            let why = match reading {
                Some(Reading::Known(value)) if value.is_null() && field.required => {
                    "it is not set, and a declaration has to say it".into()
                }
                Some(Reading::Known(value)) => {
                    let value = field.ty.normalise(value.clone());
                    if value == default && !field.required {
                        continue;
                    }
                    match cannot_be_said(&field.ty, &value) {
                        None => {
                            declared.explained |=
                                ty.kind == Kind::Permission && reaches_far(&value);
                            declared.properties.push((field, self.given(field, value)));
                            continue;
                        }
                        Some(why) => why,
                    }
                }
                Some(Reading::Redacted) => "the system hides it".into(),
                Some(Reading::Unreadable(why)) => format!("it could not be read: {why}"),
                Some(Reading::Unsupported) if default.is_null() && !field.required => {
                    declared
                        .notes
                        .push(format!("`{}`: the system has no such property", field.name));
                    continue;
                }
                Some(Reading::Unsupported) => {
                    "the system does not know it, and a declaration has to say it; write this \
                     one by hand"
                        .into()
                }
                None => "the provider says nothing of it".into(),
            };
            if field.required {
                return Err(format!("`{}`: {why}", field.name));
            }
            declared.notes.push(format!("`{}` stays as it is: {why}", field.name));
            declared.ignore.push(field.name);
        }
        if let Some(why) = refused(ty, &declared) {
            return Err(why);
        }
        if let Some(why) = &object.obstacle {
            declared.notes.push(format!("It cannot be changed or removed by us: {why}"));
        }
        let key: Vec<Value> =
            ty.key_fields().filter_map(|field| object.value(field.name).cloned()).collect();
        if !key.is_empty() && !self.keys.insert((ty.name, key)) {
            return Err("another one has the same natural key".into());
        }
        Ok(declared)
    }

    fn given(&self, field: &Field, value: Value) -> Given {
        let (Some(to), Value::Text(id)) = (field.ty.link(), &value) else {
            return Given::Value(value);
        };
        match self.identities.get(&(to, id.as_str())) {
            Some(address) => Given::Link(address.clone()),
            None => Given::NotOurs(id.clone()),
        }
    }
}

/// The identities, each after those that it refers to; those that refer to each
/// other in a circle come last, as they stand.
fn in_order_of_need(found: &[Found]) -> Vec<usize> {
    let place: BTreeMap<(&str, &str), usize> = found
        .iter()
        .zip(0..)
        .map(|(one, at)| ((one.resource_type.name, one.object.id.as_str()), at))
        .collect();
    let mut needs = vec![0_usize; found.len()];
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); found.len()];
    for (at, one) in found.iter().enumerate() {
        for field in one.resource_type.fields {
            let to = field.ty.link().zip(one.object.value(field.name).and_then(Value::as_text));
            if let Some(needed) = to.and_then(|to| place.get(&to)) {
                needs[at] += 1;
                followers[*needed].push(at);
            }
        }
    }
    let mut order: Vec<usize> = (0..found.len()).filter(|at| needs[*at] == 0).collect();
    let mut next = 0;
    while next < order.len() {
        for follower in std::mem::take(&mut followers[order[next]]) {
            needs[follower] -= 1;
            if needs[follower] == 0 {
                order.push(follower);
            }
        }
        next += 1;
    }
    order.extend((0..found.len()).filter(|at| needs[*at] > 0));
    order
}

/// What the type itself has against a declaration, as it would say when the
/// fleet is validated.
fn refused(ty: &ResourceType, declared: &Declared) -> Option<String> {
    let check = ty.check?;
    let given = |field: &Field| {
        let given = declared.properties.iter().find(|(one, _)| one.name == field.name);
        match given.map(|(_, given)| given) {
            Some(Given::Value(value)) => Node::Known(value.clone()),
            Some(Given::NotOurs(id)) => Node::Known(Value::Text(id.clone())),
            Some(Given::Link(address)) => Node::Link(address.clone()),
            None => Node::Known(field.left_out()),
        }
    };
    let nodes = ty.fields.iter().map(|field| (field.name.to_owned(), given(field))).collect();
    let problem = check(&nodes).into_iter().next()?;
    Some(format!("`{}`: {}", problem.field, problem.message))
}

fn aside(ty: &ResourceType, object: &Object, why: String) -> Aside {
    Aside {
        resource_type: ty.name.to_owned(),
        name: super::survey::name_of(ty, object),
        id: object.id.clone(),
        why,
    }
}

/// What tells an object from others of its type and its owner: the text in its
/// natural key.
fn telling_words(ty: &ResourceType, object: &Object) -> Vec<String> {
    fn collect(ty: &Type, value: &Value, words: &mut Vec<String>) {
        match (ty, value) {
            (Type::Option(inner), value) => collect(inner, value, words),
            (Type::Struct(fields), Value::Map(entries)) => {
                for (name, ty) in *fields {
                    if let Some(value) = entries.get(*name) {
                        collect(ty, value, words);
                    }
                }
            }
            (Type::List(inner) | Type::Set(inner), Value::List(items)) => {
                for item in items {
                    collect(inner, item, words);
                }
            }
            (Type::Link(_), _) => {}
            (_, Value::Text(text)) => words.push(text.clone()),
            _ => {}
        }
    }
    let mut words = Vec::new();
    for field in ty.key_fields() {
        if let Some(value) = object.value(field.name) {
            collect(&field.ty, &field.ty.normalise(value.clone()), &mut words);
        }
    }
    words
}

/// Why a value cannot stand in a declaration, if so.
fn cannot_be_said(ty: &Type, value: &Value) -> Option<String> {
    if let Some(why) = ty.misfit(value) {
        return Some(format!("it does not fit its type: {}", shown(&why)));
    }
    if holds_marks(value) {
        return Some("it holds characters that carry references".into());
    }
    holds_nothing(ty, value).then(|| "it holds nothing where text has no word for it".into())
}

/// The two characters that carry references inside text.
fn holds_marks(value: &Value) -> bool {
    let marked = |text: &str| text.contains(['\u{f1ac0}', '\u{f1ac1}']);
    match value {
        Value::Text(text) => marked(text),
        Value::List(items) => items.iter().any(holds_marks),
        Value::Map(entries) => entries.iter().any(|(key, item)| marked(key) || holds_marks(item)),
        Value::Null | Value::Bool(_) | Value::Int(_) => false,
    }
}

/// Whether there is nothing in a place that cannot be left out.
fn holds_nothing(ty: &Type, value: &Value) -> bool {
    match (ty, value) {
        (_, Value::Null) => true,
        (Type::Option(inner), value) => holds_nothing(inner, value),
        (Type::List(inner) | Type::Set(inner), Value::List(items)) => {
            items.iter().any(|item| holds_nothing(inner, item))
        }
        (Type::Map(inner), Value::Map(entries)) => {
            entries.values().any(|item| holds_nothing(inner, item))
        }
        (Type::Struct(fields), Value::Map(entries)) => fields.iter().any(|(name, ty)| {
            let left_out = matches!(ty, Type::Option(_));
            let value = entries.get(*name).filter(|value| !(left_out && value.is_null()));
            value.map_or(!left_out, |value| holds_nothing(ty, value))
        }),
        _ => false,
    }
}

/// Whether some text in it ends in a star.
fn reaches_far(value: &Value) -> bool {
    match value {
        Value::Text(text) => text.ends_with('*'),
        Value::List(items) => items.iter().any(reaches_far),
        Value::Map(entries) => entries.values().any(reaches_far),
        Value::Null | Value::Bool(_) | Value::Int(_) => false,
    }
}

/// Cut to a length that a comment can have: a reason may quote a whole value.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(200).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
