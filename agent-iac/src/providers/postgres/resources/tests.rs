use super::*;
use crate::{
    address::Address,
    providers::postgres::{Column, Database, Schema, Table},
    resource::{Builder as _, Check, Grants, Ref, Resource as _},
};

fn account() -> Ref<Role> {
    Ref::to("reader.account".parse::<Address>().expect("an address"))
}

fn sentences(access: &Access) -> Vec<String> {
    access.tuples.iter().map(ToString::to_string).collect()
}

fn problems<R: Check>(builder: &R::Builder) -> Vec<String> {
    let problems = R::check(builder.fields().nodes());
    problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect()
}

#[test]
fn a_grant_on_columns_gives_one_tuple_for_each_column() {
    let mut grant = Grant::builder();
    grant
        .to(account())
        .on(Column::new("sales", "invoices", ["due", "amount"]))
        .allow([Privilege::Select, Privilege::Update]);
    assert_eq!(
        sentences(&Grant::grants("reader.account", grant.fields().nodes())),
        [
            "reader.account may select table sales.invoices (amount)",
            "reader.account may select table sales.invoices (due)",
            "reader.account may update table sales.invoices (amount)",
            "reader.account may update table sales.invoices (due)",
        ]
    );
}

#[test]
fn a_grant_that_may_be_passed_on_says_so_in_its_access() {
    let mut grant = Grant::builder();
    grant.to(account()).on(Schema::new("sales")).allow([Privilege::Usage]).grantable(true);
    assert_eq!(
        sentences(&Grant::grants("p", grant.fields().nodes())),
        ["p may grant usage schema sales", "p may usage schema sales"]
    );
}

#[test]
fn what_is_taken_from_everybody_is_a_denial_so_that_giving_it_back_widens() {
    let mut public = Public::builder();
    public.on(Database::new("app")).revoke([Privilege::Connect]);
    let access = Public::grants("a.b", public.fields().nodes());
    assert_eq!(sentences(&access), ["PUBLIC may not connect database app"]);
    assert_eq!(access.change_to(&Access::NONE).verdict(), crate::access::Verdict::Widens);
}

#[test]
fn an_attribute_or_a_setting_of_a_role_is_access() {
    let mut role = Role::builder();
    role.name("reader").createrole(true);
    let settings = BTreeMap::from([("role".to_owned(), "admin".to_owned())]);
    role.settings(settings);
    assert_eq!(
        sentences(&Role::grants("p", role.fields().nodes())),
        ["p may create roles in cluster", "p may start sessions with parameter role = admin"]
    );
    let mut plain = Role::builder();
    plain.name("reader");
    assert_eq!(Role::grants("p", plain.fields().nodes()), Access::NONE);
}

#[test]
fn a_membership_says_how_it_reaches_the_other_role() {
    let mut membership = Membership::builder();
    membership.to(account()).of("auditors");
    assert_eq!(
        sentences(&Membership::grants("p", membership.fields().nodes())),
        ["p may become role auditors", "p may inherit from role auditors"]
    );
    membership.noinherit(true).admin(true);
    assert_eq!(
        sentences(&Membership::grants("p", membership.fields().nodes())),
        ["p may become role auditors", "p may give membership in role auditors"]
    );
}

#[test]
fn access_on_what_is_not_known_yet_is_undecided() {
    let mut grant = Grant::builder();
    grant
        .to(account())
        .on(Table::new(format!("of_{}", account().oid()), "t"))
        .allow([Privilege::Select]);
    let access = Grant::grants("p", grant.fields().nodes());
    assert!(access.tuples.is_empty() && !access.undecided.is_empty(), "{access:?}");
    assert_eq!(problems::<Grant>(&grant), Vec::<String>::new(), "and is not judged yet");
}

#[test]
fn what_may_be_passed_on_is_a_part_of_what_is_allowed() {
    let with = |only: &[Privilege], all: bool| {
        let mut grant = Grant::builder();
        grant
            .to(account())
            .on(Table::new("s", "t"))
            .allow([Privilege::Select, Privilege::Insert])
            .grantable(all)
            .grantable_only(Some(only.iter().copied().collect::<BTreeSet<_>>()));
        grant
    };
    let good = with(&[Privilege::Select], false);
    assert_eq!(problems::<Grant>(&good), Vec::<String>::new());
    assert_eq!(
        sentences(&Grant::grants("p", good.fields().nodes())),
        ["p may grant select table s.t", "p may insert table s.t", "p may select table s.t"]
    );
    for (only, all, problem) in [
        (&[][..], false, "no privilege is named"),
        (&[Privilege::Select], true, "all of it may be passed on already"),
        (&[Privilege::Update], false, "`update` is not allowed at all"),
        (&[Privilege::Select, Privilege::Insert], false, "it names all that is allowed"),
    ] {
        assert_eq!(problems::<Grant>(&with(only, all)), [format!("grantable_only: {problem}")]);
    }
}

#[test]
fn every_mistake_in_a_declaration_is_named_with_its_property() {
    let mut role = Role::builder();
    role.name("Public").heir("none").connection_limit(3);
    assert_eq!(
        problems::<Role>(&role),
        [
            "name: `Public` reads as `public`, which is no role to PostgreSQL",
            "heir: `none` reads as `none`, which is no role to PostgreSQL",
            "connection_limit: `connection_limit` holds for a role that logs in by itself",
        ]
    );
    let mut grant = Grant::builder();
    grant.to(account()).on(Table::new("s", "t")).allow([Privilege::Execute, Privilege::Select]);
    assert_eq!(problems::<Grant>(&grant), ["allow: there is no privilege `execute` on a table"]);
    let mut grant = Grant::builder();
    grant.to(account()).on(Column::new("s", "t", ["a"])).allow([Privilege::Delete]);
    assert_eq!(problems::<Grant>(&grant), ["allow: there is no privilege `delete` on a column"]);
    let mut membership = Membership::builder();
    membership.to(account()).of("рublic").noinherit(true).noset(true);
    assert_eq!(
        problems::<Membership>(&membership),
        [
            "of: `рublic` reads as `public`, which is no role to PostgreSQL",
            "noset: a membership that neither inherits nor can be set gives nothing",
        ]
    );
    let mut defaults = DefaultPrivileges::builder();
    defaults
        .to(account())
        .for_role("o")
        .on(Future::Schemas)
        .in_schema("s")
        .allow([Privilege::Select]);
    assert_eq!(
        problems::<DefaultPrivileges>(&defaults),
        ["in_schema: schemas are in no schema", "allow: there is no privilege `select` on schemas",]
    );
    let mut policy = Policy::builder();
    policy
        .to(account())
        .on(Column::new("s", "t", ["a"]))
        .name("p")
        .command(Command::Insert)
        .using("true");
    assert_eq!(
        problems::<Policy>(&policy),
        ["on: a row policy is on a whole table", "using: a policy for `insert` sees no row"]
    );
}

#[test]
fn a_word_is_the_one_that_a_declaration_has() {
    use crate::resource::Property;
    #[track_caller]
    fn check<P: Property>(one: &P, word: &str) {
        assert_eq!(one.to_value().as_text(), Some(word));
    }
    for one in crate::providers::postgres::ObjectKind::ALL {
        check(&one, one.word());
    }
    for one in Future::ALL {
        check(&one, one.word());
    }
    for one in Privilege::ALL {
        check(&one, one.word());
    }
    for one in [Command::All, Command::Select, Command::Insert, Command::Update, Command::Delete] {
        check(&one, one.word());
    }
    assert_eq!(Privilege::AlterSystem.word(), "alter-system");
}
