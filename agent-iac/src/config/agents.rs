//! Agents, and the instances that `for` makes of one.

use std::{borrow::Cow, collections::BTreeSet};

use toml::de::{DeTable, DeValue};

use super::{
    expression::Scope,
    reader::{Item, Key, Reader, listed},
    values::whole,
};
use crate::{
    address::{Instance, quoted},
    agent::{AgentTerms, Written},
    diagnostic::{Code, nearest},
    fleet::{Fleet, FleetAgent},
};

/// The key that makes instances.
pub(super) const FOR: &str = "for";

/// What an agent takes beside its resources.
pub(super) const AGENT_KEYS: [&str; 5] = ["purpose", "owner", "expires", "grace", FOR];

/// The most instances of one agent. More of them in one text is a slip of the
/// hand, or an attack on whoever reads it.
const MOST: usize = 10_000;

/// The instances of one agent.
pub(super) struct Instances {
    each: Vec<(Instance, Vec<(String, String)>)>,
    /// Whether they are those that the text means. If not, one stands in, so
    /// that the mistakes in the agent's resources are found too.
    sound: bool,
}

impl Instances {
    /// Their keys, when they are those that the text means.
    pub(super) fn keys(&self) -> Option<BTreeSet<Vec<String>>> {
        self.sound.then(|| self.each.iter().map(|(instance, _)| owned(instance.key())).collect())
    }
}

fn owned(key: Vec<&str>) -> Vec<String> {
    key.into_iter().map(str::to_owned).collect()
}

