//! A server that judges passwords, and so takes no verifier.
//!
//! No extension that does so is in the servers' packages (`passwordcheck`
//! takes verifiers), so a module of twenty lines stands in for one, at the
//! same place in the server, and is compiled by the test.

use std::process::Command;

use super::*;

on_each_version![a_server_that_refuses_verifiers_is_named_and_nothing_is_half_done];

/// Compiles the module for a version, into a folder that a server may enter.
fn module(version: u32, folder: &std::path::Path) -> String {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/refuse_verifiers.c");
    let module = folder.join("refuse_verifiers.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wall", "-Werror", &format!("-DVERSION={version}"), "-o"]);
    let compiled = cc.arg(&module).arg(source).output();
    let compiled = compiled.expect("who links Rust programs has a C compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    module.display().to_string()
}

async fn a_server_that_refuses_verifiers_is_named_and_nothing_is_half_done(
    shared: &'static Cluster,
) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    // The server runs as somebody else where the tests run as root.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let library = module(shared.version(), folder.path());
    let cluster = own(shared.version(), &[("shared_preload_libraries", &library)]);
    let world = World::new(cluster, "judged").await;
    let deployment = world.prepared(reader(&world)).await;
    let verifier = "ALTER ROLE @_heir PASSWORD 'SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='";
    let refused = world.admin.refused(&world.named(verifier)).await;
    assert_eq!(refused.text, "password type is not a plain text", "the module is at work");

    let report = try_apply(&deployment).await;
    let said = shown(&report);
    assert!(!report.is_complete(), "{said}");
    let what = "the server refused a SCRAM verifier in place of the password of the login \
                `judged_reader__g1`";
    assert!(said.contains(what), "{said}");
    assert!(said.contains("credcheck.encrypted_password_allowed"), "the repair is named: {said}");
    // What needs no password is done, and no login is half there.
    let roles = "SELECT rolname FROM pg_roles WHERE rolname ~ '^@_reader'";
    assert_eq!(world.rows(roles).await, ["judged_reader"]);
    let grants = "SELECT has_table_privilege('@_reader', 'sales.notes', 'INSERT')";
    assert_eq!(world.value(grants).await, "t");

    // Once the module is gone, the next run makes the login.
    cluster.stop();
    cluster.resume_with(&[]);
    apply(&deployment).await;
    clean(&deployment).await;
    let login = world.vaulted(&deployment, READER).await;
    world.enter(&login).await.run("SELECT note FROM sales.notes").await;
}
