//! What consumers may be told on this machine, from a file of the host's.
//!
//! A fleet names files, commands and addresses; whoever runs this program says
//! here which of them are meant. It is therefore a file beside the fleet's
//! repository and not in it, that nobody else may write.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use agent_iac::{
    consumer::Allowed,
    error::{Error, ErrorKind, Result},
    secret::Secret,
};
use toml::de::{DeTable, DeValue};

const KEYS: [&str; 4] = ["files_below", "pid_files_below", "commands", "webhooks"];

/// Reads what is allowed.
pub(crate) fn allowed(path: &Path) -> Result<Allowed> {
    let text = String::from_utf8(read(path, 0o022, "written")?)
        .map_err(|_| wrong(path, "it is not UTF-8 text"))?;
    let table = DeTable::parse(&text)
        .map_err(|error| wrong(path, error.message().lines().next().unwrap_or_default()))?;
    let mut allowed = Allowed::nothing();
    for (key, value) in table.get_ref() {
        let (key, value) = (key.get_ref().as_ref(), value.get_ref());
        match key {
            "files_below" => {
                for folder in folders(path, key, value)? {
                    allowed = allowed.files_below(folder);
                }
            }
            "pid_files_below" => {
                for folder in folders(path, key, value)? {
                    allowed = allowed.pid_files_below(folder);
                }
            }
            "commands" => {
                for (name, words) in entries(path, key, value)? {
                    let mut words = texts(words).unwrap_or_default().into_iter();
                    let program = words.next().filter(|program| Path::new(program).is_absolute());
                    let program = program.ok_or_else(|| {
                        let form = "[\"/usr/bin/systemctl\", \"reload\", \"app\"]";
                        wrong(path, &format!("write the command `{name}` as {form}"))
                    })?;
                    allowed = allowed.command(name, program, words);
                }
            }
            "webhooks" => {
                for (host, file) in entries(path, key, value)? {
                    let file = file.as_str().filter(|file| Path::new(file).is_absolute());
                    let file = file.ok_or_else(|| {
                        wrong(path, &format!("give `{host}` the path of the file with its key"))
                    })?;
                    let mut key = read(Path::new(file), 0o077, "read")?;
                    // An editor ends a file with a line.
                    if key.last() == Some(&b'\n') {
                        key.pop();
                    }
                    if key.is_empty() {
                        return Err(wrong(Path::new(file), "it holds no key"));
                    }
                    allowed = allowed.webhooks_of(host, Secret::from_bytes(key));
                }
            }
            _ => {
                let known = KEYS.join("`, `");
                return Err(wrong(path, &format!("`{key}` is no key; there are `{known}`")));
            }
        }
    }
    Ok(allowed)
}

/// Reads a file that others may not have their hands on.
fn read(path: &Path, others: u32, what: &str) -> Result<Vec<u8>> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("`{shown}` cannot be read")).caused_by(error)
    };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & others != 0 {
        return Err(Error::new(ErrorKind::Refused, format!("`{shown}` may be {what} by others"))
            .help(format!("make it its owner's, as `chmod go-{} {shown}`", &what[..1])));
    }
    std::fs::read(path).map_err(failed)
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("`{}`: {what}", path.display()))
}

fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    let items = value.as_array()?;
    items.iter().map(|item| Some(item.get_ref().as_str()?.to_owned())).collect()
}

fn folders(path: &Path, key: &str, value: &DeValue<'_>) -> Result<Vec<PathBuf>> {
    let folders = texts(value).unwrap_or_default();
    if folders.is_empty() || folders.iter().any(|folder| !Path::new(folder).is_absolute()) {
        let form = "[\"/srv/app\"]";
        return Err(wrong(path, &format!("write `{key}` as {form}, with whole paths")));
    }
    Ok(folders.into_iter().map(PathBuf::from).collect())
}

fn entries<'v>(
    path: &Path,
    key: &str,
    value: &'v DeValue<'_>,
) -> Result<Vec<(String, &'v DeValue<'v>)>> {
    let table = value.as_table().ok_or_else(|| wrong(path, &format!("`{key}` is a table")))?;
    Ok(table.iter().map(|(name, value)| (name.get_ref().to_string(), value.get_ref())).collect())
}
