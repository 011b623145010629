//! Locks that keep two processes from writing one folder.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::is_one_of;
use crate::error::{Error, Result};

/// Takes the lock of an open file; `false` if another process holds it.
///
/// # Errors
/// A surroundings error if the file system has no locks, as some network shares, or if it failed.
pub fn try_lock(file: &File, path: &Path) -> Result<bool> {
    taken(file.try_lock(), path)
}

/// What asking for a lock found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// The lock is this process's now, until the file is closed.
    Taken,
    /// Another process holds it.
    Held,
    /// The disk has no locks, or none for folders.
    Unsupported,
}

/// Takes the lock of an open file or folder if it is free.
///
/// # Errors
/// The disk failed.
pub(super) fn lock_of(file: &File) -> io::Result<Lock> {
    match file.try_lock() {
        Ok(()) => Ok(Lock::Taken),
        Err(TryLockError::WouldBlock) => Ok(Lock::Held),
        // NFS locks only what is open for writing, which folders cannot be.
        Err(TryLockError::Error(error))
            if is_unsupported(&error) || is_one_of(&error, &[Errno::BADF]) =>
        {
            Ok(Lock::Unsupported)
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn taken(locked: Result<(), TryLockError>, path: &Path) -> Result<bool> {
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if is_unsupported(&error) => {
            let what = "the disk of this file has no locks, so a second evalkit could write it too";
            Err(Error::surroundings(what).at(path.display()).because(error).hint(
                "some network shares have none: name a folder on a local disk, and copy it to the \
                 share afterwards",
            ))
        }
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path, error)),
    }
}

/// Whether a file system has no locks: SMB answers ENOTSUP, NFS without its lock service ENOLCK.
fn is_unsupported(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::NOTSUP, Errno::NOLCK, Errno::NOSYS, Errno::INVAL])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_without_locks_is_refused_with_what_to_do() {
        let path = Path::new("share/records.jsonl");
        for errno in [Errno::NOTSUP, Errno::NOLCK] {
            let error = taken(Err(TryLockError::Error(errno.into())), path).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("share/records.jsonl: the disk of this file has no locks"));
            assert!(text.contains("name a folder on a local disk"), "{text}");
            assert_eq!(error.exit().code(), 3);
        }
        let error = taken(Err(TryLockError::Error(Errno::IO.into())), path).unwrap_err();
        assert!(error.to_string().starts_with("share/records.jsonl: cannot lock"), "{error}");
    }

    #[test]
    fn a_file_is_locked_by_one_handle_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = File::create(&path).unwrap();
        assert!(try_lock(&first, &path).unwrap());
        assert!(!try_lock(&File::open(&path).unwrap(), &path).unwrap());
    }
}
