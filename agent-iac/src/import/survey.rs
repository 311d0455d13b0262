//! What is there: read through handles that can only observe.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::{
    error::{Error, ErrorKind, Result},
    fleet::Fleet,
    ledger::State,
    provider::{Listing, Mark, Object, Observers, Provider, Reach},
    schema::{Kind, ResourceType},
};

/// What a survey is asked for.
///
/// ```
/// use agent_iac::import::SurveyRequest;
///
/// let request = SurveyRequest::default().only("invoice_*").only("report-?");
/// assert_eq!(request.only.len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct SurveyRequest {
    /// The provider's name; may be left out where the deployment has one only.
    pub provider: Option<String>,
    /// Patterns of names, of which an identity's own must match one: `*` is
    /// any text, `?` one character. Every identity when empty.
    pub only: Vec<String>,
}

impl SurveyRequest {
    /// Names the provider.
    #[must_use]
    pub fn provider(mut self, name: impl Into<String>) -> Self {
        self.provider = Some(name.into());
        self
    }

    /// Adds a pattern of names.
    #[must_use]
    pub fn only(mut self, pattern: impl Into<String>) -> Self {
        self.only.push(pattern.into());
        self
    }
}

/// What stands in a system and is nobody's yet.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The fleet's name.
    pub fleet: String,
    /// Its environment.
    pub environment: String,
    /// The providers of the fleet, and how far each reaches.
    pub providers: BTreeMap<String, Reach>,
    /// The secret stores of the fleet.
    pub stores: BTreeSet<String>,
    /// The provider's name.
    pub provider: String,
    /// Which system it is, for people.
    pub system: String,
    /// When it was looked at.
    pub at: Timestamp,
    /// The identities that nobody manages, sorted by name, type and id.
    pub found: Vec<Found>,
    /// How many of what was looked at this ledger manages, or the fleet says to
    /// adopt: identities most of all, for what belongs to them is not listed.
    pub managed: usize,
    /// How many identities no pattern names.
    pub unmatched: usize,
    /// What carries a mark, and so is a fleet's.
    pub marked: Vec<Marked>,
    /// The types whose objects could not be listed, and why: nothing is known
    /// of them.
    pub unlisted: BTreeMap<String, String>,
    /// Names of agents that are in use.
    pub taken: BTreeSet<String>,
}

/// One identity and what belongs to it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its type.
    pub resource_type: &'static ResourceType,
    /// What it is called in its system.
    pub name: String,
    /// The identity.
    pub object: Object,
    /// Its permissions, credentials and runtimes, sorted by type and id.
    pub belongings: Vec<(&'static ResourceType, Object)>,
}

/// An object that carries a mark, so that it is not up for adoption.
#[derive(Clone, Debug)]
pub struct Marked {
    /// Its type.
    pub resource_type: &'static ResourceType,
    /// What it is called in its system.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub mark: Mark,
}

impl Survey {
    /// Whether a fleet exists to which what was found is added. If so, it must
    /// not be planned alone: who is not in it would begin to leave.
    pub fn is_addition(&self) -> bool {
        !self.taken.is_empty()
    }

    /// How many objects of a kind were found.
    pub fn count(&self, kind: Kind) -> usize {
        if kind == Kind::Identity {
            return self.found.len();
        }
        let all = self.found.iter().flat_map(|found| &found.belongings);
        all.filter(|(ty, _)| ty.kind == kind).count()
    }
}

/// A system to look at.
pub(crate) struct System<'a> {
    pub(crate) name: &'a str,
    pub(crate) provider: &'a Arc<dyn Provider>,
    pub(crate) only: &'a [String],
    pub(crate) at: Timestamp,
}

/// What is ours in one provider already: recorded, or declared to be adopted.
pub(crate) struct Mine {
    objects: BTreeSet<(String, String)>,
    taken: BTreeSet<String>,
}

