//! The clusters that every other live test stands on: whose they are, who gets
//! in, and that nothing of them stays.

#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use agent_iac_tests::{
    on_each_version,
    postgres::{Cluster, VERSIONS},
};

on_each_version![
    it_is_the_version_that_it_says,
    a_random_password_is_refused_and_the_right_one_is_not,
    every_way_in_asks_for_a_password,
    its_log_has_each_statement,
    a_warning_is_heard,
    it_runs_as_an_ordinary_user,
];

async fn it_is_the_version_that_it_says(cluster: &Cluster) {
    let number = cluster.admin().await.value("SHOW server_version_num").await;
    assert_eq!(number.parse::<u32>().unwrap() / 10_000, cluster.version());
}

async fn a_random_password_is_refused_and_the_right_one_is_not(cluster: &Cluster) {
    let refusal = cluster.refusal("postgres", "random", "postgres").await;
    assert_eq!(refusal.code, "28P01");
    cluster.connect("postgres", cluster.password(), "postgres").await.unwrap();
}

async fn every_way_in_asks_for_a_password(cluster: &Cluster) {
    let ways = "SELECT DISTINCT auth_method FROM pg_hba_file_rules";
    assert_eq!(cluster.sql("postgres", ways).await, ["scram-sha-256"]);
}

async fn its_log_has_each_statement(cluster: &Cluster) {
    let admin = cluster.admin().await;
    admin.run("SELECT 'a needle in the log'").await;
    admin.refused("SELECT nothing_of_that_name").await;
    let log = cluster.log();
    assert!(log.contains("statement: SELECT 'a needle in the log'"), "{log}");
    assert!(log.contains("column \"nothing_of_that_name\" does not exist"), "{log}");
}

async fn a_warning_is_heard(cluster: &Cluster) {
    let admin = cluster.admin().await;
    admin.run("DO $$ BEGIN RAISE WARNING 'hear me'; END $$").await;
    let notices = admin.notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!((&*notices[0].code, &*notices[0].text), ("01000", "hear me"));
    assert_eq!(admin.notices(), []);
}

async fn it_runs_as_an_ordinary_user(cluster: &Cluster) {
    let process = cluster.admin().await.value("SELECT pg_backend_pid()").await;
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(!uid.split_whitespace().any(|id| id == "0"), "{uid}");
}

#[test]
fn copies_share_a_system_identifier_and_a_fresh_cluster_has_its_own() {
    let identifier = |cluster: &Cluster| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let query = "SELECT system_identifier FROM pg_control_system()";
        runtime.block_on(cluster.sql("postgres", query))
    };
    for version in VERSIONS {
        let (one, other, fresh) =
            (Cluster::start(version), Cluster::start(version), Cluster::fresh(version));
        assert_eq!(identifier(&one), identifier(&other), "PostgreSQL {version}");
        assert_ne!(identifier(&one), identifier(&fresh), "PostgreSQL {version}");
    }
}

#[test]
fn a_setting_of_ones_own_is_taken() {
    let cluster = Cluster::start_with(18, &[("max_connections", "7")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(cluster.sql("postgres", "SHOW max_connections")), ["7"]);
}

/// The process that serves a data directory.
fn process(data: &Path) -> PathBuf {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    Path::new("/proc").join(text.lines().next().unwrap())
}

/// Another process takes its time, but not this long.
#[allow(clippy::disallowed_methods, reason = "another process ends in real time")]
fn soon(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} is still not so after 10 s");
}

#[test]
fn nothing_is_left_of_a_cluster_that_a_panicking_test_had() {
    let (process, data) = std::thread::spawn(|| {
        let cluster = Cluster::start(15);
        let found = (process(&cluster.data()), cluster.data());
        assert!(found.0.exists());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _owned = cluster;
            std::panic::resume_unwind(Box::new("a test fails"));
        }));
        assert!(panicked.is_err());
        found
    })
    .join()
    .unwrap();
    assert!(!process.exists());
    assert!(!data.parent().unwrap().exists());
}

#[test]
fn nothing_is_left_of_a_cluster_whose_owner_was_killed() {
    for version in VERSIONS {
        let mut owner = Command::new(env!("CARGO_BIN_EXE_hold-cluster"))
            .arg(version.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut data = String::new();
        BufReader::new(owner.stdout.as_mut().unwrap()).read_line(&mut data).unwrap();
        let data = PathBuf::from(data.trim());
        let process = process(&data);
        assert!(process.exists());
        owner.kill().unwrap();
        owner.wait().unwrap();
        soon("the server's end", || !process.exists());
        soon("the removal of its files", || !data.parent().unwrap().exists());
    }
}
