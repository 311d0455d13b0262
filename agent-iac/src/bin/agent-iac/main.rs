//! The stock binary: the whole command line for a fleet that is written as
//! text, on the embedded systems, and on PostgreSQL where that was compiled in.
//!
//! Everything that it does, a deploy binary of your own can do with other systems.

#[cfg(feature = "postgres")]
mod postgres;

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

use agent_iac::{
    cli,
    config::{self, Types},
    deployment::Deployment,
    fleet::Fleet,
    provider::Reach,
};

const OPTIONS: &str = "\
The fleet:
      --fleet <FILE>          The text fleet [default: fleet.toml]
      --environment <NAME>    The environment that it is for [default: production]
      --folder <FOLDER>       Where ledger, vault and authority are kept [default: .agent-iac]

`schema` prints the JSON Schema of text fleets, for editors. `import` needs no fleet: the one
that it writes is called as the file is.

";

/// What this program takes for itself, before the command line has the rest.
struct Options {
    fleet: PathBuf,
    environment: String,
    folder: PathBuf,
    #[cfg(feature = "postgres")]
    postgres: postgres::Postgres,
    rest: Vec<OsString>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args_os()) {
        Ok(options) => options,
        Err(message) => {
            // 2 is the code of every usage error.
            return print(&mut std::io::stderr(), &format!("error: {message}\n"), 2);
        }
    };
    let first = options.rest.get(1).map(OsString::as_os_str);
    if first == Some(OsStr::new("schema")) {
        return print(&mut std::io::stdout(), &config::json_schema(&Types::builtin()), 0);
    }
    let help = [None, Some(OsStr::new("--help")), Some(OsStr::new("-h"))];
    if help.contains(&first) {
        print(&mut std::io::stderr(), OPTIONS, 0);
        #[cfg(feature = "postgres")]
        print(&mut std::io::stderr(), postgres::OPTIONS, 0);
    }
    let Options { fleet, environment, folder, rest, .. } = options;
    let importing = command(&rest) == Some(OsStr::new("import"));
    #[cfg(feature = "postgres")]
    let with_systems = |deployment| options.postgres.add_to(deployment);
    #[cfg(not(feature = "postgres"))]
    let with_systems = Ok;
    cli::main_with(rest, || {
        if importing {
            // Who imports may have no fleet yet, and wants nothing to be made.
            let fleet = if fleet.exists() {
                config::load(&fleet, &Types::builtin())?
            } else {
                unwritten(&fleet)
            };
            return with_systems(Deployment::embedded_to_look_at(fleet, environment, folder)?);
        }
        let fleet = config::load(&fleet, &Types::builtin())?;
        let deployment = Deployment::embedded(fleet, environment, &folder)?;
        #[cfg(all(feature = "process", unix))]
        let deployment = deployment.with_processes(&folder)?;
        with_systems(deployment)
    })
}

/// A fleet that nobody has written yet, called as its file will be.
fn unwritten(path: &Path) -> Fleet {
    let name = path.file_stem().and_then(OsStr::to_str).unwrap_or("fleet");
    let mut fleet = Fleet::new(name);
    fleet.provider("authority", Reach::Watched).store("vault");
    fleet
}

/// The command among the words, which options may stand before.
fn command(words: &[OsString]) -> Option<&OsStr> {
    let mut words = words.iter().skip(1).map(OsString::as_os_str);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--color" | "--progress" | "--json-into") => {
                words.next();
            }
            Some(option) if option.starts_with('-') => {}
            _ => return Some(word),
        }
    }
    None
}

fn print(stream: &mut dyn std::io::Write, text: &str, code: u8) -> ExitCode {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Ok(()) => ExitCode::from(code),
        // Who stopped reading has nothing to be told.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Takes the options out, wherever they stand before a `--`.
fn options(args: impl IntoIterator<Item = OsString>) -> Result<Options, String> {
    let mut options = Options {
        fleet: "fleet.toml".into(),
        environment: "production".to_owned(),
        folder: ".agent-iac".into(),
        #[cfg(feature = "postgres")]
        postgres: postgres::Postgres::default(),
        rest: Vec::new(),
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        if text == "--" {
            options.rest.push(arg);
            options.rest.extend(args);
            break;
        }
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        #[cfg(feature = "postgres")]
        let is_of_a_system = postgres::Postgres::takes(name);
        #[cfg(not(feature = "postgres"))]
        let is_of_a_system = false;
        if !is_of_a_system && !matches!(name, "--fleet" | "--environment" | "--folder") {
            options.rest.push(arg);
            continue;
        }
        let value = inline.or_else(|| args.next()).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| format!("`{name}` needs a value"))?;
        match name {
            "--fleet" => options.fleet = value.into(),
            "--folder" => options.folder = value.into(),
            #[cfg(feature = "postgres")]
            name if is_of_a_system => {
                let value = value.into_string().map_err(|_| format!("`{name}` is not text"))?;
                options.postgres.set(name, value);
            }
            _ => {
                let name = value.into_string();
                options.environment = name.map_err(|_| "the environment is not text")?;
            }
        }
    }
    Ok(options)
}
