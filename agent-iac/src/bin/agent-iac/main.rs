//! The stock binary: the whole command line for a fleet that is written as
//! text, on the embedded systems, and on PostgreSQL where that was compiled in.
//!
//! Everything that it does, a deploy binary of your own can do with other systems.

#[cfg(all(feature = "process", unix))]
mod host;
#[cfg(feature = "postgres")]
mod postgres;

use std::{ffi::OsStr, path::Path, process::ExitCode, sync::Arc};

#[cfg(all(feature = "process", unix))]
use agent_iac::consumer::{Allowed, LocalTeller};
use agent_iac::{
    cli::{Asked, Need, Program, ProgramOption},
    clock::{SystemClock, SystemEntropy},
    config::{self, Types},
    deployment::Deployment,
    error::{Error, ErrorKind, Result},
    fleet::Fleet,
    ledger::MemoryLedger,
    provider::Reach,
    providers::authority::AuthorityProvider,
};

const HEADING: &str = "The fleet";

fn main() -> ExitCode {
    let options = [
        ProgramOption::new("fleet", "FILE", "The text fleet").or("fleet.toml"),
        ProgramOption::new("environment", "NAME", "The environment that it is for")
            .or("production"),
        ProgramOption::new("folder", "FOLDER", "Where ledger, vault and authority are kept")
            .or(".agent-iac"),
    ];
    let options = options.into_iter().map(|option| option.under(HEADING));
    #[cfg(all(feature = "process", unix))]
    let options = options.chain([ProgramOption::new(
        "host",
        "FILE",
        "What consumers may be told on this machine; without it, nothing but secrets in the vault",
    )
    .under(HEADING)]);
    #[cfg(feature = "postgres")]
    let options = options.chain(postgres::options());
    options.fold(Program::new(), Program::option).main(deployment)
}

/// The systems behind the fleet, as far as the command wants them.
fn deployment(asked: &Asked) -> Result<Deployment> {
    let file = asked.path("fleet").unwrap_or_default();
    let folder = asked.path("folder").unwrap_or_default();
    let environment = asked.text("environment").unwrap_or_default();
    let deployment = match asked.need() {
        Need::Judge => {
            let ledger = Arc::new(MemoryLedger::new(Arc::new(SystemClock)));
            let authority = AuthorityProvider::new(folder.join("authority.db"));
            Deployment::new(load(&file, environment)?, environment, ledger, Arc::new(SystemEntropy))
                .with_provider("authority", Arc::new(authority))
        }
        // Who imports may have no fleet yet, and wants nothing to be made.
        Need::Survey => {
            let fleet = if file.exists() { load(&file, environment)? } else { unwritten(&file) };
            Deployment::embedded_to_look_at(fleet, environment, &folder)?
        }
        Need::Begin => begin(asked, &file, environment, &folder)?,
        Need::Recorded => recorded(asked, &file, environment, &folder)?,
        _ => Deployment::embedded_standing(load(&file, environment)?, environment, &folder)?,
    };
    #[cfg(all(feature = "process", unix))]
    let deployment = match asked.need() {
        Need::Judge | Need::Survey => deployment,
        _ => deployment.with_processes(&folder)?,
    };
    #[cfg(all(feature = "process", unix))]
    let deployment = {
        let allowed = asked.path("host").map(|file| host::allowed(&file)).transpose()?;
        let allowed = allowed.unwrap_or_else(Allowed::nothing);
        let teller = LocalTeller::new(allowed, deployment.stores().clone());
        deployment.with_teller(Arc::new(teller))
    };
    #[cfg(feature = "postgres")]
    let deployment = postgres::add_to(deployment, asked)?;
    Ok(deployment)
}

fn load(file: &Path, environment: &str) -> Result<Fleet> {
    if !file.exists() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no fleet `{}`", file.display()),
        )
        .help(
            "give its file with --fleet; `import` writes one of what stands in a system, and \
             the README has one to begin with",
        ));
    }
    let types = Types::builtin();
    let mistakes = match config::load(file, &types) {
        Ok(fleet) => return Ok(fleet),
        Err(mistakes) => mistakes,
    };
    // Nothing is added to this text by a program, so what it does not name is
    // missing, and is told with the rest.
    let text = std::fs::read_to_string(file);
    let shown = file.display().to_string();
    let all =
        text.ok().and_then(|text| config::blueprint(&text, &shown, environment, &types).err());
    Err(all.filter(|all| all.iter().count() >= mistakes.iter().count()).unwrap_or(mistakes).into())
}

/// The fleet where it may be applied for the first time.
fn begin(asked: &Asked, file: &Path, environment: &str, folder: &Path) -> Result<Deployment> {
    let fleet = load(file, environment)?;
    let is_new = !folder.exists();
    let deployment = Deployment::embedded(fleet, environment, folder)?;
    if is_new {
        asked.note(format!(
            "A new ledger begins in {}, with a vault and its keys; Git is told to pass over it.",
            folder.display()
        ));
    }
    Ok(deployment)
}

/// What is recorded in the folder. A fleet that is wrong or away keeps nobody
/// from stopping an agent: its name is in the ledger as well.
fn recorded(asked: &Asked, file: &Path, environment: &str, folder: &Path) -> Result<Deployment> {
    let (name, _) = Deployment::embedded_names(folder)?;
    let fleet = match config::load(file, &Types::builtin()) {
        Ok(fleet) => fleet,
        Err(mistakes) => {
            let mut fleet = Fleet::new(name);
            // What stands in the text of them is how far they are watched.
            let said = config::names(file);
            let reach = |name: &str| said.reach(name).unwrap_or_default();
            for provider in ["authority", "process", "postgres"] {
                fleet.provider(provider, reach(provider));
            }
            fleet.store("vault");
            if file.exists() {
                asked.warn_of(mistakes);
            }
            asked.warn(format!(
                "the fleet `{}` cannot be read; going on with what the ledger records",
                file.display()
            ));
            fleet
        }
    };
    Deployment::embedded_standing(fleet, environment, folder)
}

/// A fleet that nobody has written yet, called as its file will be.
fn unwritten(path: &Path) -> Fleet {
    let name = path.file_stem().and_then(OsStr::to_str).unwrap_or("fleet");
    let mut fleet = Fleet::new(name);
    fleet.provider("authority", Reach::Watched).store("vault");
    fleet
}
