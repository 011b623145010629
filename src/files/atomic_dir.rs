//! Folders that appear under their name only when they are complete.
//!
//! A folder that replaces another one changes places with it in one step, so that there is always one
//! of them under the name. Where the disk cannot do that, the old folder is renamed first; if the
//! process is killed then, the name of the old folder tells the next process what to finish.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::durable::{sync_file, sync_folder, sync_parent};
use super::lock::{Lock, lock_of};
use super::target::folder_target;
use super::temporary::{claim, folder_of, replaced_name, sweep_beside};
use crate::error::{Error, Result};

/// How often a folder is put into its place if another process replaces or removes the target.
const ATTEMPTS: usize = 8;

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
    /// Tells other processes that this one lives.
    _lock: File,
}

impl Drop for AtomicDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Lets two folders change places; `false` if the disk cannot do that.
type Exchange = fn(&Path, &Path) -> io::Result<bool>;

impl AtomicDir {
    /// Begins a folder that will become `target`. An existing folder is replaced only if it holds
    /// at least one of the files `marks`, which tell that it is of the same kind; so a mistyped
    /// path deletes nothing else. A link stays, and the folder that it leads to is written. What killed processes left beside `target` is removed or finished.
    ///
    /// # Errors
    /// Input errors if the target exists and may not be replaced; surroundings errors of the disk.
    pub fn create(
        target: &Path,
        existing: Existing,
        marks: &'static [&'static str],
    ) -> Result<Self> {
        let target = folder_target(target)?;
        sweep_beside(&target);
        replaces(&target, existing, marks)?;
        let parent = folder_of(&target);
        fs::create_dir_all(parent).map_err(|e| Error::io("make the folder", parent, e))?;
        let (path, lock) = claim(&target, |path| {
            fs::create_dir(path)?;
            File::open(path)
        })?;
        Ok(AtomicDir { path, target, existing, marks, _lock: lock })
    }

    /// The folder to write into.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes everything in the folder durable and gives it the name of its target. At each moment
    /// there is the old folder or the new one under that name, or a record of what to finish.
    ///
    /// # Errors
    /// As for [`create`](AtomicDir::create); the target is then as it was.
    pub fn put(self) -> Result<()> {
        self.put_by(exchange, &mut || ())
    }

    /// As [`put`](AtomicDir::put); `step` is called before everything that changes a name.
    fn put_by(self, exchange: Exchange, step: &mut dyn FnMut()) -> Result<()> {
        sync_tree(&self.path)?;
        let failed = |e| Error::io("write", &self.target, e);
        for _ in 0..ATTEMPTS {
            step();
            if !replaces(&self.target, self.existing, self.marks)? {
                match fs::rename(&self.path, &self.target) {
                    Ok(()) => return sync_parent(&self.target),
                    // Another process was faster; what it wrote is replaced.
                    Err(e) if is_occupied(&e) && self.existing == Existing::Replace => continue,
                    Err(e) => return Err(failed(e)),
                }
            }
            match exchange(&self.path, &self.target) {
                Ok(true) => {
                    step();
                    // Dropping removes what is under the temporary name now: the old folder.
                    return sync_parent(&self.target);
                }
                Ok(false) => return self.put_in_two_steps(step),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(Error::surroundings("other processes keep replacing this folder")
            .at(self.target.display())
            .hint("run the command again when they have ended"))
    }

    /// Replaces the target by two renamings. The name that the old folder gets first tells the next
    /// process, if this one is killed, that the new folder is complete.
    fn put_in_two_steps(&self, step: &mut dyn FnMut()) -> Result<()> {
        let failed = |e| Error::io("write", &self.target, e);
        let old = replaced_name(&self.path);
        let held = File::open(&self.target).map_err(failed)?;
        if lock_of(&held).map_err(failed)? == Lock::Held {
            return Err(Error::surroundings("another process is replacing this folder")
                .at(self.target.display())
                .hint("run the command again when it has ended"));
        }
        fs::rename(&self.target, &old).map_err(failed)?;
        step();
        if let Err(error) = fs::rename(&self.path, &self.target) {
            let _ = fs::rename(&old, &self.target);
            return Err(failed(error));
        }
        step();
        sync_parent(&self.target)?;
        // If this fails, the next process removes it.
        let _ = fs::remove_dir_all(&old);
        Ok(())
    }
}

/// Whether the target exists. Fails (input) if it exists and may not be replaced.
fn replaces(target: &Path, existing: Existing, marks: &[&str]) -> Result<bool> {
    if target.symlink_metadata().is_err() {
        return Ok(false);
    }
    let has_mark = || marks.iter().any(|mark| target.join(mark).is_file());
    let refused = match existing {
        Existing::Keep => {
            let refused = Error::input("there is something of this name already");
            return Err(refused
                .at(target.display())
                .hint("name another folder, or replace this one with --force"));
        }
        Existing::Replace if has_mark() => return Ok(true),
        Existing::Replace => format!("this has no {}, so it is not replaced", marks.join(" or ")),
    };
    Err(Error::input(refused).at(target.display()))
}

fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        // What file systems answer that do not know the exchange, and kernels that do not.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a folder could not be renamed because there is one of the new name.
fn is_occupied(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
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

    /// Copies a folder as a killed process would leave it: without locks.
    fn snapshot(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let (path, copy) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                snapshot(&path, &copy);
            } else {
                fs::copy(path, copy).unwrap();
            }
        }
    }

    #[test]
    fn a_process_killed_at_any_step_of_a_replacement_leaves_the_old_or_the_new_folder() {
        let exchanges: [Exchange; 2] = [exchange, |_, _| Ok(false)];
        for (kind, exchange) in exchanges.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let (live, target) = (folder.path().join("live"), folder.path().join("live/target"));
            fs::create_dir(&live).unwrap();
            put(&target, Existing::Keep, "old").unwrap();
            fs::write(live.join(".notes.part"), "").unwrap();
            let new = AtomicDir::create(&target, Existing::Replace, &["mark"]).unwrap();
            fs::create_dir(new.path().join("below")).unwrap();
            fs::write(new.path().join("below/text"), "new").unwrap();
            fs::write(new.path().join("mark"), "").unwrap();
            let mut kills = Vec::new();
            new.put_by(exchange, &mut || {
                let killed = folder.path().join(format!("killed{}", kills.len()));
                snapshot(&live, &killed);
                kills.push(killed);
            })
            .unwrap();
            assert_eq!(kills.len(), [2, 3][kind]);
            let mut found = Vec::new();
            for killed in &kills {
                let target = killed.join("target");
                assert!(kind == 1 || target.exists(), "nothing under the name at {killed:?}");
                sweep_beside(&target);
                found.push(fs::read_to_string(target.join("below/text")).unwrap());
                assert_eq!(fs::read_dir(killed).unwrap().count(), 2, "{killed:?}");
                assert!(killed.join(".notes.part").exists());
            }
            assert_eq!(found[0], "old");
            assert!(found[1..].iter().all(|text| text == "new"), "{found:?}");
            assert_eq!(fs::read(target.join("below/text")).unwrap(), b"new");
            assert_eq!(fs::read_dir(&live).unwrap().count(), 2);
        }
    }

    #[test]
    fn many_that_replace_one_folder_at_once_all_succeed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        std::thread::scope(|scope| {
            for text in ["1", "2", "3", "4"] {
                let target = &target;
                scope.spawn(move || put(target, Existing::Replace, text).unwrap());
            }
        });
        assert!(target.join("below/text").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn through_a_link_the_folder_that_it_leads_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("target", at("link")).unwrap();
        put(&at("link"), Existing::Keep, "1").unwrap();
        put(&at("link"), Existing::Replace, "2").unwrap();
        assert!(at("link").symlink_metadata().unwrap().is_symlink());
        assert!(at("target").symlink_metadata().unwrap().is_dir());
        assert_eq!(fs::read(at("target/below/text")).unwrap(), b"2");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let error = put(&at("socket"), Existing::Replace, "").unwrap_err();
        assert!(error.to_string().contains("expected a folder, found a socket"), "{error}");
    }

    #[test]
    fn a_folder_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(AtomicDir::create(&folder.path().join("a"), Existing::Keep, &[]).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
