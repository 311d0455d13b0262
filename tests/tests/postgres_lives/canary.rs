//! Every password of a whole life, looked for everywhere it must not be.

#![allow(clippy::format_collect, reason = "a short text, in a test")]

use std::{fmt::Debug, fs, path::Path};

use agent_iac::plan::render::{self, Level};

use super::*;

on_each_version![no_password_of_a_life_stands_where_others_see_it];

/// What was seen, with where.
#[derive(Default)]
pub(super) struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    pub(super) fn see(&mut self, place: &str, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.to_owned(), bytes.into()));
    }

    fn debug(&mut self, place: &str, value: &dyn Debug) {
        self.see(place, format!("{value:?}\n{value:#?}"));
    }

    pub(super) fn files(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.files(&path);
            } else if let Ok(bytes) = fs::read(&path) {
                self.see(&path.display().to_string(), bytes);
            }
        }
    }

    fn plan(&mut self, plan: &Plan) {
        let saved = SavedPlan::new(plan.clone()).unwrap();
        self.see("a saved plan", saved.to_bytes().unwrap());
        let options = render::Options { level: Level::Full, ..render::Options::default() };
        self.see("a plan as text", render::text(&saved, &options).to_string());
        self.see("a plan as Markdown", render::markdown(&saved, &options));
        self.see("a plan as JSON", render::json(&saved).unwrap());
        self.debug("a plan", &saved);
    }

    /// The places in which a secret stands, in any of the forms in which one
    /// is written down by accident.
    pub(super) fn find(&self, secret: &str) -> BTreeSet<String> {
        let bytes = secret.as_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let forms = [
            secret.to_owned(),
            secret.to_lowercase(),
            hex.to_uppercase(),
            hex,
            format!("{bytes:?}"),
            secret.chars().take(secret.len() / 2).collect(),
        ];
        let stands = |place: &[u8], form: &str| {
            place.windows(form.len()).any(|window| window == form.as_bytes())
        };
        let places =
            self.0.iter().filter(|(_, bytes)| forms.iter().any(|form| stands(bytes, form)));
        places.map(|(place, _)| place.clone()).collect()
    }
}

async fn no_password_of_a_life_stands_where_others_see_it(cluster: &'static Cluster) {
    let world = World::new(cluster, "canary").await;
    let mut seen = Seen::default();
    let mut logins = Vec::new();
    let deployment = world.prepared(reader(&world)).await;
    for stage in ["made", "stopped", "back", "drifted", "failed"] {
        match stage {
            "stopped" => {
                let instance = r#"reader["canary"]"#.parse().unwrap();
                let report = deployment.kill(&instance, "a test", &operator()).await.unwrap();
                seen.debug("a kill", &report);
                deployment.resume(&instance, &operator().actor).await.unwrap();
            }
            "drifted" => {
                world
                    .run("SET ROLE @_owner; GRANT DELETE ON sales.notes TO @_reader; RESET ROLE")
                    .await;
                seen.debug("a revert", &deployment.revert_drift(&operator()).await.unwrap());
            }
            "failed" => {
                world.run("DROP ROLE IF EXISTS @_nobody; ALTER ROLE @_admins NOCREATEROLE").await;
                world.run("DROP OWNED BY @_reader").await;
            }
            _ => {}
        }
        let plan = planned(&deployment).await;
        seen.plan(&plan);
        let saved = SavedPlan::new(plan).unwrap();
        let context = operator().acknowledging(saved.digest());
        seen.debug(
            "a report",
            &deployment.apply(&saved, &context).await.map_err(|e| e.to_string()),
        );
        seen.debug("the deployment", &deployment);
        seen.debug("the state", &deployment.state().await.unwrap());
        let batches = deployment.ledger().batches(1, usize::MAX).await.unwrap();
        seen.see("the entries", serde_json::to_vec(&batches).unwrap());
        seen.files(world.folder.path());
        if stage != "stopped" {
            logins.push(world.vaulted(&deployment, READER).await);
        }
    }
    // Errors of whoever is let in, or not.
    let mut wrong = world.principal("observe");
    seen.debug("a principal", &wrong);
    wrong = Principal::new(
        "canary_observe",
        Password::given(Secret::from_text("canary-of-a-wrong-one".into())),
    )
    .unwrap();
    let endpoint = format!("postgresql://127.0.0.1:{}/canary", cluster.port());
    let refused =
        PostgresProvider::new(endpoint.parse().unwrap()).observe(wrong.clone()).apply(wrong);
    seen.debug("a provider", &refused);
    let refused = world.deployment_on(reader(&world), refused);
    seen.plan(&planned(&refused).await);
    world.run("ALTER ROLE @_admins CREATEROLE").await;
    seen.see("the server's log", cluster.log());
    for file in ["cmdline", "environ"] {
        seen.see(file, fs::read(format!("/proc/self/{file}")).unwrap());
    }

    let mut secrets = vec!["canary-of-a-wrong-one".to_owned(), cluster.password().to_owned()];
    secrets.extend(["observe", "apply"].map(|who| password_of("canary", who)));
    secrets.extend(logins.iter().map(|login| login.password.clone()));
    assert!(logins.iter().any(|login| *login != logins[0]), "the stopped agent got a new password");
    for secret in &secrets {
        assert_eq!(seen.find(secret), BTreeSet::new());
    }
    // The search finds, and the server did log what was done.
    assert!(!seen.find("canary_reader__g1").is_empty());
    let log = cluster.log();
    assert!(log.contains("SCRAM-SHA-256$") && log.contains("canary_reader__g1"), "the server logs");
}