impl Mine {
    pub(crate) fn of(provider: &str, fleet: &Fleet, state: &State) -> Self {
        let mut mine = Self { objects: BTreeSet::new(), taken: BTreeSet::new() };
        mine.taken.extend(state.agents.keys().map(|instance| instance.name().to_owned()));
        for (address, record) in &state.records {
            mine.taken.insert(address.instance().name().to_owned());
            for object in record.object.iter().chain(&record.deposed) {
                if object.provider == provider {
                    mine.objects.insert((object.resource_type.clone(), object.id.clone()));
                }
            }
            if let Some(open) = record.open.as_ref().filter(|open| open.provider == provider) {
                for id in open.id.iter().chain(&open.issued) {
                    mine.objects.insert((open.resource_type.clone(), id.clone()));
                }
            }
        }
        for agent in &fleet.agents {
            mine.taken.insert(agent.instance.name().to_owned());
            for declared in agent.declared() {
                let ty = declared.resource_type;
                let of = declared.terms.provider.as_deref().unwrap_or(ty.default_provider());
                let address = agent.instance.resource(&declared.field).ok();
                let id = address.and_then(|address| fleet.imports.get(&address));
                if let Some(id) = id.filter(|_| of == provider) {
                    mine.objects.insert((ty.name.to_owned(), id.clone()));
                }
            }
        }
        mine
    }

    fn has(&self, ty: &ResourceType, id: &str) -> bool {
        // A set of pairs of text cannot be asked with borrowed ones.
        !self.objects.is_empty() && self.objects.contains(&(ty.name.to_owned(), id.to_owned()))
    }
}

/// Looks at a system: the identities first, then what belongs to those that
/// are nobody's. Each type is asked once, however much there is.
pub(crate) async fn survey(
    system: System<'_>,
    fleet: &Fleet,
    environment: &str,
    mine: Mine,
) -> Result<Survey> {
    let observers = system.provider.observers()?;
    let mut survey = Survey {
        fleet: fleet.name().to_owned(),
        environment: environment.to_owned(),
        providers: fleet.providers.clone(),
        stores: fleet.stores.clone(),
        provider: system.name.to_owned(),
        system: system.provider.description(),
        at: system.at,
        found: Vec::new(),
        managed: 0,
        unmatched: 0,
        marked: Vec::new(),
        unlisted: BTreeMap::new(),
        taken: BTreeSet::new(),
    };
    for (ty, listed) in list(&observers, &[Kind::Identity], &Listing::All).await {
        let objects = listed.map_err(|error| {
            let kind = error.kind();
            let message = format!(
                "the objects of type `{}` of the provider `{}` could not be listed",
                ty.name, system.name
            );
            Error::new(kind, message).caused_by(error)
        })?;
        for object in objects {
            let name = name_of(ty, &object);
            if !system.only.is_empty() && !system.only.iter().any(|only| matches(only, &name)) {
                survey.unmatched += 1;
            } else if let Some(object) = survey.nobodys(&mine, ty, object) {
                survey.found.push(Found {
                    resource_type: ty,
                    name,
                    object,
                    belongings: Vec::new(),
                });
            }
        }
    }
    survey.taken = mine.taken.clone();
    let order =
        |found: &Found| (found.name.clone(), found.resource_type.name, found.object.id.clone());
    survey.found.sort_by_cached_key(order);
    survey.found.dedup_by(|a, b| a.resource_type == b.resource_type && a.object.id == b.object.id);
    if !survey.found.is_empty() {
        let ids = survey.found.iter().map(|found| found.object.id.clone()).collect();
        let of = Listing::Of(ids);
        let kinds = [Kind::Permission, Kind::Credential];
        let (owned, running) = futures_util::future::join(
            list(&observers, &kinds, &of),
            list(&observers, &[Kind::Runtime], &Listing::All),
        )
        .await;
        survey.share_out(owned.into_iter().chain(running).collect(), &mine);
    }
    Ok(survey)
}

