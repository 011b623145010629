//! Who may read a store: its owner alone, since packages and the results in the journal may be private.

use std::fs::{DirBuilder, Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use super::disk::{self, Tree};
use crate::error::{Error, Result};

/// What others than the owner may do.
const OTHERS: u32 = 0o077;

/// Creates the folder of the store, or takes it from everybody but its owner. Returns whether others could
/// use it before.
///
/// # Errors
/// Input if a folder that others can use holds something else than a store; surroundings if the disk
/// fails, or if the folder belongs to another user.
pub(super) fn make_root(root: &Path) -> Result<bool> {
    let failed = |doing: &str, e| Error::io(doing, root, e);
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(disk::FOLDER_MODE)
        .create(root)
        .map_err(|e| failed("create the store", e))?;
    let found = std::fs::metadata(root).map_err(|e| failed("examine the store", e))?;
    if found.permissions().mode() & OTHERS == 0 {
        return Ok(false);
    }
    let mut entries = std::fs::read_dir(root).map_err(|e| failed("list the store", e))?;
    if disk::size_of(&root.join("lock")).is_none() && entries.next().is_some() {
        return Err(Error::input("others can use this folder, and it is no runner's store")
            .at(root.display())
            .hint("name an empty folder with --store"));
    }
    set_permissions(root, Permissions::from_mode(disk::FOLDER_MODE))
        .map_err(|e| failed("take the store from other users", e))?;
    Ok(true)
}

/// Takes everything below `root` from everybody but its owner.
///
/// # Errors
/// The disk failed.
pub(super) fn narrow(root: &Path) -> io::Result<()> {
    let tree = Tree::read(root)?;
    for folder in &tree.folders {
        set_permissions(folder, Permissions::from_mode(disk::FOLDER_MODE))?;
    }
    tree.files
        .iter()
        .try_for_each(|(file, _)| set_permissions(file, Permissions::from_mode(disk::FILE_MODE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn widen(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_store_is_private_and_a_wide_one_is_narrowed_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("a/b");
        assert!(!make_root(&new).unwrap() && mode(&new) == 0o700);
        let empty = folder.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        widen(&empty, 0o777);
        assert!(make_root(&empty).unwrap() && mode(&empty) == 0o700);
        std::fs::create_dir_all(new.join("packages/x")).unwrap();
        for file in ["lock", "journal.jsonl", "packages/x/model.json"] {
            std::fs::write(new.join(file), "x").unwrap();
            widen(&new.join(file), 0o644);
        }
        widen(&new, 0o755);
        assert!(make_root(&new).unwrap());
        narrow(&new).unwrap();
        let modes = ["", "packages/x", "journal.jsonl", "packages/x/model.json"];
        assert_eq!(modes.map(|path| mode(&new.join(path))), [0o700, 0o700, 0o600, 0o600]);
        let other = folder.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("letter"), "dear").unwrap();
        widen(&other, 0o755);
        assert_eq!(make_root(&other).unwrap_err().exit().code(), 2);
        assert_eq!(mode(&other), 0o755);
    }
}
