//! The example of rotations on PostgreSQL tells what it says that it tells.

use std::process::Command;

use agent_iac_tests::postgres::Cluster;

/// On one version: what rotates is looked at on each in the lives.
#[test]
fn no_client_is_refused_while_logins_rotate_under_it() {
    Cluster::with_shared(17, async |cluster| {
        let folder = tempfile::tempdir().unwrap();
        let database = cluster.database("rotating").await;
        let url = format!("postgresql://postgres@127.0.0.1:{}/{database}", cluster.port());
        let told = Command::new(env!("CARGO_BIN_EXE_rotation-story"))
            .args(["--rotations", "3", "--url", &url])
            .arg(folder.path().join("rotation"))
            .env("PGPASSWORD", cluster.password())
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8(told.stdout).unwrap();
        let errors = String::from_utf8(told.stderr).unwrap();
        assert!(told.status.success(), "{text}\n{errors}");
        for part in ["none refused", "were ended with their logins", "3 ends proved"] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains(cluster.password()) && !errors.contains(cluster.password()));
        let admin = cluster.admin_of(&database).await;
        let left = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'agent\\_iac\\_rotation%'";
        assert_eq!(admin.rows(left).await, [""; 0]);
    });
}
