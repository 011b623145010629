//! Temporary names of files and folders that are being written, and what killed processes left under
//! them.
//!
//! What becomes `NAME` is written as `.NAME.evalkit-<pid>-<number>.part` beside it. Its writer holds a
//! lock on it, which ends with the process, however it ends. So whoever gets the lock knows that the
//! writer is gone, even if the number of its process was given to another one. A folder that waits to
//! be removed, on a disk that cannot exchange two folders, is called `.old` instead of `.part`.
//! Versions before this one wrote `.NAME.<pid>.part`, without a lock.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock::{Lock, lock_of};
use crate::error::{Error, Result};

/// The end of the name of a file or folder that is being written.
pub(super) const PARTIAL: &str = ".part";
/// The end of the name of a folder that was replaced.
const REPLACED: &str = ".old";
/// What tells this program's temporary names from those of others.
const OWN: &str = "evalkit-";
/// How often a new name is tried if another process interferes.
const ATTEMPTS: usize = 64;

/// What a temporary name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name<'a> {
    /// The name that the file or folder is written for.
    target: &'a str,
    /// The writer's process.
    pid: u32,
    /// Whether the writer holds a lock on it, as this version does.
    is_locked: bool,
    /// Whether it is a folder that was replaced.
    is_replaced: bool,
}

impl Name<'_> {
    /// Reads a name; `None` if it is not one of evalkit's temporary names.
    fn of(name: &str) -> Option<Name<'_>> {
        let rest = name.strip_prefix('.')?;
        let (rest, is_replaced) = match rest.strip_suffix(PARTIAL) {
            Some(rest) => (rest, false),
            None => (rest.strip_suffix(REPLACED)?, true),
        };
        let (target, writer) = rest.rsplit_once('.').filter(|(target, _)| !target.is_empty())?;
        let number = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        };
        let (pid, is_locked) = match writer.strip_prefix(OWN) {
            Some(own) => {
                let (pid, count) = own.split_once('-')?;
                number(count)?;
                (number(pid)?, true)
            }
            None => (number(writer)?, false),
        };
        Some(Name { target, pid, is_locked, is_replaced })
    }
}

/// Makes a file or folder under a temporary name beside `target`, by `make`, and locks it. The file
/// that is returned holds the lock; on a disk without locks it holds none.
///
/// # Errors
/// Input errors of a path without a file name; those of `make` as [`Error::io`] of writing `target`.
pub(super) fn claim(
    target: &Path,
    make: impl Fn(&Path) -> io::Result<File>,
) -> Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = target_name(target)?;
    let mut failed = None;
    for _ in 0..ATTEMPTS {
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = target.with_file_name(format!(".{name}.{OWN}{pid}-{number}{PARTIAL}"));
        match make(&path) {
            // Until it is locked, another process can take it for a leftover and remove it.
            Ok(file) if !matches!(lock_of(&file), Ok(Lock::Held)) && is_at(&file, &path) => {
                return Ok((path, file));
            }
            Ok(_) => {}
            // It exists if a process in another container has the same number; it is gone if it was
            // taken for a leftover.
            Err(error) => {
                let is_passing =
                    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound);
                failed = Some(error);
                if !is_passing {
                    break;
                }
            }
        }
    }
    let busy = || io::Error::other("another process removes what this one writes");
    Err(Error::io("write", target, failed.unwrap_or_else(busy)))
}

fn target_name(target: &Path) -> Result<String> {
    let name = target.file_name().ok_or_else(|| {
        Error::input("expected a path that ends with a file name").at(target.display())
    })?;
    Ok(name.to_string_lossy().into_owned())
}

/// Whether `path` leads to this file or folder.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(own), Ok(found)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (own.dev(), own.ino()) == (found.dev(), found.ino())
}

/// The name under which a folder that is replaced waits to be removed; `partial` is the temporary name
/// of the folder that replaces it.
pub(super) fn replaced_name(partial: &Path) -> PathBuf {
    partial.with_extension(&REPLACED[1..])
}

