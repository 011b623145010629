//! Folders that appear under their name only when they are complete.

use std::fs;
use std::path::{Path, PathBuf};

use super::durable::{sync_file, sync_folder, sync_parent};
use super::{PARTIAL, sibling};
use crate::error::{Error, Result};

/// What to do if the target exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it as it is and fail.
    Keep,
    /// Replace it once the new folder is complete.
    Replace,
}

/// A folder that is being written under a temporary name next to its target. If it is dropped
/// before [`put`](AtomicDir::put), it is removed.
#[derive(Debug)]
pub struct AtomicDir {
    /// The temporary name.
    path: PathBuf,
    target: PathBuf,
    existing: Existing,
    marks: &'static [&'static str],
}

impl Drop for AtomicDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl AtomicDir {
    /// Begins a folder that will become `target`. An existing folder is replaced only if it holds
    /// at least one of the files `marks`, which tell that it is of the same kind; so a mistyped
    /// path deletes nothing else.
    ///
    /// # Errors
    /// Input errors if the target exists and may not be replaced; surroundings errors of the disk.
    pub fn create(
        target: &Path,
        existing: Existing,
        marks: &'static [&'static str],
    ) -> Result<Self> {
        let path = sibling(target, PARTIAL)?;
        let folder = AtomicDir { path, target: target.to_owned(), existing, marks };
        folder.replaces()?;
        let _ = fs::remove_dir_all(&folder.path);
        fs::create_dir_all(&folder.path)
            .map_err(|e| Error::io("make the folder", &folder.path, e))?;
        Ok(folder)
    }

    /// The folder to write into.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the target exists. Fails (input) if it exists and may not be replaced.
    fn replaces(&self) -> Result<bool> {
        if self.target.symlink_metadata().is_err() {
            return Ok(false);
        }
        let has_mark = || self.marks.iter().any(|mark| self.target.join(mark).is_file());
        let refused = match self.existing {
            Existing::Keep => {
                let refused = Error::input("there is something of this name already");
                return Err(refused
                    .at(self.target.display())
                    .hint("name another folder, or replace this one with --force"));
            }
            Existing::Replace if has_mark() => return Ok(true),
            Existing::Replace => {
                format!("this has no {}, so it is not replaced", self.marks.join(" or "))
            }
        };
        Err(Error::input(refused).at(self.target.display()))
    }

    /// Makes everything in the folder durable and renames the folder to its target. An existing
    /// target is renamed first, since only an empty folder can be renamed over; it is put back if
    /// the second renaming fails, and removed if it succeeds.
    ///
    /// # Errors
    /// As for [`create`](AtomicDir::create). The target is then as it was; only if the old folder
    /// cannot be removed, the target is the new one.
    pub fn put(self) -> Result<()> {
        sync_tree(&self.path)?;
        let failed = |e| Error::io("write", &self.target, e);
        let old = sibling(&self.target, ".old")?;
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
        sync_parent(&self.target)
    }
}

/// Makes every file and folder below `folder`, and the folder itself, durable.
fn sync_tree(folder: &Path) -> Result<()> {
    let failed = |e| Error::io("read the folder", folder, e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            let synced = fs::File::open(&path).and_then(|file| sync_file(&file));
            synced.map_err(|e| Error::io("sync", &path, e))?;
        }
    }
    sync_folder(folder).map_err(|e| Error::io("sync", folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(target: &Path, existing: Existing, text: &str) -> Result<()> {
        let folder = AtomicDir::create(target, existing, &["mark", "other"])?;
        fs::create_dir(folder.path().join("below")).unwrap();
        fs::write(folder.path().join("below/text"), text).unwrap();
        fs::write(folder.path().join("mark"), "").unwrap();
        folder.put()
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole_and_only_where_that_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        put(&target, Existing::Keep, "1").unwrap();
        fs::write(target.join("old file"), "").unwrap();
        let refused = put(&target, Existing::Keep, "2").unwrap_err();
        assert!(refused.advice().unwrap().contains("--force"), "{refused}");
        assert_eq!(fs::read(target.join("below/text")).unwrap(), b"1");
        put(&target, Existing::Replace, "3").unwrap();
        assert_eq!(fs::read(target.join("below/text")).unwrap(), b"3");
        assert!(!target.join("old file").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_of_another_kind_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("thesis");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("chapter-1"), "text").unwrap();
        let error = put(&target, Existing::Replace, "").unwrap_err();
        assert!(error.to_string().contains("has no mark or other"), "{error}");
        assert_eq!(fs::read(target.join("chapter-1")).unwrap(), b"text");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(AtomicDir::create(&folder.path().join("a"), Existing::Keep, &[]).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
