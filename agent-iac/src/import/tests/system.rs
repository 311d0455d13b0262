//! A system with a property of every shape, which can be looked at and nothing
//! else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;

use crate::{
    Error, ErrorKind, Property, Resource, Result,
    access::Access,
    provider::{
        Capabilities, Listing, Mark, Object, Observation, Observe, Observers, Probers, Provider,
        Reference, Writers,
    },
    resource::{Grants, Link, Node, Reading, Resource},
    value::Value,
};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "museum.role", kind = "identity")]
pub struct Role {
    /// Its name.
    #[resource(key)]
    pub name: String,
    /// Whether what it is a member of applies at once.
    #[resource(default)]
    pub inherit: bool,
    /// How many sessions it may have.
    pub limit: Option<i32>,
    /// What is set for its sessions.
    #[resource(default)]
    pub settings: BTreeMap<String, String>,
    /// Until when it may log in.
    pub until: Option<String>,
    /// Who looks after it.
    pub keeper: Option<Link<Role>>,
    /// Its number.
    #[resource(output)]
    pub oid: u32,
}

/// What a grant is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Property)]
pub enum ObjectKind {
    /// A table.
    Table,
    /// A room.
    ReadingRoom,
}

/// A thing of the museum.
#[derive(Clone, Debug, PartialEq, Eq, Property)]
pub struct Thing {
    kind: ObjectKind,
    schema: String,
    name: String,
    columns: Option<BTreeSet<String>>,
}

/// A verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Property)]
pub enum Verb {
    /// To look.
    Select,
    /// To put in.
    Insert,
}

/// What a role may do with a thing.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "museum.grant", kind = "permission")]
pub struct Grant {
    /// Whose it is.
    #[resource(key)]
    pub to: Link<Role>,
    /// The thing.
    #[resource(key)]
    pub on: Thing,
    /// What is allowed.
    pub allow: BTreeSet<Verb>,
    /// Who gave it.
    pub grantor: Option<String>,
    /// The hours, in order.
    #[resource(default)]
    pub hours: Vec<i32>,
}

/// That a role is a member of another.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "museum.membership", kind = "permission")]
pub struct Membership {
    /// The member.
    #[resource(key)]
    pub to: Link<Role>,
    /// The role that it becomes.
    #[resource(key)]
    pub role: Link<Role>,
}

/// A password.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "museum.login", kind = "credential")]
pub struct Login {
    /// Whose it is.
    pub of: Link<Role>,
}

/// What runs at night.
#[derive(Clone, Debug, PartialEq, Eq, Resource)]
#[resource(type = "museum.round", kind = "runtime")]
pub struct Round {
    /// Its name.
    #[resource(key)]
    pub name: String,
    /// Who walks.
    pub run_as: Link<Role>,
    /// Which way.
    pub rooms: Vec<String>,
}

impl Grants for Grant {
    fn grants(_: &str, _: &BTreeMap<String, Node>) -> Access {
        Access::undecided("nobody asks here")
    }
}

impl Grants for Membership {
    fn grants(_: &str, _: &BTreeMap<String, Node>) -> Access {
        Access::undecided("nobody asks here")
    }
}

/// What stands in the museum. Nobody can write to it.
#[derive(Clone, Debug, Default)]
pub struct Museum {
    objects: BTreeMap<&'static str, Vec<Object>>,
    unlisted: BTreeSet<&'static str>,
    lists: Arc<AtomicUsize>,
}

impl Museum {
    /// Puts an object of type `R` there, as it would be read.
    pub fn put<R: Resource>(&mut self, id: &str, fields: &[(&str, Reading)]) -> &mut Object {
        let fields =
            fields.iter().map(|(name, reading)| ((*name).to_owned(), reading.clone())).collect();
        let object = Object {
            id: id.to_owned(),
            fields,
            suspended: false,
            mark: None,
            obstacle: None,
            label: None,
        };
        let of = self.objects.entry(R::TYPE).or_default();
        of.push(object);
        of.last_mut().unwrap()
    }

    /// Puts one there with every property known.
    pub fn put_known<R: Resource>(&mut self, id: &str, live: &R) -> &mut Object {
        let fields: Vec<(String, Reading)> = live
            .to_values()
            .into_iter()
            .map(|(name, value)| (name, Reading::Known(value)))
            .collect();
        let fields: Vec<(&str, Reading)> =
            fields.iter().map(|(name, reading)| (name.as_str(), reading.clone())).collect();
        self.put::<R>(id, &fields)
    }

    /// Says that a type cannot be listed.
    pub fn hide<R: Resource>(&mut self) {
        self.unlisted.insert(R::TYPE);
    }