type Listed = Vec<(&'static ResourceType, Result<Vec<Object>>)>;

async fn list(observers: &Observers, kinds: &[Kind], listing: &Listing) -> Listed {
    let types = observers.types().filter(|ty| kinds.contains(&ty.kind));
    let questions = types.filter_map(|ty| Some((ty, observers.of(ty.name)?)));
    join_all(questions.map(async |(ty, observe)| (ty, observe.list(listing).await))).await
}

impl Survey {
    /// The object, unless it is somebody's.
    fn nobodys(
        &mut self,
        mine: &Mine,
        ty: &'static ResourceType,
        object: Object,
    ) -> Option<Object> {
        if mine.has(ty, &object.id) {
            self.managed += 1;
            return None;
        }
        let Some(mark) = object.mark else { return Some(object) };
        let object = Object { mark: None, ..object };
        self.marked.push(Marked {
            resource_type: ty,
            name: name_of(ty, &object),
            id: object.id,
            mark,
        });
        None
    }

    /// Gives each identity what belongs to it.
    fn share_out(&mut self, listed: Listed, mine: &Mine) {
        let place: BTreeMap<(&str, String), usize> = self
            .found
            .iter()
            .zip(0..)
            .map(|(found, at)| ((found.resource_type.name, found.object.id.clone()), at))
            .collect();
        for (ty, objects) in listed {
            let objects = match objects {
                Ok(objects) => objects,
                Err(error) => {
                    self.unlisted.insert(ty.name.to_owned(), error.chain());
                    continue;
                }
            };
            for object in objects {
                let owner = owners(ty, &object).find_map(|owner| place.get(&owner).copied());
                // A runtime of somebody who is not here, or an answer beyond
                // the question.
                let Some(owner) = owner else { continue };
                if let Some(object) = self.nobodys(mine, ty, object) {
                    self.found[owner].belongings.push((ty, object));
                }
            }
        }
        for found in &mut self.found {
            found.belongings.sort_by(|(a, x), (b, y)| (a.name, &x.id).cmp(&(b.name, &y.id)));
            found.belongings.dedup_by(|(a, x), (b, y)| a == b && x.id == y.id);
        }
    }
}

/// The identities that an object belongs to, as far as they were read: the one
/// that its kind names, or for a runtime each that it is linked to.
fn owners<'a>(
    ty: &'static ResourceType,
    object: &'a Object,
) -> impl Iterator<Item = (&'static str, String)> + 'a {
    let field = ty.owner_field();
    let fields = ty.fields.iter().filter(move |one| field.is_none_or(|field| one.name == field));
    fields.filter_map(move |field| {
        let id = field.ty.normalise(object.value(field.name)?.clone());
        Some((field.ty.link()?, id.as_text()?.to_owned()))
    })
}

/// What an object is called in its system: its natural key where that is one
/// text, what is called its name, or its id.
pub(super) fn name_of(ty: &ResourceType, object: &Object) -> String {
    let mut keys = ty.key_fields();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if key.ty.link().is_none() => object.value(key.name),
        _ => None,
    };
    let named = key.or_else(|| object.value("name")).and_then(|value| value.as_text());
    named.unwrap_or(&object.id).to_owned()
}

/// Whether a name has the form of a pattern: `*` is any text, `?` one
/// character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where the last star stands, and how much of the name it has taken: only
    // the last one ever has to give way, so this ends soon whatever is asked.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    at = *place + 1;
                    in_name = *taken;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// The provider that is meant.
pub(crate) fn chosen<'a>(
    providers: &'a BTreeMap<String, Arc<dyn Provider>>,
    name: Option<&str>,
) -> Result<(&'a str, &'a Arc<dyn Provider>)> {
    let listed = || providers.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let refused = |message: String| {
        let help = match providers.len() {
            0 => "give the deployment a provider".to_owned(),
            _ => format!("name one of {}", listed()),
        };
        Err(Error::new(ErrorKind::NotFound, message).help(help))
    };
    match name {
        Some(name) => match providers.get_key_value(name) {
            Some((name, provider)) => Ok((name, provider)),
            None => refused(format!("the deployment has no provider named `{name}`")),
        },
        None => match providers.first_key_value() {
            Some((name, provider)) if providers.len() == 1 => Ok((name, provider)),
            _ => refused("nothing says which provider to look at".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_what_it_looks_like() {
        for (pattern, name, is) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("invoice_*", "invoice_reader", true),
            ("invoice_*", "invoice_", true),
            ("invoice_*", "my_invoice_reader", false),
            ("*_reader", "invoice_reader", true),
            ("*_reader", "invoice_reader_2", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c2b", false),
            ("??", "é√", true),
            ("[a]", "a", false),
            ("A*", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern:?} {name:?}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let (stars, name) = ("*a".repeat(200) + "b", "a".repeat(20_000));
        assert!(!matches(&stars, &name));
    }
}
