//! Folders that appear when they are complete: written beside their place and renamed into it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What to do with something that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail.
    Keep,
    /// Put the new one in its place, once that is complete.
    Replace,
}

/// A folder that is being written beside its target. Dropped before [`put`](Aside::put), it
/// leaves nothing behind.
#[derive(Debug)]
pub struct Aside {
    /// Where it is until then.
    path: PathBuf,
    target: PathBuf,
    existing: Existing,
    mark: &'static str,
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Aside {
    /// Begins a folder that shall be `target`. What is replaced must have a file `mark`, by which
    /// it is known to be of the same kind. Fails (input) when there is something that may not be
    /// replaced, or (surroundings) like the disk.
    pub fn create(target: &Path, existing: Existing, mark: &'static str) -> Result<Self> {
        let path = sibling(target, "part")?;
        let aside = Aside { path, target: target.to_owned(), existing, mark };
        aside.replaces()?;
        let _ = fs::remove_dir_all(&aside.path);
        fs::create_dir_all(&aside.path)
            .map_err(|e| Error::io("make the folder", &aside.path, e))?;
        Ok(aside)
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is something to replace. Fails (input) when that may not be: it is to be
    /// kept, or is something that nobody has asked to delete.
    fn replaces(&self) -> Result<bool> {
        if self.target.symlink_metadata().is_err() {
            return Ok(false);
        }
        let refused = match self.existing {
            Existing::Keep => "there is something of this name already".to_owned(),
            Existing::Replace if self.target.join(self.mark).is_file() => return Ok(true),
            Existing::Replace => format!("this has no {}, so it is not replaced", self.mark),
        };
        Err(Error::input(refused).at(self.target.display()))
    }

    /// Makes the folder durable and renames it to its name. What was there is set aside first,
    /// since folders that are not empty cannot be renamed over, and put back if the renaming fails.
    /// Fails (surroundings) like the disk.
    pub fn put(self) -> Result<()> {
        sync(&self.path)?;
        let failed = |e| Error::io("write", &self.target, e);
        let old = sibling(&self.target, "old")?;
        let replaces = self.replaces()?;
        if replaces {
            fs::rename(&self.target, &old).map_err(failed)?;
        }
        if let Err(error) = fs::rename(&self.path, &self.target) {
            if replaces {
                let _ = fs::rename(&old, &self.target);
            }
            return Err(failed(error));
        }
        if replaces {
            fs::remove_dir_all(&old).map_err(|e| Error::io("remove", &old, e))?;
        }
        match self.target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
            _ => sync(Path::new(".")),
        }
    }
}

/// A name beside `target` that nobody else uses.
fn sibling(target: &Path, suffix: &str) -> Result<PathBuf> {
    let name = target.file_name();
    let name = name.ok_or_else(|| Error::input("not the name of a folder").at(target.display()))?;
    let id = std::process::id();
    Ok(target.with_file_name(format!(".{}.{id}.{suffix}", name.to_string_lossy())))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Surroundings errors.
pub fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|e| Error::io("sync", folder, e))
}

/// Writes a file and makes it durable.
///
/// # Errors
/// Surroundings errors.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = File::create(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, bytes).and(file.sync_all()));
    written.map_err(|e| Error::io("write", path, e))
}
