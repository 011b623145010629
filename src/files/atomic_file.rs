//! Files that are replaced as a whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::durable::{sync_file, sync_parent};
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
/// Anything that stops the writing; `path` is then as it was.
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
    sweep_for(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let (partial, file) = claim(path, |partial| options.open(partial))?;
    let failed = |e| Error::io("write", path, e);
    let mut out = io::BufWriter::with_capacity(BUFFER_BYTES, file);
    let written = write(&mut out).and_then(|()| {
        let file = out.into_inner().map_err(io::IntoInnerError::into_error).map_err(failed)?;
        sync_file(&file).map_err(failed)?;
        // Closing the file before it has its name would tell others that its writer is gone.
        std::fs::rename(&partial, path).map_err(failed)
    });
    if let Err(error) = written {
        // The first failure is the one to report.
        let _ = std::fs::remove_file(&partial);
        return Err(error);
    }
    sync_parent(path)
}

/// Writes several files of one folder, which is created if it does not exist. All files are written
/// under temporary names before the first one is replaced, so an error while writing changes none
/// of them.
///
/// # Errors
/// The folder cannot be created or written; its files are then as they were.
pub fn write_together(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    let is_new = !folder.exists();
    if !is_new && !folder.is_dir() {
        return Err(Error::input("expected a folder, found a file").at(folder.display()));
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let pages = folder.join("pages");
    sweep_for(&pages);
    let (stage, lock) = claim(&pages, |stage| {
        std::fs::create_dir(stage)?;
        File::open(stage)
    })
    .inspect_err(|_| remove_new(folder, is_new))?;
    let mut each = files.iter();
    let staged = each.try_for_each(|(name, bytes)| write_atomic(&stage.join(name), bytes));
    let blocked = files.iter().map(|(name, _)| folder.join(name)).find(|path| path.is_dir());
    let is_free = blocked.map_or(Ok(()), |path| {
        Err(Error::surroundings("expected a file, found a folder").at(path.display()))
    });
    let moved = staged.and(is_free).and_then(|()| {
        files.iter().try_for_each(|(name, _)| {
            let path = folder.join(name);
            std::fs::rename(stage.join(name), &path).map_err(|e| Error::io("write", &path, e))
        })
    });
    let _ = std::fs::remove_dir_all(&stage);
    drop(lock);
    if moved.is_err() {
        remove_new(folder, is_new);
    }
    moved.and_then(|()| sync_parent(&stage))
}

/// Removes a folder that was made for files that could not be written.
fn remove_new(folder: &Path, is_new: bool) {
    if is_new {
        let _ = std::fs::remove_dir(folder);
    }
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
    use std::os::unix::fs::PermissionsExt as _;

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
}
