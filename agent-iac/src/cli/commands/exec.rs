//! `exec`: an agent's process, in exactly its environment.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use rustix::process::geteuid;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::Signals,
};

use super::Cx;
use crate::{
    address::{Address, Instance},
    cli::{Outcome, args},
    clock::block_on,
    error::{Error, ErrorKind, Result},
    providers::process::exec::Passing,
};

pub(super) fn exec(cx: &Cx<'_>, args: &args::Exec) -> Result<Outcome> {
    let (agent, runtime) = target(&args.agent)?;
    let below = args.private.as_ref().map_or_else(
        || {
            let own = cx.env.variable("XDG_RUNTIME_DIR").map(PathBuf::from);
            in_memory(own, geteuid().as_raw(), Path::is_dir).unwrap_or_else(|| {
                let folder = std::env::temp_dir();
                tell(&format!(
                    "no folder of this machine is known to be in memory, so secrets lie below \
                     `{}`, which may be a disk; name another one with `--private`",
                    folder.display()
                ));
                folder
            })
        },
        |folder| cx.env.path(folder),
    );
    let mut exec = block_on(cx.deployment.exec(&agent, runtime.as_deref(), below))?;
    if !args.command.is_empty() {
        exec = exec.command(args.command.iter().cloned());
    }
    // A terminal is somebody who may see what they typed; anything else is a log.
    if !cx.env.out_is_terminal {
        exec = exec.masking_out_into(Box::new(std::io::stdout()));
    }
    if !cx.env.err_is_terminal {
        exec = exec.masking_err_into(Box::new(std::io::stderr()));
    }
    let exec = exec.on_terminal(cx.env.input_is_terminal).telling(tell);
    let passing = Passing::default();
    let all = [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2];
    let mut signals = Signals::new(all).map_err(|error| {
        Error::new(ErrorKind::Io, "signals cannot be passed on").caused_by(error)
    })?;
    let handle = signals.handle();
    let (pass, on_terminal) = (passing.clone(), cx.env.input_is_terminal);
    let thread = std::thread::spawn(move || {
        for signal in signals.forever() {
            // A terminal sends these to the process as well.
            if on_terminal && [SIGINT, SIGQUIT].contains(&signal) {
                pass.note(signal);
            } else {
                pass.pass(signal);
            }
        }
    });
    cx.env.passes_on.store(true, Ordering::SeqCst);
    let code = exec.run(&passing);
    cx.env.passes_on.store(false, Ordering::SeqCst);
    handle.close();
    let _its_panic_is_told: std::thread::Result<()> = thread.join();
    Ok(Outcome::Exited(code?))
}

fn tell(text: &str) {
    use std::io::Write as _;
    // There is nowhere left to say that standard error is gone.
    let _: std::io::Result<()> = writeln!(std::io::stderr(), "exec: {text}");
}

/// The folder for secrets that leaves no trace on a disk: that of the session, or
/// one that this system keeps in memory.
fn in_memory(own: Option<PathBuf>, user: u32, is_there: fn(&Path) -> bool) -> Option<PathBuf> {
    let of_user = PathBuf::from(format!("/run/user/{user}"));
    let known = own.into_iter().chain([of_user, PathBuf::from("/dev/shm")]);
    known.into_iter().find(|folder| is_there(folder))
}

/// An agent, or one of its runtimes.
fn target(text: &str) -> Result<(Instance, Option<String>)> {
    if let Ok(agent) = text.parse::<Instance>() {
        return Ok((agent, None));
    }
    let address = text.parse::<Address>()?;
    Ok((address.instance().clone(), Some(address.resource().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_lie_in_memory_wherever_the_machine_has_a_folder_there() {
        let own = || Some(PathBuf::from("/run/own"));
        let below = |own, is_there| in_memory(own, 7, is_there);
        let folder = |path: &str| Some(PathBuf::from(path));
        assert_eq!(below(own(), |_| true), folder("/run/own"));
        assert_eq!(below(own(), |at| at != Path::new("/run/own")), folder("/run/user/7"));
        assert_eq!(below(None, |_| true), folder("/run/user/7"));
        assert_eq!(below(None, |at| at == Path::new("/dev/shm")), folder("/dev/shm"));
        assert_eq!(below(own(), |_| false), None);
    }
}
