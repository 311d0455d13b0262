//! What declaring costs at compile time: 100 agents of 10 fields, beside the
//! same structs without the derive, and beside `bon` and `derive_builder`; and
//! the profiles that a program begins with, built from clean.
//!
//! ```text
//! cargo bench -p agent-iac-benches --bench lean            everything
//! cargo bench -p agent-iac-benches --bench lean -- agents  without the builds from clean
//! ```
//!
//! It writes small crates below `target/lean`, builds them there with debug
//! settings, and prints the times: the least of a few, since whatever else a
//! machine does only adds to one. The crates have lock files of their own, so
//! that `bon` and `derive_builder` are fetched by nobody else.
#![expect(clippy::print_stdout, reason = "a benchmark tells what it measured")]

mod crates;
#[path = "../measure.rs"]
mod measure;

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use self::{
    crates::{AGENTS, Form, PROFILES, write},
    measure::{arguments, load, timed},
};

/// How often each build is repeated.
const TIMES: usize = 3;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate has a folder")?;
    let folder = root.join("target/lean");
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, of which others want {} at the beginning", load()?);
    println!("\n{AGENTS} agents of 10 fields, debug build\n");
    row("", "built", "beside plain", "one edited", "");
    let mut plain = None;
    for form in [Form::Plain, Form::Agents, Form::Bon, Form::Builder] {
        match declared(root, &folder, form) {
            Ok([whole, edit, nothing]) => {
                let beside = plain.map_or(String::new(), |plain: Duration| {
                    let by = whole.as_secs_f64() - plain.as_secs_f64();
                    format!("{by:+.2} s")
                });
                plain = plain.or(Some(whole));
                let aim = match form {
                    Form::Agents => "aim: +1 s, 0.5 s; ",
                    _ => "",
                };
                let alone = format!("{aim}cargo alone, with nothing to do, {}", shown(nothing));
                row(form.name(), &shown(whole), &beside, &shown(edit), &alone);
            }
            // Whoever has no registry at hand still gets the others.
            Err(error) if form.is_of_others() => row(form.name(), "", "", "", &error.to_string()),
            Err(error) => return Err(error),
        }
    }
    if arguments().iter().any(|word| word == "agents") {
        return Ok(());
    }
    println!("\nFrom clean, debug build, with all dependencies\n");
    for profile in PROFILES {
        let krate = folder.join(profile.name);
        write(root, &krate, &profile.files())?;
        let target = folder.join("clean");
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        cargo(&krate, &target, &["fetch"])?;
        let (time, ()) = timed(|| cargo(&krate, &target, &["build", "--offline"]))?;
        row(profile.says, &shown(time), "", "", &format!("{} crates", count(&krate)?));
        fs::remove_dir_all(&target)?;
    }
    Ok(())
}

fn row(what: &str, whole: &str, beside: &str, edit: &str, more: &str) {
    println!("{what:<36} {whole:>10} {beside:>14} {edit:>12}   {more}");
}

fn shown(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// The times of building a crate without what it depends on, of building it
/// after one of its agents was edited, and of cargo that finds nothing to do.
fn declared(root: &Path, folder: &Path, form: Form) -> Result<[Duration; 3], Box<dyn Error>> {
    let target = folder.join("built");
    write(root, &folder.join("types"), &crates::types())?;
    let krate = folder.join(form.krate());
    write(root, &krate, &form.files())?;
    cargo(&krate, &target, &["build"])?;
    let build = || timed(|| cargo(&krate, &target, &["build", "--offline"])).map(|(time, ())| time);
    let [mut whole, mut edit, mut nothing] = [Duration::MAX; 3];
    for time in 0..TIMES {
        cargo(&krate, &target, &["clean", "--offline", "-p", form.krate()])?;
        whole = whole.min(build()?);
        let (name, text) = form.edited(time + 1);
        fs::write(krate.join(name), text)?;
        edit = edit.min(build()?);
        nothing = nothing.min(build()?);
    }
    Ok([whole, edit, nothing])
}

/// Runs cargo on a crate, and tells what it said where it fails.
fn cargo(krate: &Path, target: &Path, words: &[&str]) -> Result<(), Box<dyn Error>> {
    let cargo: PathBuf = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    let mut command = Command::new(cargo);
    command.args(words).current_dir(krate);
    // What a benchmark runs under is not what a user builds under.
    for name in ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    let output = command.env("CARGO_TARGET_DIR", target).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| line.starts_with("error")).unwrap_or_default();
    Err(format!("`cargo {}` failed in {}: {first}", words.join(" "), krate.display()).into())
}

/// How many crates are compiled for one, itself among them.
fn count(krate: &Path) -> Result<usize, Box<dyn Error>> {
    let cargo: PathBuf = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--prefix", "none", "--edges", "normal,build"])
        .current_dir(krate)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let all = text.lines().filter_map(|line| line.split(" (").next());
    Ok(all.filter(|name| !name.is_empty()).collect::<BTreeSet<_>>().len())
}
