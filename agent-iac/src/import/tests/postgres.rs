//! What a PostgreSQL cluster would answer, declared in both forms.

use std::collections::BTreeMap;

use expect_test::expect_file;

use super::accountable;
use crate::{
    config::{self, Types},
    import::{Draft, Found, Survey},
    provider::Object,
    providers::postgres as pg,
    resource::{Link, Reading, Resource},
};

/// What was written, compiled.
#[expect(unreachable_pub, reason = "it is written for a crate of its own")]
mod imported {
    include!("postgres_imported.rs");
}

fn object<R: Resource>(id: &str, build: impl FnOnce(&mut R::Builder)) -> Object {
    let mut builder = R::builder();
    build(&mut builder);
    let mut object = Object::new::<R>(id, &mut builder);
    for field in R::RESOURCE.fields {
        // What is not there is nothing, and was read as that.
        object
            .fields
            .entry(field.name.to_owned())
            .or_insert(Reading::Known(crate::value::Value::Null));
    }
    object
}

fn survey() -> Survey {
    let role = object::<pg::Role>("16384", |role| {
        role.name("invoice_reader")
            .login(true)
            .connection_limit(Some(5))
            .settings(BTreeMap::from([("search_path".to_owned(), "\"$user\", public".to_owned())]));
    });
    let to = || Link::<pg::Role>::id("16384");
    let table = object::<pg::Grant>("g1", |grant| {
        grant.to(to()).on(pg::Table::new("s", "Invoices")).allow([pg::Select, pg::Insert]);
    });
    let columns = object::<pg::Grant>("g2", |grant| {
        grant
            .to(to())
            .on(pg::Column::new("s", "Invoices", ["total"]))
            .allow([pg::Update])
            .grantable(true);
    });
    let defaults = object::<pg::DefaultPrivileges>("d1", |defaults| {
        defaults.to(to()).for_role("owner").on(pg::Future::LargeObjects).allow([pg::Select]);
    });
    let member = object::<pg::Membership>("m1", |member| {
        member.to(to()).of("readers").noinherit(true);
    });
    let mut stuck = object::<pg::Membership>("m2", |member| {
        member.to(to()).of("writers");
    });
    stuck.obstacle = Some("granted by `postgres`, which we cannot become".into());
    let owned = object::<pg::Ownership>("o1", |owned| {
        owned.to(to()).on(pg::Table::new("s", "mine"));
    });
    let login = object::<pg::Login>("l1", |login| {
        login.of(to());
    });
    let long = object::<pg::Role>("16385", |role| {
        role.name("x".repeat(60));
    });
    Survey {
        fleet: "billing".into(),
        environment: "test".into(),
        providers: [].into(),
        stores: [].into(),
        provider: "postgres".into(),
        system: "postgres at db.example:5432".into(),
        at: "2026-11-24T00:00:00Z".parse().unwrap(),
        found: vec![
            Found {
                resource_type: pg::Role::RESOURCE,
                name: "invoice_reader".into(),
                object: role,
                belongings: vec![
                    (pg::DefaultPrivileges::RESOURCE, defaults),
                    (pg::Grant::RESOURCE, table),
                    (pg::Grant::RESOURCE, columns),
                    (pg::Login::RESOURCE, login),
                    (pg::Membership::RESOURCE, member),
                    (pg::Membership::RESOURCE, stuck),
                    (pg::Ownership::RESOURCE, owned),
                ],
            },
            Found {
                resource_type: pg::Role::RESOURCE,
                name: "x".repeat(60),
                object: long,
                belongings: Vec::new(),
            },
        ],
        managed: 0,
        unmatched: 0,
        marked: Vec::new(),
        unlisted: [].into(),
        taken: [].into(),
    }
}

#[test]
fn a_cluster_is_declared_alike_in_text_and_in_rust() {
    let draft = Draft::of(&survey(), &accountable()).unwrap();
    let text = draft.toml();
    expect_file!["./postgres_imported.toml"].assert_eq(&text);
    expect_file!["./postgres_imported.rs"].assert_eq(&draft.rust("crate::providers::postgres"));
    let types = Types::none()
        .with::<pg::Role>()
        .with::<pg::Grant>()
        .with::<pg::DefaultPrivileges>()
        .with::<pg::Membership>();
    let read = match config::blueprint(&text, "imported.toml", "test", &types) {
        Ok(blueprint) => blueprint,
        Err(mistakes) => panic!("{mistakes}\n{text}"),
    };
    let rust = imported::fleet().blueprint("test").unwrap();
    assert_eq!(rust.digest(), read.digest());
    // Who owns needs an heir, which only people can name, and a name that is
    // too long for its logins is refused by the type itself.
    let aside: Vec<String> = draft.aside().map(|one| one.resource_type.clone()).collect();
    assert_eq!(aside, ["postgres.role", "postgres.login", "postgres.ownership"]);
}
