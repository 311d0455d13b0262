//! A file that appears whole and durable, or not at all, and over no other.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, ErrorKind, Result},
    plan::render::printable,
};

/// A file under another name, until it is placed. What is dropped before is
/// removed; what a crash leaves has a name that ends in `.part`.
#[derive(Debug)]
pub(crate) struct NewFile {
    target: PathBuf,
    part: PathBuf,
    file: File,
}

impl NewFile {
    /// Begins one in the target's folder.
    pub(crate) fn begin(target: &Path) -> Result<Self> {
        if target.symlink_metadata().is_ok() {
            return Err(Self::there_already(target));
        }
        let mut name = target
            .file_name()
            .ok_or_else(|| {
                let shown = printable(&target.display().to_string());
                Error::new(ErrorKind::InvalidInput, format!("`{shown}` names no file"))
                    .help("give the path of a file that is not there yet")
            })?
            .to_owned();
        // Whoever writes the same file at the same time has another name, and
        // the one who comes second is refused when it is placed.
        name.push(format!(".{}.part", std::process::id()));
        let part = target.with_file_name(name);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&part);
        let file = file.map_err(|error| Self::failed(&part, error))?;
        Ok(Self { target: target.to_owned(), part, file })
    }

    /// Where it stands until it is placed.
    #[cfg(feature = "sqlite")]
    pub(crate) fn part(&self) -> &Path {
        &self.part
    }

    pub(crate) fn writer(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes it durable and gives it its name; from then on it is there.
    pub(crate) fn place(self) -> Result<()> {
        let failed = |error| Self::failed(&self.target, error);
        self.file.sync_all().map_err(failed)?;
        // A link refuses a name that is taken, which a rename would not.
        match fs::hard_link(&self.part, &self.target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Self::there_already(&self.target));
            }
            // A file system without links.
            Err(_) if self.target.symlink_metadata().is_err() => {
                fs::rename(&self.part, &self.target).map_err(failed)?;
            }
            Err(_) => return Err(Self::there_already(&self.target)),
        }
        let folder = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_folder(folder.unwrap_or(Path::new("."))).map_err(failed)
    }

    fn there_already(path: &Path) -> Error {
        let shown = printable(&path.display().to_string());
        Error::new(ErrorKind::InvalidInput, format!("`{shown}` is there already"))
            .help("give another path, or move it away; nothing is overwritten")
    }

    pub(crate) fn failed(path: &Path, error: io::Error) -> Error {
        let shown = printable(&path.display().to_string());
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("`{shown}` could not be written"))
            .help("check its folder, the space there, and that this user may write to it")
            .caused_by(error)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Placed, it has another name as well; and one that stays is harmless.
        let _: io::Result<()> = fs::remove_file(&self.part);
    }
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Windows writes names through and opens no folder.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the other systems can fail")]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
