//! Every mistake that can be made in a text, each with its code and its line.

use agent_iac::{
    config::{self, Types},
    diagnostic::Diagnostics,
};

use super::{SOUND, read};

/// What is broken, what stands there in the sound fleet (nothing: at the end),
/// what is written instead, and what is said: the code, and words of the line.
pub(super) type Case =
    (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const AUDITOR: &str = "purpose = \"p\"\nowner = \"o\"\nexpires = \"2027-01-01\"\n";

pub(super) const CASES: &[Case] = &[
    // The text itself.
    (
        "text without an end",
        r#"name = "directory""#,
        r#"name = "directory"#,
        &[("IAC0013", "name = \"directory")],
    ),
    ("no value", r#"grace = "7d""#, "grace =", &[("IAC0013", "grace =")]),
    ("a key twice", r#"grace = "7d""#, "grace = \"7d\"\ngrace = \"8d\"", &[("IAC0013", "\"8d\"")]),
    (
        "a header without an end",
        "[agents.directory.account]",
        "[agents.directory.account",
        &[("IAC0013", "[agents.directory.account")],
    ),
    (
        "a table twice",
        "",
        "[agents.directory.account]\n",
        &[("IAC0013", "[agents.directory.account]")],
    ),
    (
        "two mistakes of syntax",
        "max_leaving = 3\nmax_age = \"1h\"",
        "max_leaving = \nmax_age = 1h",
        &[("IAC0013", "max_leaving"), ("IAC0013", "max_age")],
    ),
    (
        "syntax and a wrong key",
        "max_leaving = 3\nmax_age = \"1h\"",
        "max_leaving = \nmax_agee = '1h'",
        &[("IAC0013", "max_leaving"), ("IAC0014", "max_agee")],
    ),
    // The fleet.
    (
        "an unknown key",
        r#"stores = ["vault"]"#,
        "stores = ['vault']\ncolour = 1",
        &[("IAC0014", "colour")],
    ),
    ("a misspelt key", r#"stores = ["vault"]"#, "store = ['vault']", &[("IAC0014", "store =")]),
    (
        "agents misspelt",
        "[agents.directory]",
        "[agent.other]\n[agents.directory]",
        &[("IAC0014", "[agent.other]")],
    ),
    ("no name", "fleet = \"billing\"\n", "", &[("IAC0009", "stores")]),
    ("a misspelt name", "fleet =", "flet =", &[("IAC0014", "flet")]),
    ("a name that is no text", r#"fleet = "billing""#, "fleet = 7", &[("IAC0009", "fleet = 7")]),
    ("a malformed name", r#"fleet = "billing""#, "fleet = 'Billing Dept'", &[("IAC0001", "Dept")]),
    (
        "stores that are no list",
        r#"stores = ["vault"]"#,
        "stores = 'vault'",
        &[("IAC0009", "stores")],
    ),
    (
        "a malformed store",
        r#"stores = ["vault"]"#,
        "stores = ['vault', 'Big Store']",
        &[("IAC0001", "Big Store")],
    ),
    (
        "an unknown reach",
        r#"reach = "exclusive""#,
        "reach = 'exclusiv'",
        &[("IAC0009", "exclusiv")],
    ),
    ("an unknown key of a provider", "reach =", "reech =", &[("IAC0014", "reech")]),
    (
        "a provider that is no table",
        "[providers.authority]\nreach = \"exclusive\"",
        "[providers]\nauthority = 'exclusive'",
        &[("IAC0009", "authority = 'exclusive'")],
    ),
    (
        "a provider of another name",
        "[providers.authority]",
        "[providers.autority]",
        &[
            ("IAC0003", "[agents.directory.account]"),
            ("IAC0003", "[agents.reader.account]"),
            ("IAC0003", "[agents.reader.invoices]"),
            ("IAC0003", "[agents.reader.key]"),
        ],
    ),
    ("a malformed provider", "[rules]", "[providers.'My Idp']\n[rules]", &[("IAC0001", "My Idp")]),
    ("an unknown rule", "max_leaving", "max_leving", &[("IAC0014", "max_leving")]),
    (
        "a rule that is no number",
        "max_leaving = 3",
        "max_leaving = '3'",
        &[("IAC0009", "max_leaving")],
    ),
    ("a rule below nothing", "max_leaving = 3", "max_leaving = -1", &[("IAC0009", "max_leaving")]),
    ("a malformed age", r#"max_age = "1h""#, "max_age = '1 hour'", &[("IAC0011", "max_age")]),
    ("an age without a unit", r#"max_age = "1h""#, "max_age = 3600", &[("IAC0009", "max_age")]),
    (
        "an authority that there is not",
        "max_leaving = 3",
        "standing = ['rotate', 'widen']",
        &[("IAC0009", "'widen'")],
    ),
    (
        "an authority that is no list",
        "max_leaving = 3",
        "standing = 'rotate'",
        &[("IAC0009", "'rotate'")],
    ),
    (
        "an authority until no day",
        "max_leaving = 3",
        "standing_until = '30th of June'",
        &[("IAC0010", "'30th of June'")],
    ),
    // Agents.
    ("no owner", "owner = \"team:billing\"\n", "", &[("IAC0010", "[agents.reader]")]),
    (
        "no terms",
        "",
        "[agents.auditor]\n",
        &[
            ("IAC0010", "[agents.auditor]"),
            ("IAC0010", "[agents.auditor]"),
            ("IAC0010", "[agents.auditor]"),
        ],
    ),
    ("an empty owner", r#"owner = "team:billing""#, "owner = ' '", &[("IAC0010", "owner = ' '")]),
    (
        "an owner that is no text",
        r#"owner = "team:billing""#,
        "owner = 7",
        &[("IAC0009", "owner = 7")],
    ),
    ("a misspelt owner", r#"owner = "team:billing""#, "ownr = 'x'", &[("IAC0014", "ownr")]),
    (
        "a purpose that cannot be shown",
        "purpose = \"Answers",
        "purpose = \"\\u001bAnswers",
        &[("IAC0010", "Answers")],
    ),
    (
        "no day of the calendar",
        r#"expires = "2027-06-30""#,
        "expires = '2027-02-30'",
        &[("IAC0010", "2027-02-30")],
    ),
    (
        "a day with a time",
        "expires = 2027-06-30",
        "expires = 2027-06-30T10:00:00Z",
        &[("IAC0010", "10:00")],
    ),
    (
        "a year for a day",
        r#"expires = "2027-06-30""#,
        "expires = 2027",
        &[("IAC0009", "expires = 2027")],
    ),
    ("a malformed grace", r#"grace = "7d""#, "grace = '7 days'", &[("IAC0011", "7 days")]),
    ("a grace without a unit", r#"grace = "7d""#, "grace = 7", &[("IAC0009", "grace = 7")]),
    (
        "an unknown key of an agent",
        r#"grace = "7d""#,
        "grace = '7d'\nteam = 'x'",
        &[("IAC0014", "team")],
    ),
    (
        "instances that are no table",
        r#"for = { tenant = ["eu", "us"] }"#,
        "for = ['eu', 'us']",
        &[("IAC0009", "for =")],
    ),
    ("instances that are no list", r#"["eu", "us"]"#, "'eu'", &[("IAC0009", "for =")]),
    ("no instance", r#"["eu", "us"]"#, "[]", &[("IAC0009", "for =")]),
    ("an instance twice", r#"["eu", "us"]"#, "['eu', 'us', 'eu']", &[("IAC0002", "for =")]),
    ("an instance without a name", r#"["eu", "us"]"#, "['eu', '']", &[("IAC0001", "for =")]),
    ("an instance that turns text", r#"["eu", "us"]"#, "[\"e\\u202Eu\"]", &[("IAC0001", "for =")]),
    ("an instance that forges", r#"["eu", "us"]"#, "[\"e\\U000F1AC0u\"]", &[("IAC0017", "for =")]),
    (
        "a value with the name of a resource",
        "for = { tenant",
        "for = { account = ['a'], tenant",
        &[("IAC0002", "for =")],
    ),
    (
        "a malformed name of a value",
        "for = { tenant",
        "for = { Region = ['a'], tenant",
        &[("IAC0001", "for =")],
    ),
    (
        "a malformed name of an agent",
        "",
        "[agents.Auditor]\npurpose = 'p'\nowner = 'o'\nexpires = '2027-01-01'\n",
        &[("IAC0001", "[agents.Auditor]")],
    ),
    // Resources.
    (
        "no kind",
        "identity = \"authority.account\"\nname = \"directory\"",
        "name = 'directory'",
        &[("IAC0015", "[agents.directory.account]")],
    ),
    (
        "a misspelt kind",
        "identity = \"authority.account\"\nname = \"directory\"",
        "identty = 'authority.account'\nname = 'directory'",
        &[("IAC0014", "identty")],
    ),
    (
        "an unknown type",
        "identity = \"authority.account\"\nname = \"directory\"",
        "identity = 'authority.acount'\nname = 'directory'",
        &[("IAC0015", "authority.acount")],
    ),
    (
        "a type that is no text",
        "identity = \"authority.account\"\nname = \"directory\"",
        "identity = 7\nname = 'directory'",
        &[("IAC0009", "identity = 7")],
    ),
    (
        "another kind",
        "credential =",
        "permission =",
        &[("IAC0015", "permission = \"authority.api_key\"")],
    ),
    (
        "two kinds",
        r#"name = "directory""#,
        "name = 'directory'\nruntime = 'x'",
        &[("IAC0015", "runtime")],
    ),
    (
        "a malformed name of a resource",
        "[[moved]]",
        "[agents.directory.Second]\nidentity = 'authority.account'\nname = 'x'\n[[moved]]",
        &[("IAC0001", "Second")],
    ),
    (
        "an unknown property",
        r#"name = "directory""#,
        "name = 'directory'\ncolour = 'red'",
        &[("IAC0014", "colour")],
    ),
    ("a misspelt property", r#"name = "directory""#, "nme = 'directory'", &[("IAC0014", "nme")]),
    (
        "a property that is missing",
        "allow = [\"read\", \"list\"]\n",
        "",
        &[("IAC0009", "[agents.reader.invoices]")],
    ),
    ("text for a list", r#"allow = ["read", "list"]"#, "allow = 'read'", &[("IAC0009", "allow")]),
    (
        "a number for text",
        r#"["read", "list"]"#,
        "['read', 7, 8]",
        &[("IAC0009", "allow"), ("IAC0009", "allow")],
    ),
    ("a fraction for text", r#"name = "directory""#, "name = 1.5", &[("IAC0009", "name = 1.5")]),
    (
        "an output that is set",
        r#"name = "directory""#,
        "name = 'directory'\nid = '7'",
        &[("IAC0014", "id = '7'")],
    ),
    (
        "a rotation of what is no credential",
        r#"name = "directory""#,
        "name = 'directory'\nrotate = '1d'",
        &[("IAC0014", "rotate = '1d'")],
    ),
    ("a malformed period", r#"rotate = "7d""#, "rotate = 'weekly'", &[("IAC0011", "weekly")]),
    ("no time at all", r#"rotate = "7d""#, "rotate = '0s'", &[("IAC0011", "0s")]),
    (
        "an overlap that is too long",
        r#"overlap = "1h""#,
        "overlap = '1w'",
        &[("IAC0011", "overlap")],
    ),
    (
        "no place",
        "deliver = \"vault:agents/${tenant}/reader\"\n",
        "",
        &[("IAC0007", "[agents.reader.key]")],
    ),
    ("a malformed place", "vault:agents/${tenant}/reader", "vault", &[("IAC0007", "deliver")]),
    (
        "consumers that are none, each at its place",
        "deliver = \"vault:agents/${tenant}/reader\"\n",
        "deliver = \"vault:agents/${tenant}/reader\"\nconsumers = [\"api\",\n\"file:key\",\n\"signal:KILL /run/a.pid\"]\n",
        &[("IAC0019", "\"file:key\""), ("IAC0019", "\"signal:KILL /run/a.pid\"")],
    ),
    ("an unknown store", "vault:agents", "valt:agents", &[("IAC0004", "deliver")]),
    ("one place for two", "agents/${tenant}/reader", "agents/reader", &[("IAC0007", "deliver")]),
    (
        "a place that is not known",
        "agents/${tenant}/reader",
        "agents/${account.id}",
        &[("IAC0018", "deliver")],
    ),
    (
        "protection that is text",
        r#"name = "directory""#,
        "name = 'directory'\nprotect = 'yes'",
        &[("IAC0009", "protect")],
    ),
    (
        "an unknown policy for drift",
        r#"name = "directory""#,
        "name = 'directory'\non_drift = 'revert'",
        &[("IAC0009", "on_drift")],
    ),
    (
        "an unknown property to ignore",
        r#"name = "directory""#,
        "name = 'directory'\nignore = ['nam']",
        &[("IAC0009", "ignore")],
    ),
    (
        "an unknown resource to depend on",
        r#"name = "directory""#,
        "name = 'directory'\ndepends_on = ['acount']",
        &[("IAC0005", "depends_on")],
    ),
    (
        "an unknown provider",
        r#"name = "directory""#,
        "name = 'directory'\nprovider = 'authorty'",
        &[("IAC0003", "authorty")],
    ),
    (
        "no reason",
        "because = \"All of the tenant's invoices.\"",
        "because = ''",
        &[("IAC0016", "because")],
    ),
    (
        "a wildcard without a reason",
        "because = \"All of the tenant's invoices.\"\n",
        "",
        &[("IAC0016", "on =")],
    ),
    (
        "a reason that cannot be shown",
        "because = \"All",
        "because = \"\\u202eAll",
        &[("IAC0017", "because")],
    ),
    // References.
    ("a misspelt resource", "to = \"account\"", "to = 'acount'", &[("IAC0005", "to = 'acount'")]),
    ("a reference to another type", "to = \"account\"", "to = 'key'", &[("IAC0005", "to = 'key'")]),
    (
        "a misspelt resource of another",
        "to = \"account\"",
        "to = 'directory.acount'",
        &[("IAC0005", "directory.acount")],
    ),
    (
        "an agent for a resource",
        "to = \"account\"",
        "to = 'directory'",
        &[("IAC0005", "to = 'directory'")],
    ),
    (
        "no such instance",
        "to = \"account\"",
        "to = 'reader[\"fr\"].account'",
        &[("IAC0005", "reader[\"fr\"]")],
    ),
    ("no such agent", "to = \"account\"", "to = 'nobody.account'", &[("IAC0005", "nobody")]),
    (
        "a reference in braces",
        "to = \"account\"",
        "to = '${account}'",
        &[("IAC0005", "to = '${account}'")],
    ),
    (
        "an output of nothing",
        "${directory.account.id}",
        "${directry.account.id}",
        &[("IAC0005", "directry")],
    ),
    (
        "a misspelt output",
        "${directory.account.id}",
        "${directory.account.idd}",
        &[("IAC0005", "idd")],
    ),
    (
        "a property for an output",
        "${directory.account.id}",
        "${directory.account.name}",
        &[("IAC0005", "${directory.account.name}")],
    ),
    (
        "a resource for a value",
        "${directory.account.id}",
        "${account}",
        &[("IAC0018", "${account}")],
    ),
    ("a misspelt value", "reader-${tenant}", "reader-${tennant}", &[("IAC0018", "tennant")]),
    (
        "braces without an end",
        "${directory.account.id}",
        "${directory",
        &[("IAC0018", "${directory")],
    ),
    ("braces without a name", "${directory.account.id}", "${}", &[("IAC0018", "${}")]),
    ("a dollar alone", "${directory.account.id}", "$5", &[("IAC0018", "$5")]),
    (
        "a circle",
        "${directory.account.id}",
        "${account.id}",
        &[("IAC0006", "[agents.reader.account]")],
    ),
    (
        "text that forges a reference",
        "reader-${tenant}",
        "\\U000F1AC0directory.account#id\\U000F1AC1",
        &[("IAC0017", "directory.account#id")],
    ),
    ("a comment that turns text", "[rules]", "[rules] # \u{202e}", &[("IAC0017", "[rules]")]),
    (
        "one object for three",
        "reader-${tenant}",
        "directory",
        &[("IAC0008", "[agents.reader.account]"), ("IAC0008", "[agents.reader.account]")],
    ),
    // What was called otherwise.
    ("a move of what is declared", "old.account", "directory.account", &[("IAC0012", "from =")]),
    (
        "a move to nowhere",
        "to = \"directory.account\"",
        "to = 'directory.acount'",
        &[("IAC0012", "from =")],
    ),
    ("a malformed address", "\"old.account\"", "'old'", &[("IAC0001", "from =")]),
    ("half a move", "to = \"directory.account\"", "", &[("IAC0012", "[[moved]]")]),
    (
        "an unknown key of a move",
        "to = \"directory.account\"",
        "to = 'directory.account'\nwhy = 1",
        &[("IAC0014", "why")],
    ),
    (
        "a move twice",
        "",
        "[[moved]]\nfrom = 'old.account' # again\nto = 'directory.account'\n",
        &[("IAC0002", "# again")],
    ),
    (
        "removed and declared",
        "stores =",
        "removed = ['directory.account']\nstores =",
        &[("IAC0012", "removed")],
    ),
    (
        "removed twice",
        "stores =",
        "removed = ['old.a', 'old.a']\nstores =",
        &[("IAC0002", "removed")],
    ),
    (
        "an import of nothing",
        "",
        "[[import]]\naddress = 'directory.acount'\nid = '7'\n",
        &[("IAC0012", "directory.acount")],
    ),
    (
        "an import without an id",
        "",
        "[[import]]\naddress = 'directory.account'\n",
        &[("IAC0012", "[[import]]")],
    ),
    (
        "an import of an empty id",
        "",
        "[[import]]\naddress = 'directory.account'\nid = ''\n",
        &[("IAC0012", "address =")],
    ),
    // Several at once.
    (
        "many mistakes",
        "because = \"All of the tenant's invoices.\"\n\n[agents.reader.key]\ncredential = \"authority.api_key\"\nof = \"account\"\nrotate = \"7d\"\noverlap = \"1h\"",
        "alow = 1\n\n[agents.reader.key]\ncredential = 'authority.api_key'\nof = 'acount'\nrotate = 'x'\noverlap = 'y'\nrotat = 1",
        &[
            ("IAC0014", "alow"),
            ("IAC0016", "on ="),
            ("IAC0005", "of ="),
            ("IAC0011", "rotate ="),
            ("IAC0011", "overlap ="),
            ("IAC0014", "rotat = 1"),
        ],
    ),
];

/// The sound fleet with one place of it broken.
pub(super) fn broken((what, from, to, _): &Case) -> String {
    if from.is_empty() {
        return format!("{SOUND}{to}");
    }
    let text = SOUND.replacen(from, to, 1);
    assert_ne!(text, SOUND, "{what}: nothing is broken");
    text
}

/// The code and the line of each mistake, sorted.
fn said(mistakes: &Diagnostics) -> Vec<(String, u32)> {
    let mut said: Vec<(String, u32)> = mistakes
        .iter()
        .map(|d| (d.code.to_string(), d.source.as_ref().map_or(0, |source| source.line)))
        .collect();
    said.sort();
    said
}

/// The last line that holds the words: what was broken stands behind what it
/// repeats.
fn line(text: &str, words: &str) -> u32 {
    let line = text.lines().collect::<Vec<_>>().iter().rposition(|line| line.contains(words));
    u32::try_from(line.expect("the words stand in the text") + 1).expect("a small number")
}

#[test]
fn every_mistake_is_told_once_with_its_code_and_its_line() {
    let mut wrong = Vec::new();
    for case in CASES {
        let text = broken(case);
        let mut expected: Vec<(String, u32)> =
            case.3.iter().map(|(code, words)| ((*code).to_owned(), line(&text, words))).collect();
        expected.sort();
        match read(&text) {
            Ok(_) => wrong.push(format!("{}: nothing was said", case.0)),
            Err(mistakes) if said(&mistakes) != expected => {
                wrong.push(format!("{}: expected {expected:?}\n{mistakes}", case.0));
            }
            Err(_) => {}
        }
    }
    assert!(CASES.len() >= 60, "{}", CASES.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n\n"));
}

#[test]
fn every_mistake_has_its_repair() {
    for case in CASES {
        let mistakes = read(&broken(case)).unwrap_err();
        for mistake in mistakes.iter().filter(|d| d.code.to_string() != "IAC0013") {
            assert!(mistake.help.as_ref().is_some_and(|h| !h.is_empty()), "{}: {mistake}", case.0);
        }
    }
}

#[test]
fn a_slip_is_answered_with_the_name_that_was_meant() {
    for (from, to, meant) in [
        ("fleet =", "flet =", "fleet"),
        ("reach =", "reech =", "reach"),
        ("\"exclusive\"", "'exclusiv'", "exclusive"),
        ("grace =", "grce =", "grace"),
        ("identity =", "identty =", "identity"),
        ("\"authority.grant\"", "'authority.gant'", "authority.grant"),
        ("allow =", "alow =", "allow"),
        ("rotate =", "rotat =", "rotate"),
        ("to = \"account\"", "to = 'acount'", "account"),
        ("${directory.account.id}", "${directory.acount.id}", "account"),
        ("reader-${tenant}", "reader-${tennant}", "tenant"),
        ("vault:agents", "valt:agents", "vault"),
        ("to = \"account\"", "to = 'reader[\"ey\"].account'", "reader[\"eu\"]"),
    ] {
        let text = SOUND.replacen(from, to, 1);
        let mistakes = read(&text).unwrap_err().to_string();
        assert!(mistakes.contains(&format!("did you mean `{meant}`?")), "{to}: {mistakes}");
    }
}

#[test]
fn what_has_another_shape_is_answered_with_one_of_the_right_shape() {
    let grant = "[agents.reader.db]\npermission = 'postgres.grant'\nto = 'account'\n";
    for (from, to, form) in [
        ("fleet = \"billing\"", "[fleet]\nname = 'billing'", "\"…\""),
        ("max_leaving = 3", "max_leaving = 'three'", "3"),
        ("allow = [\"read\", \"list\"]", "allow = 'read'", "[\"…\"]"),
        (
            "[[moved]]",
            &format!("{grant}on = 'table sales.invoices'\nallow = ['select']\n\n[[moved]]"),
            "{ kind = \"table\", name = \"…\" }",
        ),
    ] {
        let text = SOUND.replacen(from, to, 1);
        let mistakes = read(&text).unwrap_err().to_string();
        assert!(mistakes.contains(&format!("write it as `{form}`")), "{to}: {mistakes}");
    }
}

#[test]
fn a_mistake_names_the_column_in_characters() {
    let text = format!("{SOUND}\n[agents.ä]\n{AUDITOR}").replace("[agents.ä]", "[agents.'ä'.'B']");
    let mistakes = read(&text).unwrap_err();
    let places: Vec<String> = mistakes
        .iter()
        .filter_map(|d| Some(d.source.as_ref()?.to_string()))
        .filter(|place| place.starts_with("fleet.toml:"))
        .collect();
    let line = line(&text, "[agents.'ä'");
    assert!(places.contains(&format!("fleet.toml:{line}:9")), "{places:?}");
    assert!(places.contains(&format!("fleet.toml:{line}:13")), "{places:?}");
}

#[test]
fn what_rust_may_add_is_no_mistake_of_the_text() {
    let text = SOUND.replacen("to = \"account\"", "to = 'rust.account'", 1);
    let fleet = config::parse(&text, "fleet.toml", &Types::builtin()).unwrap();
    let mistakes = fleet.blueprint("production").unwrap_err();
    let place = mistakes.iter().next().and_then(|d| d.source.clone()).expect("a place");
    assert_eq!((&*place.file, place.line), ("fleet.toml", line(&text, "rust.account")));
}

#[test]
fn text_cut_anywhere_is_read_without_a_panic() {
    for (end, _) in SOUND.char_indices() {
        let _ = read(&SOUND[..end]);
    }
    let noise =
        "[[agents]]\nx = 1\n[agents.y]\n[moved]\n\"\\u202e\" = {a.b = [1, {c = 2}]}\n\0\u{feff}";
    assert!(read(noise).is_err());
    assert!(read("agents = [1, 2]\nproviders = 3\nrules = 4\nmoved = {}\nimport = [7]").is_err());
}

#[test]
fn too_many_instances_are_refused_and_not_made() {
    let list: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let list = list.join(",");
    let text = SOUND.replacen(
        r#"for = { tenant = ["eu", "us"] }"#,
        &format!("for = {{ tenant = [{list}], region = [{list}], zone = [{list}] }}"),
        1,
    );
    let mistakes = read(&text).unwrap_err();
    assert!(mistakes.to_string().contains("more than 10000 instances"), "{mistakes}");
    assert_eq!(mistakes.iter().count(), 1, "{mistakes}");
}