impl Reader<'_> {
    /// Works out which instances an agent has.
    pub(super) fn instances(&mut self, name: &Key<'_>, table: &DeTable<'_>) -> Instances {
        let agent = name.get_ref().as_ref();
        let mut sound = true;
        let bare = Instance::new(agent).unwrap_or_else(|error| {
            let help = error.repair().unwrap_or_default().to_owned();
            self.error(Code::Name, name.span(), error.message().to_owned(), help);
            sound = false;
            Instance::new("unread").expect("a word of letters is a name")
        });
        let lists = match table.get(FOR) {
            Some(item) => self.lists(&bare, table, item, &mut sound),
            None => Vec::new(),
        };
        let mut each: Vec<Vec<(String, String)>> = vec![Vec::new()];
        for (input, values) in &lists {
            let with = |known: &Vec<(String, String)>, value: &String| {
                let mut known = known.clone();
                known.push((input.clone(), value.clone()));
                known
            };
            // A list that could not be read still has a name that text uses.
            let unread = ["unread".to_owned()];
            let values = if values.is_empty() { &unread[..] } else { values };
            each = each
                .iter()
                .flat_map(|known| values.iter().map(move |value| with(known, value)))
                .take(MOST + 1)
                .collect();
        }
        if each.len() > MOST {
            let span = table.get(FOR).map_or(name.span(), Item::span);
            self.error(
                Code::Property,
                span,
                format!("`for` makes more than {MOST} instances"),
                "write several agents, or declare them in Rust",
            );
            sound = false;
        }
        if !sound {
            each.truncate(1);
        }
        let each = each.into_iter().filter_map(|inputs| {
            let key = inputs.iter().map(|(_, value)| value);
            Some((Instance::keyed(bare.name(), key).ok()?, inputs))
        });
        Instances { each: each.collect(), sound }
    }

    /// The lists of `for`, in the order in which they stand.
    fn lists(
        &mut self,
        agent: &Instance,
        table: &DeTable<'_>,
        item: &Item<'_>,
        sound: &mut bool,
    ) -> Vec<(String, Vec<String>)> {
        let Some(inputs) = self.table(item) else {
            *sound = false;
            return Vec::new();
        };
        let mut inputs: Vec<(&Key<'_>, &Item<'_>)> = inputs.iter().collect();
        inputs.sort_by_key(|(key, _)| key.span().start);
        let mut lists = Vec::new();
        for (key, item) in inputs {
            let name = key.get_ref().as_ref();
            if agent.resource(name).is_err() || name.starts_with('?') {
                self.error(
                    Code::Name,
                    key.span(),
                    format!("{} is not the name of a value", quoted(name)),
                    "use a-z, 0-9 and underscores, a letter first",
                );
                *sound = false;
            } else if matches!(table.get(name).map(Item::get_ref), Some(DeValue::Table(_))) {
                self.error(
                    Code::Duplicate,
                    key.span(),
                    format!("`{name}` is a resource of this agent too"),
                    "give one of the two another name",
                );
                *sound = false;
            }
            lists.push((name.to_owned(), self.list_of_keys(agent, item, sound)));
        }
        lists
    }

    fn list_of_keys(&mut self, agent: &Instance, item: &Item<'_>, sound: &mut bool) -> Vec<String> {
        let Some(items) = self.list(item, "a list of text") else {
            *sound = false;
            return Vec::new();
        };
        if items.is_empty() {
            // Every instance would leave, which nobody asks for by a list.
            self.missing(
                Code::Property,
                item.span(),
                "the list is empty, so there is no instance",
                "name a value, or remove the agent",
            );
            *sound = false;
        }
        let mut seen = BTreeSet::new();
        let mut values = Vec::new();
        for item in items {
            let value = match item.get_ref() {
                DeValue::Integer(number) => whole(number).map(|number| number.to_string()),
                _ => self.text(item).map(str::to_owned),
            };
            let Some(value) = value else {
                *sound = false;
                continue;
            };
            if let Err(error) = Instance::keyed(agent.name(), [&value]) {
                let help = error.repair().unwrap_or_default().to_owned();
                self.error(Code::Name, item.span(), error.message().to_owned(), help);
                *sound = false;
            } else if seen.insert(value.clone()) {
                values.push(value);
            } else {
                self.error(
                    Code::Duplicate,
                    item.span(),
                    format!("{} stands in the list twice", quoted(&value)),
                    "remove one of the two",
                );
                *sound = false;
            }
        }
        values
    }

    /// Adds every instance of an agent to the fleet.
    pub(super) fn agent(
        &mut self,
        name: &Key<'_>,
        table: &DeTable<'_>,
        instances: &Instances,
        fleet: &mut Fleet,
    ) {
        self.misspelt(table);
        for (instance, inputs) in &instances.each {
            let complete = instances.sound;
            let scope = Scope { agent: name.get_ref(), instance, inputs, complete };
            let mut written = Written::default();
            let terms = self.terms(name, table, scope, &mut written);
            let mut resources = Vec::new();
            for (field, item) in table {
                let DeValue::Table(resource) = item.get_ref() else { continue };
                if AGENT_KEYS.contains(&field.get_ref().as_ref()) {
                    continue;
                }
                let address = instance.resource(field.get_ref().as_ref());
                if let Err(error) = &address {
                    let help = error.repair().unwrap_or_default().to_owned();
                    self.error(Code::Name, field.span(), error.message().to_owned(), help);
                }
                let declared = self.resource(field, resource, scope);
                match (address, declared) {
                    (Ok(_), Some(declared)) => resources.push(declared),
                    (Ok(address), None) => {
                        fleet.unread.insert(address);
                    }
                    (Err(_), _) => {}
                }
            }
            if instances.sound {
                let instance = instance.clone();
                fleet.agents.push(FleetAgent { instance, terms, resources, maker: None, written });
            }
        }
    }

    /// Keys that are neither the agent's own nor resources.
    fn misspelt(&mut self, table: &DeTable<'_>) {
        for (key, item) in table {
            let name = key.get_ref().as_ref();
            if !AGENT_KEYS.contains(&name) && !matches!(item.get_ref(), DeValue::Table(_)) {
                let help = nearest(name, AGENT_KEYS).map_or_else(
                    || format!("an agent takes {} and tables, its resources", listed(AGENT_KEYS)),
                    |near| format!("did you mean `{near}`?"),
                );
                let message = format!("unknown key {}", quoted(name));
                self.error(Code::UnknownKey, key.span(), message, help);
            }
        }
    }

    /// Who answers for it, what it is for and until when: mandatory, for an
    /// agent that nobody answers for is what this crate exists to prevent.
    fn terms(
        &mut self,
        name: &Key<'_>,
        table: &DeTable<'_>,
        scope: Scope<'_>,
        written: &mut Written,
    ) -> AgentTerms {
        let mut term = |reader: &mut Self, key: &str, example: Option<&str>| {
            let value = match (table.get(key), example) {
                (Some(item), _) => {
                    written.put(key, reader.place(item.span()));
                    match item.get_ref() {
                        DeValue::Datetime(_) if key == "expires" => reader.day(item),
                        _ => reader.plain(item, scope, &format!("`{key}`")),
                    }
                }
                // A misspelt key was reported as such.
                (None, Some(_))
                    if table.keys().any(|written| is_slip_of(written.get_ref(), key)) =>
                {
                    None
                }
                (None, Some(example)) => {
                    reader.missing(
                        Code::Terms,
                        name.span(),
                        format!("{}: missing key `{key}`", quoted(name.get_ref())),
                        format!("add `{key} = \"{example}\"`"),
                    );
                    None
                }
                (None, None) => return None,
            };
            if value.is_none() {
                written.refuse(key);
            }
            value
        };
        let mut mandatory = |reader: &mut Self, key, example| {
            Cow::Owned(term(reader, key, Some(example)).unwrap_or_default())
        };
        let purpose = mandatory(self, "purpose", "what the agent is for");
        let owner = mandatory(self, "owner", "team:…");
        let expires = mandatory(self, "expires", "2027-06-30");
        let grace = term(self, "grace", None).map(Cow::Owned);
        let source = self.place(name.span());
        AgentTerms { name: scope.agent.to_owned().into(), owner, purpose, expires, grace, source }
    }

    /// A day that is written as a TOML date.
    pub(super) fn day(&mut self, item: &Item<'_>) -> Option<String> {
        let DeValue::Datetime(time) = item.get_ref() else { return None };
        let Some(date) = time.date.filter(|_| time.time.is_none()) else {
            self.error(
                Code::Terms,
                item.span(),
                "the last day has no time",
                "write it as `2027-06-30`",
            );
            return None;
        };
        Some(format!("{:04}-{:02}-{:02}", date.year, date.month, date.day))
    }
}

/// Whether somebody who wrote `word` most likely meant the agent's key.
fn is_slip_of(word: &str, key: &str) -> bool {
    !AGENT_KEYS.contains(&word) && nearest(word, AGENT_KEYS).is_some_and(|near| near == key)
}