/// What killed processes left in a folder, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// What was removed.
    pub removed: Vec<PathBuf>,
    /// What was left because the disk has no locks or cannot be written: a process may still write it.
    pub left: Vec<PathBuf>,
}

impl Leftovers {
    /// What to tell the user, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let names = |paths: &[PathBuf]| {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        };
        let mut sentences = Vec::new();
        if !self.removed.is_empty() {
            let removed = names(&self.removed);
            sentences.push(format!("removed what a killed evalkit had left: {removed}"));
        }
        if !self.left.is_empty() {
            sentences.push(format!(
                "left {}: this disk does not tell whether an evalkit still writes it; delete it if none \
                 is running",
                names(&self.left)
            ));
        }
        sentences
    }
}

/// Finishes what killed processes began in a folder that only evalkit writes: a folder that was being
/// replaced is replaced or put back, all other leftovers are removed. What living processes write, and
/// what is not evalkit's, stays.
pub fn sweep(folder: &Path) -> Leftovers {
    sweep_those(folder, |_| true)
}

/// As [`sweep`], for the folder of `target`, which other programs write, too. Leftovers of versions
/// without locks, whose names are not as telling, are removed only if they were written for `target`.
pub(super) fn sweep_beside(target: &Path) -> Leftovers {
    let own = target_name(target).unwrap_or_default();
    sweep_those(folder_of(target), |name| name.is_locked || name.target == own)
}

/// As [`sweep`], for what was written for `target` alone.
pub(super) fn sweep_for(target: &Path) -> Leftovers {
    let own = target_name(target).unwrap_or_default();
    sweep_those(folder_of(target), |name| name.target == own)
}

/// The folder that holds `path`.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sweep_those(folder: &Path, is_meant: impl Fn(Name<'_>) -> bool) -> Leftovers {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_leftover = |name: &String| Name::of(name).is_some_and(&is_meant);
    let mut found: Vec<String> = named.filter(is_leftover).collect();
    // Folders that were replaced come first: they need the folder that replaces them.
    found.sort_by_key(|name| (name.ends_with(PARTIAL), name.clone()));
    let mut swept = Leftovers::default();
    for name in &found {
        let Some(parsed) = Name::of(name) else { continue };
        let path = folder.join(name);
        match settle(&path, parsed) {
            Ok(Settled::Removed) => swept.removed.push(path),
            Ok(Settled::Kept) => {}
            Ok(Settled::Unknown) | Err(_) => swept.left.push(path),
        }
    }
    swept
}

/// What became of a leftover.
enum Settled {
    Removed,
    /// It is alive, or gone already.
    Kept,
    /// Whether its writer lives is not known.
    Unknown,
}

fn settle(path: &Path, name: Name<'_>) -> io::Result<Settled> {
    let held = match writer(path, name)? {
        Writer::Gone(held) => held,
        Writer::Lives => return Ok(Settled::Kept),
        Writer::Unknown => return Ok(Settled::Unknown),
    };
    let target = path.with_file_name(name.target);
    if name.is_replaced && fs::symlink_metadata(&target).is_err() {
        // The process was killed between two renamings. The new folder is complete: it was made
        // durable before the old one was renamed.
        let new = path.with_extension(&PARTIAL[1..]);
        if fs::rename(&new, &target).is_err() {
            return fs::rename(path, &target).map(|()| Settled::Kept);
        }
    }
    let removed =
        if held.metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(Settled::Removed),
    }
}

enum Writer {
    /// It is gone; the file holds the lock that it had.
    Gone(File),
    Lives,
    Unknown,
}

/// Whether the process that wrote `path` still runs.
fn writer(path: &Path, name: Name<'_>) -> io::Result<Writer> {
    // A pipe or device of this name is not evalkit's, and opening it could wait for ever.
    let kind = fs::symlink_metadata(path)?.file_type();
    if !(kind.is_file() || kind.is_dir()) {
        return Ok(Writer::Lives);
    }
    if !name.is_locked && is_running(name.pid) {
        return Ok(Writer::Lives);
    }
    let file = File::options().read(true).write(kind.is_file()).open(path)?;
    Ok(match lock_of(&file)? {
        // Its writer may have renamed it since it was listed.
        Lock::Taken if is_at(&file, path) => Writer::Gone(file),
        Lock::Taken | Lock::Held => Writer::Lives,
        Lock::Unsupported => Writer::Unknown,
    })
}

