//! Checking a fleet in `build.rs`.

use agent_iac::{build, config::Types};

use super::SOUND;

#[test]
fn a_sound_file_becomes_a_blueprint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.toml");
    std::fs::write(&path, SOUND).unwrap();
    let blueprint = build::validate(&path, "production", &Types::builtin()).unwrap();
    assert_eq!(blueprint.environment(), "production");
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake_with_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.toml");
    let mistakes = build::validate(&path, "production", &Types::builtin()).unwrap_err();
    assert!(mistakes.to_string().contains("fleet.toml:1:1: error[IAC0013]"), "{mistakes}");
    std::fs::write(&path, b"fleet = 'x'\n\xff").unwrap();
    let mistakes = build::validate(&path, "production", &Types::builtin()).unwrap_err();
    assert!(mistakes.to_string().contains("fleet.toml:2:1: error[IAC0013]"), "{mistakes}");
}
