//! Logins, generation by generation.

use super::*;

on_each_version![a_lost_login_is_made_anew_and_the_old_one_is_dead];

/// Until rotation is a verb, a login is made anew when it is not what it
/// should be: the new generation is used, and then the old one ends.
async fn a_lost_login_is_made_anew_and_the_old_one_is_dead(cluster: &'static Cluster) {
    let world = World::new(cluster, "anew").await;
    let deployment = world.applied(reader(&world)).await;
    let first = world.vaulted(&deployment, READER).await;
    assert_eq!(first.user, "anew_reader__g1");
    let session = world.enter(&first).await;

    // What stood in the vault is lost: nobody can read it any more.
    for entry in std::fs::read_dir(world.folder.path().join("vault/secrets")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().contains("anew+reader") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let plan = planned(&deployment).await;
    assert_eq!(plan.steps.len(), 1, "{plan:#?}");
    let report = apply_plan(&deployment, plan).await;
    assert!(report.is_complete(), "{}", shown(&report));
    clean(&deployment).await;

    let second = world.vaulted(&deployment, READER).await;
    assert_eq!(second.user, "anew_reader__g2");
    assert_eq!(world.enter(&second).await.value("SELECT current_user").await, "anew_reader");
    assert!(session.simple_query("SELECT 1").await.is_err(), "the old one's session goes on");
    assert_eq!(world.refusal(&first).await.code, "28P01");
    let logins = "SELECT rolname FROM pg_roles WHERE rolname ~ '^@_reader__'";
    assert_eq!(world.rows(logins).await, ["anew_reader__g2"]);
}
