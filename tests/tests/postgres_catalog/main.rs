//! What the provider reads of a cluster, against real ones of each version: by
//! a login that has no right of its own.

#![allow(
    clippy::too_many_lines,
    clippy::range_plus_one,
    reason = "one test has a line for each kind of object"
)]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "all of this file is a test")]

use std::{collections::BTreeMap, sync::Arc};

use agent_iac::{
    provider::{DynObserve, Listing, Object, Observation, Observers, Provider as _, Reference},
    providers::postgres::{self as pg, Password, PostgresProvider, Principal},
    resource::Reading,
    secret::Secret,
    value::Value,
};
use agent_iac_tests::postgres::{Cluster, Session};

mod behind;
mod drift;
mod fleets;
mod graph;
mod importing;
mod oracle;
mod reading;
mod surroundings;

/// Every login's: no test here is about passwords.
const PASSWORD: &str = "as-everybody-here";

/// A database of a test's own, and the provider's eyes in it.
struct World {
    version: u32,
    name: String,
    admin: Session,
    observers: Observers,
}

impl World {
    /// Makes the database `name`, a login that observes it, and `others` beside
    /// it. Roles are cluster-wide, so that all names begin with `name`.
    async fn new(cluster: &'static Cluster, name: &str, others: &[&str]) -> Self {
        let root = cluster.admin().await;
        root.run(&format!(
            "CREATE ROLE {name}_observe LOGIN PASSWORD '{PASSWORD}';
             CREATE ROLE {name}_admins CREATEROLE"
        ))
        .await;
        cluster.database(name).await;
        let admin = cluster.admin_of(name).await;
        let observers = eyes(cluster, name, others);
        Self { version: cluster.version(), name: name.to_owned(), admin, observers }
    }

    /// Runs statements in which `@` stands for the database's name.
    async fn run(&self, sql: &str) {
        self.admin.run(&sql.replace('@', &self.name)).await;
    }

    fn named(&self, name: &str) -> String {
        name.replace('@', &self.name)
    }

    /// The number of a role.
    async fn oid(&self, role: &str) -> String {
        let role = self.named(role);
        self.admin.value(&format!("SELECT oid FROM pg_roles WHERE rolname = '{role}'")).await
    }

    fn of(&self, ty: &str) -> &Arc<dyn DynObserve> {
        self.observers.of(ty).unwrap()
    }

    async fn read(&self, ty: &str, references: &[Reference]) -> Vec<Observation> {
        self.of(ty).read(references).await.unwrap()
    }

    async fn read_id(&self, ty: &str, id: &str) -> Observation {
        self.read(ty, &[Reference::Id(id.to_owned())]).await.remove(0)
    }

    async fn read_key(&self, ty: &str, key: &[(&str, Value)]) -> Observation {
        let key: BTreeMap<String, Value> =
            key.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.read(ty, &[Reference::Key(key)]).await.remove(0)
    }

    /// What belongs to some roles, and is read again by its id as it was
    /// listed.
    async fn list(&self, ty: &str, roles: &[&str]) -> Vec<Object> {
        let mut oids = Vec::new();
        for role in roles {
            oids.push(self.oid(role).await);
        }
        self.listed(ty, &Listing::Of(oids)).await
    }

    async fn listed(&self, ty: &str, listing: &Listing) -> Vec<Object> {
        let objects = self.of(ty).list(listing).await.unwrap();
        let ids: Vec<Reference> =
            objects.iter().map(|object| Reference::Id(object.id.clone())).collect();
        for (object, read) in objects.iter().zip(self.read(ty, &ids).await) {
            let whole = |object: &Object| {
                object.fields.values().all(|field| matches!(field, Reading::Known(_)))
            };
            // What cannot be declared is listed so that it is seen, and read as
            // what it is.
            if whole(object) && read.object().is_none_or(whole) {
                assert_eq!(read, Observation::Present(object.clone()), "listed, then read");
            }
        }
        objects
    }
}

/// Observers of a database, as the login that [`World::new`] makes.
fn eyes(cluster: &Cluster, name: &str, others: &[&str]) -> Observers {
    let endpoint: pg::Endpoint =
        format!("postgresql://127.0.0.1:{}/{name}", cluster.port()).parse().unwrap();
    let password = Password::given(Secret::from_text(PASSWORD.into()));
    let provider = PostgresProvider::new(endpoint)
        .observe(Principal::new(format!("{name}_observe"), password).unwrap())
        .administrators(format!("{name}_admins"));
    let provider = others.iter().fold(provider, |provider, other| provider.database(*other));
    provider.observers().unwrap()
}

/// An object in one line: its id, its fields, and what stands in the way.
fn line(object: &Object) -> String {
    let fields = object.fields.iter().filter_map(|(name, reading)| {
        // The id says these.
        if matches!(name.as_str(), "to" | "on" | "oid" | "grantor" | "for_role") {
            return None;
        }
        match reading {
            Reading::Known(Value::Null) => None,
            Reading::Known(value) => Some(format!("{name}={value}")),
            other => Some(format!("{name}={other:?}")),
        }
    });
    let fields: Vec<String> = fields.collect();
    let obstacle = object.obstacle.as_ref().map(|why| format!(" [{why}]")).unwrap_or_default();
    format!("{}: {}{obstacle}", object.id, fields.join(" "))
}

fn lines(objects: &[Object]) -> Vec<String> {
    let mut lines: Vec<String> = objects.iter().map(line).collect();
    lines.sort();
    lines
}