    /// How often something was listed.
    pub fn lists(&self) -> usize {
        self.lists.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl<R: Resource> Observe<R> for Museum {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn read(&self, references: &[Reference]) -> Result<Vec<Observation>> {
        let all = self.objects.get(R::TYPE).map(Vec::as_slice).unwrap_or_default();
        let by_id: BTreeMap<&str, &Object> =
            all.iter().map(|object| (object.id.as_str(), object)).collect();
        let read = |reference: &Reference| match reference {
            Reference::Id(id) => by_id.get(id.as_str()).copied(),
            Reference::Key(key) => all
                .iter()
                .find(|object| key.iter().all(|(name, value)| object.value(name) == Some(value))),
        };
        let answer = |reference| {
            read(reference).map_or(Observation::Absent, |o| Observation::Present(o.clone()))
        };
        Ok(references.iter().map(answer).collect())
    }

    async fn list(&self, listing: &Listing) -> Result<Vec<Object>> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        if self.unlisted.contains(R::TYPE) {
            return Err(Error::new(ErrorKind::Denied, "the keeper has gone home"));
        }
        let all = self.objects.get(R::TYPE).cloned().unwrap_or_default();
        let of: BTreeSet<Value> = match listing {
            Listing::All => return Ok(all),
            Listing::Of(ids) => ids.iter().map(|id| Value::from(id.as_str())).collect(),
        };
        let field = R::RESOURCE.owner_field().unwrap();
        let theirs = |object: &Object| object.value(field).is_some_and(|id| of.contains(id));
        Ok(all.into_iter().filter(theirs).collect())
    }
}

#[async_trait]
impl Provider for Museum {
    fn description(&self) -> String {
        "the museum".into()
    }

    async fn target(&self) -> Result<String> {
        Ok("museum".into())
    }

    fn observers(&self) -> Result<Observers> {
        let museum = Arc::new(self.clone());
        Ok(Observers::new()
            .with::<Role, _>(&museum)
            .with::<Grant, _>(&museum)
            .with::<Membership, _>(&museum)
            .with::<Login, _>(&museum)
            .with::<Round, _>(&museum))
    }

    fn writers(&self) -> Result<Writers> {
        Err(Error::new(ErrorKind::Denied, "nobody writes here"))
    }

    fn probers(&self) -> Result<Probers> {
        Err(Error::new(ErrorKind::Denied, "nobody tries here"))
    }
}

/// A role of which nothing but its name is said.
pub fn role(name: &str) -> Role {
    Role {
        name: name.to_owned(),
        inherit: false,
        limit: None,
        settings: BTreeMap::new(),
        until: None,
        keeper: None,
        oid: 7,
    }
}

/// A table.
pub fn table(schema: &str, name: &str, columns: Option<&[&str]>) -> Thing {
    let columns = columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Thing { kind: ObjectKind::Table, schema: schema.to_owned(), name: name.to_owned(), columns }
}

/// A name that tries to be something else.
const HOSTILE: &str = "x\"]\n[agents.y]\n# \u{202e}\\ {} $ ${z} */ \u{0}\u{e9}\u{65e5}'";

/// A museum with something of everything.
pub fn rich() -> Museum {
    let mut museum = Museum::default();
    museum.put_known("1", &role("reader"));
    museum.put_known(
        "2",
        &Role {
            inherit: true,
            limit: Some(-1),
            settings: BTreeMap::from([
                ("search_path".into(), "\"$user\", public".into()),
                ("a.b c".into(), "it's \\ 1\n2".into()),
            ]),
            until: Some("2027-01-01 00:00:00+00".into()),
            keeper: Some(Link::id("1")),
            ..role("Night \"Watch\"")
        },
    );
    museum.put_known("3", &Role { keeper: Some(Link::id("99")), ..role("night-watch") });
    // Two that look after each other.
    museum.put_known("10", &Role { keeper: Some(Link::id("11")), ..role("castor") });
    museum.put_known("11", &Role { keeper: Some(Link::id("10")), ..role("pollux") });
    museum.put_known("12", &role(HOSTILE));
    museum.put_known("4", &role("asleep")).suspended = true;
    museum.put_known("5", &role("theirs")).mark = Some(Mark {
        fleet: "other".into(),
        environment: "production".into(),
        address: "a.role".parse().unwrap(),
    });
    let mut hidden: Vec<(String, Reading)> = role("hidden")
        .to_values()
        .into_iter()
        .map(|(name, value)| (name, Reading::Known(value)))
        .collect();
    for (name, reading) in &mut hidden {
        match name.as_str() {
            "until" => *reading = Reading::Redacted,
            "settings" => *reading = Reading::Unreadable("no right to\nread it".into()),
            "limit" => *reading = Reading::Unsupported,
            _ => {}
        }
    }
    let hidden: Vec<(&str, Reading)> =
        hidden.iter().map(|(name, reading)| (name.as_str(), reading.clone())).collect();
    museum.put::<Role>("6", &hidden);
    let grant = |to: &str, on: Thing, allow: &[Verb]| Grant {
        to: Link::id(to),
        on,
        allow: allow.iter().copied().collect(),
        grantor: None,
        hours: Vec::new(),
    };
    let all = [Verb::Select, Verb::Insert];
    museum.put_known("g1", &grant("1", table("s", "t", Some(&["b", "a"])), &all));
    museum.put_known(
        "g2",
        &Grant {
            grantor: Some("night-watch".into()),
            hours: vec![22, -3],
            ..grant("1", table("s", "*", None), &all[..1])
        },
    );
    museum.put_known("g3", &grant("2", table("${x}", "t", Some(&[])), &[]));
    museum.put_known("g4", &grant("4", table("s", "t", None), &all));
    for (id, to, role) in [("m1", "1", "3"), ("m2", "3", "2"), ("m3", "2", "99")] {
        museum.put_known(id, &Membership { to: Link::id(to), role: Link::id(role) });
    }
    museum.put_known("k1", &Login { of: Link::id("1") });
    museum.put_known(
        "r1",
        &Round {
            name: "at night".into(),
            run_as: Link::id("2"),
            rooms: vec!["b".into(), "a".into()],
        },
    );
    museum
}
