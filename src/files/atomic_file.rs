//! Files that are replaced as a whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::durable::{sync_file, sync_parent};
use super::target::{file_target, folder_target};
use super::temporary::{PARTIAL, claim, sweep_for};
use crate::error::{Error, Result};

/// The permissions of a new file, from which the process's umask is taken.
const SHARED: u32 = 0o666;
/// The permissions of a file that only its owner may read and write.
const PRIVATE: u32 = 0o600;

const BUFFER_BYTES: usize = 1 << 20;

/// Writes a file, or replaces it as a whole.
///
/// # Errors
/// Anything that stops the writing; `path` is then as it was. An input error for a device, a pipe or a
/// socket. Through a link, what it leads to is written.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_with(path, |out| write_all(out, path, bytes))
}

/// As [`write_atomic`], for a file that only its owner may read and write.
///
/// # Errors
/// As for [`write_atomic`].
pub fn write_atomic_private(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, PRIVATE, |out| write_all(out, path, bytes))
}

/// As [`write_atomic`], for content that is too large to hold in memory: `write` writes it piece by
/// piece.
///
/// # Errors
/// As for [`write_atomic`], and those of `write`.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<File>) -> Result<()>,
) -> Result<()> {
    replace(path, SHARED, write)
}

fn write_all(out: &mut impl Write, path: &Path, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).map_err(|e| Error::io("write", path, e))
}

fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut io::BufWriter<File>) -> Result<()>,
) -> Result<()> {
    Staged::write(path, mode, write)?.put()
}

/// A whole file under a temporary name beside its target. If it is dropped before
/// [`put`](Staged::put), it is removed.
struct Staged {
    /// The temporary name; empty once the file has its own.
    partial: PathBuf,
    target: PathBuf,
    /// Closing the file before it has its name would tell others that its writer is gone.
    lock: Option<File>,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.partial.as_os_str().is_empty() {
            // What failed before is the error to report.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

impl Staged {
    fn write(
        path: &Path,
        mode: u32,
        write: impl FnOnce(&mut io::BufWriter<File>) -> Result<()>,
    ) -> Result<Staged> {
        let target = file_target(path)?;
        sweep_for(&target);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let (partial, file) = claim(&target, |partial| options.open(partial))?;
        let mut staged = Staged { partial, target, lock: None };
        let failed = |e| Error::io("write", path, e);
        let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, file);
        write(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error).map_err(failed)?;
        sync_file(&file).map_err(failed)?;
        staged.lock = Some(file);
        Ok(staged)
    }

    /// Gives the file its name.
    fn put(mut self) -> Result<()> {
        std::fs::rename(&self.partial, &self.target)
            .map_err(|e| Error::io("write", &self.target, e))?;
        self.partial = PathBuf::new();
        drop(self.lock.take());
        sync_parent(&self.target)
    }
}

/// Writes several files of one folder, which is created if it does not exist. All files are written
/// under temporary names before the first one is replaced, so an error while writing changes none
/// of them.
///
/// # Errors
/// The folder cannot be created or written, or what it has of these names is no file; its files are
/// then as they were.
pub fn write_together(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    let folder = &folder_target(folder)?;
    let is_new = !folder.exists();
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let written = stage(folder, files).and_then(|all| all.into_iter().try_for_each(Staged::put));
    if written.is_err() && is_new {
        let _ = std::fs::remove_dir(folder);
    }
    written
}

fn stage(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<Vec<Staged>> {
    let one = |(name, bytes): &(&str, Vec<u8>)| {
        let path = folder.join(name);
        if path.is_dir() {
            let what = "expected a file, found a folder";
            return Err(Error::surroundings(what).at(path.display()));
        }
        Staged::write(&path, SHARED, |out| write_all(out, &path, bytes))
    };
    files.iter().map(one).collect()
}

/// Removes the temporary files that killed processes left while they wrote `name`. Only the process
/// that holds the folder's lock may call it: it would remove another process's file as well.
pub fn remove_partial_files(folder: &Path, name: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        if found.starts_with(&format!(".{name}.")) && found.ends_with(PARTIAL) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};

    use super::super::target::tests::specials;
    use super::*;

    #[test]
    fn a_file_is_replaced_and_no_temporary_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.md");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write_atomic(&folder.path().join("missing/report.md"), b"").unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
        let stopped = write_atomic_with(&path, |_| Err(Error::input("stopped"))).unwrap_err();
        assert!(stopped.to_string().contains("stopped"), "{stopped}");
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_file_is_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_atomic_private(&path, b"1").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_are_written_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let files = |text: &str| [("a", text.as_bytes().to_vec()), ("b", text.as_bytes().to_vec())];
        let new = folder.path().join("new");
        write_together(&new, &files("1")).unwrap();
        assert_eq!(std::fs::read(new.join("b")).unwrap(), b"1");
        assert_eq!(std::fs::read_dir(&new).unwrap().count(), 2);
        std::fs::remove_file(new.join("b")).unwrap();
        std::fs::create_dir(new.join("b")).unwrap();
        write_together(&new, &files("2")).unwrap_err();
        assert_eq!(std::fs::read(new.join("a")).unwrap(), b"1");
        assert_eq!(std::fs::read_dir(&new).unwrap().count(), 2);
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        write_together(&file, &files("3")).unwrap_err();
        assert_eq!(std::fs::read(&file).unwrap(), b"");
    }

    #[test]
    fn only_temporary_files_of_the_given_name_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".state.1.part", ".other.1.part", "state"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_partial_files(folder.path(), "state");
        assert!(!folder.path().join(".state.1.part").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn links_stay_and_what_they_lead_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for below in ["below", "pages"] {
            std::fs::create_dir(at(below)).unwrap();
        }
        std::fs::write(at("below/old"), "old").unwrap();
        symlink("../below/old", at("pages/a")).unwrap();
        symlink("../below/new", at("pages/b")).unwrap();
        symlink("pages", at("link")).unwrap();
        let is_link = |name: &str| at(name).symlink_metadata().unwrap().is_symlink();
        let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
        write_atomic(&at("pages/a"), b"1").unwrap();
        assert_eq!(read("below/old"), "1");
        let files = [("a", b"2".to_vec()), ("b", b"3".to_vec())];
        write_together(&at("link"), &files).unwrap();
        assert_eq!((read("below/old"), read("below/new")), ("2".into(), "3".into()));
        assert!(["pages/a", "pages/b", "link"].into_iter().all(is_link));
        for below in ["below", "pages"] {
            assert_eq!(std::fs::read_dir(at(below)).unwrap().count(), 2, "{below}");
        }
    }

    #[test]
    fn devices_pipes_and_sockets_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (specials, _socket) = specials(folder.path());
        std::fs::write(folder.path().join("first"), "old").unwrap();
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        let before = count();
        for (path, what) in specials {
            let type_of = || path.symlink_metadata().unwrap().file_type();
            let type_before = type_of();
            let name = path.file_name().unwrap().to_str().unwrap();
            let files = [("first", b"new".to_vec()), (name, b"new".to_vec())];
            let alone = write_atomic(&path, b"new").unwrap_err();
            for error in [alone, write_together(folder.path(), &files).unwrap_err()] {
                assert!(error.to_string().contains(&format!("found {what}")), "{error}");
                assert_eq!(error.exit().code(), 2);
            }
            assert_eq!(type_of(), type_before);
        }
        assert!(folder.path().join("pipe").symlink_metadata().unwrap().file_type().is_fifo());
        assert_eq!(std::fs::read(folder.path().join("first")).unwrap(), b"old");
        assert_eq!(count(), before);
    }
}
