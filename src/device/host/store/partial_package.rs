//! A package that is being received: how many bytes of each file have arrived.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::Sha256;

use super::disk::{self, Tree};
use crate::device::protocol::frame::MAX_CHUNK_BYTES;
use crate::device::protocol::manifest::ManifestFile;
use crate::files::{sync_file, sync_folder};

/// A file is kept up to a multiple of this many bytes.
const STEP_BYTES: u64 = MAX_CHUNK_BYTES as u64;

/// A package that is being received.
#[derive(Debug)]
pub(super) struct PartialPackage {
    pub folder: PathBuf,
    /// Its files, in the manifest's order.
    pub files: Vec<PartialFile>,
    /// Indices of `files`, by path.
    pub by_path: HashMap<String, usize>,
}

/// A file of the package.
#[derive(Debug)]
pub(super) struct PartialFile {
    pub file: ManifestFile,
    /// Its rank among the sorted paths, which is the same for every order of a manifest's files.
    pub number: usize,
    /// How many of its bytes have arrived.
    pub have_bytes: u64,
    /// The hash of these bytes; `None` if it is not known.
    pub hash: Option<Sha256>,
}

impl PartialFile {
    /// Where the file is received.
    pub fn part(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.part", self.number))
    }

    /// Where the complete file is.
    pub fn whole(&self, folder: &Path) -> PathBuf {
        folder.join("tree").join(&self.file.path)
    }

    /// How many of `bytes` bytes are kept of a file that is not complete.
    pub fn kept(&self, bytes: u64) -> u64 {
        bytes.min(self.file.size_bytes - 1) / STEP_BYTES * STEP_BYTES
    }

    /// Whether the complete file is in the package's tree.
    pub fn is_complete(&self, folder: &Path) -> bool {
        let size = self.file.size_bytes;
        self.have_bytes == size
            && disk::is_plain(&folder.join("tree"), &self.file.path)
            && disk::size_of(&self.whole(folder)) == Some(size)
    }
}

impl PartialPackage {
    /// Removes from the tree what is not part of the package, and waits until the rest has reached
    /// the disk.
    ///
    /// # Errors
    /// The disk failed.
    pub fn settle(&self) -> io::Result<()> {
        let tree = self.folder.join("tree");
        let found = Tree::read(&tree)?;
        found.others.iter().try_for_each(|path| disk::remove(path))?;
        for (path, _) in &found.files {
            let name = path.strip_prefix(&tree).ok().and_then(Path::to_str);
            if name.is_some_and(|name| self.by_path.contains_key(name)) {
                sync_file(&disk::open(path, File::options().read(true))?)?;
            } else {
                disk::remove(path)?;
            }
        }
        found.folders.iter().try_for_each(|folder| sync_folder(folder))
    }
}