/// Whether a process of this number runs. Where the system has no `/proc`, every process counts as
/// running.
fn is_running(pid: u32) -> bool {
    !Path::new("/proc/self").exists() || Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A number that no process has: more than Linux gives to processes.
    const NOBODY: u32 = 4_200_000_000;

    #[test]
    fn only_own_names_are_read_as_such() {
        let own = Name::of(".a.b.evalkit-12-3.part").unwrap();
        assert_eq!((own.target, own.pid, own.is_locked, own.is_replaced), ("a.b", 12, true, false));
        let older = Name::of(".a.b.12.old").unwrap();
        let found = (older.target, older.pid, older.is_locked, older.is_replaced);
        assert_eq!(found, ("a.b", 12, false, true));
        let others = [
            "a.12.part",
            ".a.part",
            ".12.part",
            ".a.x12.part",
            ".a.+1.part",
            ".a.evalkit-1.part",
            ".a.evalkit-1-x.part",
            ".a.evalkit-1-2.partial",
            ".a..part",
            "model.part",
            ".evalkit-1-2.part",
        ];
        for other in others {
            assert_eq!(Name::of(other), None, "{other}");
        }
    }

    /// Waits until nobody holds a lock: a process that another test starts has a copy of every open file
    /// until it runs its program.
    fn wait_until_free(path: &Path) {
        let begun = std::time::Instant::now();
        while !matches!(lock_of(&File::open(path).unwrap()), Ok(Lock::Taken)) {
            assert!(begun.elapsed().as_secs() < 30, "{} stays locked", path.display());
            std::thread::yield_now();
        }
    }

    #[test]
    fn leftovers_are_removed_and_what_lives_or_belongs_to_others_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let make = |path: &Path| File::create_new(path);
        let (alive, lock) = claim(&path("report"), make).unwrap();
        let (dead, gone) = claim(&path("report"), make).unwrap();
        drop(gone);
        wait_until_free(&dead);
        let dead_folder = path(".packages.evalkit-1-0.part");
        fs::create_dir_all(dead_folder.join("model.mlpackage")).unwrap();
        let older = path(&format!(".x.{NOBODY}.part"));
        fs::write(&older, "").unwrap();
        let mine = format!(".x.{}.part", std::process::id());
        let others = [mine.as_str(), "film.part", ".notes.part", ".a.old", "records.jsonl"];
        others.iter().for_each(|name| fs::write(path(name), "").unwrap());
        let is_known = Path::new("/proc/self").exists();

        let beside = sweep_for(&path("report"));
        assert_eq!(beside, Leftovers { removed: vec![dead], left: Vec::new() });
        let beside = sweep_beside(&path("y"));
        assert_eq!(beside.removed, [dead_folder]);
        let swept = sweep(folder.path());
        assert_eq!(swept.removed, if is_known { vec![older] } else { Vec::new() });
        assert!(others.iter().all(|name| path(name).exists()));
        assert!(alive.exists());
        drop(lock);
        wait_until_free(&alive);
        assert_eq!(sweep(folder.path()).removed, [alive]);
        assert_eq!(sweep(folder.path()), Leftovers::default());
        assert_eq!(names(folder.path()).len(), others.len() + usize::from(!is_known));
    }

    #[test]
    fn what_became_of_leftovers_is_said() {
        assert!(Leftovers::default().sentences().is_empty());
        let swept =
            Leftovers { removed: vec!["a/.b.evalkit-1-0.part".into()], left: vec!["c".into()] };
        let [removed, left] = &swept.sentences()[..] else { panic!("expected two sentences") };
        assert_eq!(removed, "removed what a killed evalkit had left: a/.b.evalkit-1-0.part");
        assert!(left.starts_with("left c: ") && left.contains("delete it if none"), "{left}");
    }
}
