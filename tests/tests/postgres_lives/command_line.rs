//! The stock binary on a server, as it is typed, and every password looked for
//! everywhere that it leaves something behind.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value as Json;

use super::{canary::Seen, *};

on_each_version![a_life_is_typed_and_no_password_stands_where_others_see_it];

/// The reader, in the words of a file.
const FLEET: &str = r#"
fleet = "billing"
stores = ["vault"]

[providers.postgres]

[agents.reader]
purpose = "Reads some of the invoices."
owner = "team:billing"
expires = "2090-06-30"
grace = "0d"

[agents.reader.account]
identity = "postgres.role"
name = "@_reader"
heir = "@_heir"
on_drift = "revert_widening"

[agents.reader.schema]
permission = "postgres.grant"
to = "account"
on = { kind = "schema", name = "sales" }
allow = ["usage"]

[agents.reader.notes]
permission = "postgres.grant"
to = "account"
on = { kind = "table", schema = "sales", name = "notes" }
allow = ["select", "insert"]
on_drift = "revert_widening"

[agents.reader.login]
credential = "postgres.login"
of = "account"
deliver = "vault:@/reader"
"#;

/// Somebody at a terminal.
struct Typist<'w> {
    world: &'w World,
    /// Where he stands.
    desk: PathBuf,
    seen: Seen,
}

impl<'w> Typist<'w> {
    fn new(world: &'w World) -> Self {
        let desk = world.folder.path().join("desk");
        fs::create_dir_all(desk.join("tmp")).unwrap();
        fs::write(desk.join("fleet.toml"), world.named(FLEET)).unwrap();
        Self { world, desk, seen: Seen::default() }
    }

    /// A file with a password, which nobody else may read.
    fn password(&self, name: &str, password: &str) -> String {
        // Beside the desk: all that lies on it is searched.
        let file = self.world.folder.path().join(name);
        fs::write(&file, password).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file.display().to_string()
    }

    /// The options that lead to the server, with the principal that observes.
    fn server(&self, observe: &str) -> Vec<String> {
        let (world, port) = (self.world, self.world.cluster.port());
        let apply = self.password("apply", &password_of(&world.name, "apply"));
        let words = format!(
            "--folder {} --environment test --postgres postgresql://127.0.0.1:{port}/@ \
             --postgres-observe @_observe:{observe} --postgres-apply @_apply:{apply} \
             --postgres-administrators @_admins --postgres-scope @_*",
            world.folder.path().join("kept").display(),
        );
        world.named(&words).split(' ').map(str::to_owned).collect()
    }

    /// Types a command, and what leads to the server.
    fn types(&mut self, words: &str) -> (Option<i32>, String) {
        let observe = self.password("observe", &password_of(&self.world.name, "observe"));
        let server = self.server(&observe);
        self.runs(words, &server)
    }

