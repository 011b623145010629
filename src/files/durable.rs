//! Waiting until bytes and names have reached the disk.
//!
//! The standard library asks macOS for F_FULLFSYNC. Disks that do not know it, such as network shares,
//! are asked for a plain fsync instead.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::is_one_of;
use super::temporary::folder_of;
use crate::error::{Error, Result};

/// Waits until a file's bytes have reached the disk, as far as its file system can promise that.
///
/// # Errors
/// The disk failed.
pub fn sync_file(file: &File) -> io::Result<()> {
    or_plain(file.sync_all(), || rustix::fs::fsync(file))
}

/// As [`sync_file`], without times and other metadata that reading the bytes does not need.
///
/// # Errors
/// The disk failed.
pub fn sync_data(file: &File) -> io::Result<()> {
    or_plain(file.sync_data(), || rustix::fs::fsync(file))
}

/// Waits until the names in a folder have reached the disk. Some network file systems cannot do that
/// for folders; there the names are as durable as the file system makes them.
///
/// # Errors
/// The disk failed.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let file = File::open(folder)?;
    match sync_file(&file) {
        Err(error) if is_unsupported(&error) => Ok(()),
        synced => synced,
    }
}

/// Makes the names in the folder of `path` durable: a file that was created, renamed or removed.
pub(super) fn sync_parent(path: &Path) -> Result<()> {
    let parent = folder_of(path);
    sync_folder(parent).map_err(|e| Error::io("sync", parent, e))
}

/// The result of a full sync, or else, if the file system does not know it, that of a plain one.
fn or_plain(
    full: io::Result<()>,
    plain: impl FnOnce() -> rustix::io::Result<()>,
) -> io::Result<()> {
    match full {
        Err(error) if is_unsupported(&error) => Ok(plain()?),
        synced => synced,
    }
}

/// Whether a file system does not know a way of syncing: SMB answers ENOTSUP, FUSE ENOTTY or EINVAL.
fn is_unsupported(error: &io::Error) -> bool {
    is_one_of(error, &[Errno::NOTSUP, Errno::INVAL, Errno::NOTTY, Errno::NOSYS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_full_sync_gets_a_plain_one() {
        for errno in [Errno::NOTSUP, Errno::INVAL, Errno::NOTTY] {
            or_plain(Err(errno.into()), || Ok(())).unwrap();
            let failed = or_plain(Err(errno.into()), || Err(Errno::IO)).unwrap_err();
            assert_eq!(Errno::from_io_error(&failed), Some(Errno::IO));
        }
    }

    #[test]
    fn a_disk_that_fails_is_not_asked_again() {
        for errno in [Errno::IO, Errno::NOSPC] {
            let failed = or_plain(Err(errno.into()), || panic!("asked again")).unwrap_err();
            assert_eq!(Errno::from_io_error(&failed), Some(errno));
        }
        or_plain(Ok(()), || panic!("asked again")).unwrap();
    }

    #[test]
    fn files_and_folders_are_synced_and_missing_ones_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        sync_file(&File::create(&path).unwrap()).unwrap();
        sync_folder(folder.path()).unwrap();
        sync_parent(&path).unwrap();
        sync_folder(&folder.path().join("missing")).unwrap_err();
    }
}
