//! Logins, generation by generation.

use super::*;

on_each_version![a_login_that_was_changed_is_replaced_by_the_next_and_proved_dead];

/// Until rotation is a verb, a login is made anew when it is not what it
/// should be: the new generation is used, and then the old one ends.
async fn a_login_that_was_changed_is_replaced_by_the_next_and_proved_dead(
    cluster: &'static Cluster,
) {
    let world = World::new(cluster, "anew").await;
    let deployment = world.applied(reader(&world)).await;
    let first = world.vaulted(&deployment, READER).await;
    assert_eq!(first.user, "anew_reader__g1");
    let session = world.enter(&first).await;
    world.run("ALTER ROLE @_reader__g1 SET role = '@_owner'").await;

    // Done, and not only unproved: the new password was taken, the old one and
    // a random one were refused for the same reason.
    apply(&deployment).await;
    clean(&deployment).await;
    let second = world.vaulted(&deployment, READER).await;
    assert_eq!(second.user, "anew_reader__g2");
    assert_eq!(world.enter(&second).await.value("SELECT current_user").await, "anew_reader");
    assert!(session.simple_query("SELECT 1").await.is_err(), "the old one's session goes on");
    assert_eq!(world.refusal(&first).await.code, "28P01");
    let logins = "SELECT rolname FROM pg_roles WHERE rolname ~ '^@_reader__'";
    assert_eq!(world.rows(logins).await, ["anew_reader__g2"]);

    // The two overlapped: the next was let in before the first was switched off.
    let log = cluster.log();
    let lines = || log.lines().enumerate();
    let entered = lines().find(|(_, line)| line.contains("anew_reader__g2@anew"));
    let switched =
        lines().find(|(_, line)| line.contains("anew_reader__g1") && line.contains("NOLOGIN"));
    assert!(entered.unwrap().0 < switched.unwrap().0, "there was a gap");
}