    fn runs(&mut self, words: &str, server: &[String]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stock"));
        command.args(words.split(' ').filter(|word| !word.is_empty())).args(server);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("RUST_LOG", "trace");
        command.env("RUST_BACKTRACE", "full").env("TMPDIR", self.desk.join("tmp"));
        command.env("USER", "ada").current_dir(&self.desk);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command.spawn().unwrap();
        for file in ["cmdline", "environ"] {
            let place = format!("/proc/{}/{file}", process.id());
            self.seen.see(&format!("{file} of `{words}`"), fs::read(place).unwrap());
        }
        self.seen.files(&self.desk);
        let output = process.wait_with_output().unwrap();
        self.seen.see(&format!("what `{words}` says"), output.stdout.clone());
        self.seen.see(&format!("what `{words}` says beside it"), output.stderr.clone());
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    #[track_caller]
    fn does(&mut self, words: &str) -> String {
        let (code, said) = self.types(words);
        assert_eq!(code, Some(0), "{words}: {said}");
        said
    }

    /// Plans, and applies what was planned by its digest.
    #[track_caller]
    fn applies(&mut self) {
        let plan = self.does("plan --format json");
        let json = plan.lines().find_map(|line| serde_json::from_str::<Json>(line).ok());
        let json = json.unwrap_or_else(|| serde_json::from_str(&plan).unwrap());
        let digest = json["digest"].as_str().unwrap().to_owned();
        self.does(&format!("apply --digest {digest}"));
    }
}

async fn a_life_is_typed_and_no_password_stands_where_others_see_it(cluster: &'static Cluster) {
    let world = World::new(cluster, "typed").await;
    world.require(&world.deployment(reader(&world))).await;
    let mut typist = Typist::new(&world);
    let kept = world.folder.path().join("kept");
    let vaulted = async || {
        let deployment = Deployment::embedded(world.fleet(), "test", &kept).unwrap();
        world.vaulted(&deployment, READER).await
    };
    let mut logins = Vec::new();

    typist.does("validate");
    typist.does("plan --requires");
    typist.does("plan --full");
    typist.does("plan --out plan.json");
    typist.applies();
    typist.does("plan --detailed-exitcode");
    logins.push(vaulted().await);
    let agent = world.enter(&logins[0]).await;
    agent.run("SELECT note FROM sales.notes").await;

    // Drift, and its revert.
    world.run("SET ROLE @_owner; GRANT DELETE ON sales.notes TO @_reader; RESET ROLE").await;
    let (code, said) = typist.types("drift --detailed-exitcode");
    assert!(code != Some(0) && said.contains("delete"), "{said}");
    typist.types("drift --revert-widening --full");
    typist.does("plan --detailed-exitcode");
    assert_eq!(agent.refused("DELETE FROM sales.notes").await.code, "42501");

    // An end at once, and another login afterwards.
    let (_, said) = typist.types("kill reader --reason found-in-a-log");
    assert!(agent.simple_query("SELECT 1").await.is_err(), "its session goes on: {said}");
    assert!(["28P01", "28000"].contains(&&*world.refusal(&logins[0]).await.code));
    typist.does("resume reader");
    typist.applies();
    logins.push(vaulted().await);
    assert!(logins[0] != logins[1], "the login is a new one");
    world.enter(&logins[1]).await.run("SELECT note FROM sales.notes").await;

    // What only looks.
    for words in [
        "show reader",
        "inventory",
        "history",
        "graph",
        "verify",
        "recover",
        "show plan.json --full",
    ] {
        typist.types(words);
    }
    let (_, said) = typist.types("import --report --provider postgres");
    assert!(said.contains("typed_owner"), "{said}");
    typist.types(
        "import --provider postgres --owner team:billing --out imported.toml --only typed_o*",
    );
    assert!(fs::read_to_string(typist.desk.join("imported.toml")).unwrap().contains("typed_owner"));

    // Mistakes that have a password in them, or behind them.
    let wrong = typist.password("wrong", "canary-of-a-wrong-one");
    let server = typist.server(&wrong);
    let (code, said) = typist.runs("plan --detailed-exitcode", &server);
    assert!(code != Some(0) && said.contains("the password was refused"), "{said}");
    let open = typist.password("open", "canary-of-an-open-one");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let server = typist.server(&open);
    let (code, said) = typist.runs("plan --detailed-exitcode", &server);
    assert!(code != Some(0) && said.contains("may be read by others"), "{said}");

    // The vault holds the passwords under a key, the ledger and the rest not at all.
    typist.seen.files(&kept);
    typist.seen.see("the server's log", cluster.log());
    let mut secrets = vec![
        "canary-of-a-wrong-one".to_owned(),
        "canary-of-an-open-one".to_owned(),
        cluster.password().to_owned(),
    ];
    secrets.extend(["observe", "apply"].map(|who| password_of("typed", who)));
    secrets.extend(logins.iter().map(|login| login.password.clone()));
    for secret in &secrets {
        assert_eq!(typist.seen.find(secret), BTreeSet::new());
    }
    // The search finds: the options name the principals, and the rest the agent.
    let found = &typist.seen.find("typed_observe") | &typist.seen.find("typed_reader");
    for place in ["cmdline of", "what `plan --full`", "ledger.db", "the server's log"] {
        assert!(
            found.iter().any(|one| one.contains(place)),
            "nothing is found in {place}: {found:?}"
        );
    }
}
