//! The cache of Hugging Face's own tools, which share it: `blobs/` has the files by their tags,
//! `snapshots/COMMIT/` links to them by their names, `refs/` knows the commits of branches and tags.
//!
//! Paths are made of checked names only.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::limits::POLL;
use super::names::{Commit, Etag, FileName, Spec};
use super::watch::{Event, Watch};
use crate::error::{At, Error, Result};
use crate::files::{open_regular, try_lock, write_atomic};

/// Most bytes that are read of a file in `refs/`.
const MAX_REF_BYTES: u64 = 256;

/// The folder of one repository.
pub struct Cache {
    root: PathBuf,
    /// The name of the repository's folder in `root`.
    name: String,
    /// The file in `refs/` of the revision.
    reference: PathBuf,
}

impl Cache {
    /// The folder of a repository in the cache at `root`. Nothing is created yet.
    ///
    /// # Errors
    /// There is no current folder, and `root` is relative to it.
    pub fn new(root: &Path, spec: &Spec<'_>) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|e| Error::io("find the cache", root, e))?;
        let name = format!("models--{}", spec.repo.replace('/', "--"));
        let reference = root.join(&name).join("refs").join(spec.revision);
        Ok(Cache { root, name, reference })
    }

    /// The root of the whole cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn folder(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// The folder with the files of a commit.
    pub fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.folder().join("snapshots").join(commit.as_str())
    }

    /// A file of a commit.
    pub fn pointer(&self, commit: &Commit, name: &FileName) -> PathBuf {
        self.snapshot(commit).join(name.as_str())
    }

    /// The content with this tag.
    pub fn blob(&self, etag: &Etag) -> PathBuf {
        self.folder().join("blobs").join(etag.as_str())
    }

    /// What has arrived of the content with this tag.
    pub fn incomplete(&self, etag: &Etag) -> PathBuf {
        self.blob(etag).with_extension("incomplete")
    }

    /// The commit that the revision had when it was fetched last.
    ///
    /// # Errors
    /// The file that knows it cannot be read, or has no commit.
    pub fn commit(&self) -> Result<Option<Commit>> {
        let path = &self.reference;
        let unreadable = |e| Error::io("read the revision's commit", path, e);
        match path.metadata() {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            found => found.map_err(unreadable)?,
        };
        let (file, _) = open_regular("read the revision's commit", path)?;
        let mut text = String::new();
        file.take(MAX_REF_BYTES).read_to_string(&mut text).map_err(unreadable)?;
        Commit::new(text.trim()).map(Some).ok_or_else(|| {
            Error::input(format!("expected a commit of 40 hexadecimal digits, found {text:?}"))
                .at(path.display())
                .hint("remove this file, and run the command once with a network connection")
        })
    }

    /// Remembers the commit of the revision.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn set_commit(&self, commit: &Commit) -> Result<()> {
        if self.commit().is_ok_and(|known| known.as_ref() == Some(commit)) {
            return Ok(());
        }
        make_parent(&self.reference)?;
        write_atomic(&self.reference, commit.as_str().as_bytes())
    }

    /// Makes the content with this tag the file of a commit.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn link(&self, etag: &Etag, commit: &Commit, name: &FileName) -> Result<PathBuf> {
        let pointer = self.pointer(commit, name);
        make_parent(&pointer)?;
        remove(&pointer)?;
        let target = Path::new("../../blobs").join(etag.as_str());
        match std::os::unix::fs::symlink(&target, &pointer) {
            // Another process was faster.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(pointer),
            linked => linked.map_err(|e| Error::io("link", &pointer, e)).map(|()| pointer),
        }
    }

    /// Waits until no other process fetches the content with this tag, and keeps others from it as
    /// long as the file is open.
    ///
    /// # Errors
    /// The cache cannot be written, or its disk has no locks; interruption.
    pub fn lock(&self, etag: &Etag, name: &FileName, watch: Watch<'_>) -> Result<File> {
        let file = format!("{}.lock", etag.as_str());
        let path = self.root.join(".locks").join(&self.name).join(file);
        make_parent(&path)?;
        make_parent(&self.blob(etag))?;
        let mut is_told = false;
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(|e| Error::io("open", &path, e))?;
            if try_lock(&file, &path)? {
                // Other tools remove their locks: what was locked may not be there any more.
                let there = std::fs::metadata(&path).ok().map(|meta| (meta.dev(), meta.ino()));
                let ours = file.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
                if ours.is_some() && there == ours {
                    return Ok(file);
                }
                continue;
            }
            if !is_told {
                let line = format!("{name}: another process is fetching it; waiting for that");
                watch(Event::Message(&line))?;
                is_told = true;
            }
            watch(Event::Waiting)?;
            std::thread::sleep(POLL);
        }
    }

    /// Fails if the disk has less than this number of free bytes.
    ///
    /// # Errors
    /// A surroundings error.
    pub fn need_free(&self, bytes: u64) -> Result<()> {
        // A system that does not tell is no reason to stop.
        let Ok(disk) = rustix::fs::statvfs(&self.root) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        Err(Error::surroundings(format!("expected {bytes} free bytes on the disk, found {free}"))
            .hint("free some space, or name a folder on another disk in HF_HUB_CACHE"))
        .at(|| self.root.display().to_string())
    }
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|e| Error::io("create the folder", parent, e))
}

/// The length of a file, or of the file that a link leads to.
pub fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len())
}

/// Removes a file or a link, if there is one.
///
/// # Errors
/// The file system failed.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}
