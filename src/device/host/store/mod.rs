//! Packages that were sent here: received aside, checked, renamed into place, removed by least
//! use. Knows content and disk; nothing of sessions and jobs.
//!
//! ```text
//! lock                      held by the one process that uses the store
//! incoming/<H>/<n>.part     a file that is being received; n counts paths in order
//! incoming/<H>/tree/…       files that are whole, their hash compared
//! packages/<H>/…            packages in place; the folder's time is that of its last use
//! gone/<H>                  packages that are being removed
//! journal.jsonl, jobs/      what was asked and answered
//! loads.jsonl               what was ever loaded
//! ```
//!
//! The store may be reached through links; within it none is followed, and none stays.

pub(super) mod disk;
mod incoming;
mod receive;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use self::disk::{Tree, fault};
use self::incoming::Incoming;
pub(super) use self::receive::Receiving;
use crate::device::protocol::content::{Refused, is_hash};
use crate::device::protocol::message::Code;
use crate::device::protocol::result::Listed;
use crate::error::{Error, Result};

/// Bytes of the disk that packages leave free.
const RESERVE_BYTES: u64 = 16 << 20;
/// How long a process waits for another that is about to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The folder of packages, journal and logits.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    limit_bytes: Option<u64>,
    /// What a `have` of this session named.
    incoming: HashMap<String, Incoming>,
    /// Files in `incoming` whose hashes this process has compared.
    compared: HashSet<PathBuf>,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Store {
    /// Opens or makes the store, and removes what does not belong there.
    ///
    /// # Errors
    /// Surroundings: another process uses it, or the disk fails.
    pub fn open(root: &Path, limit_bytes: Option<u64>) -> Result<Store> {
        std::fs::create_dir_all(root).map_err(|e| Error::io("make the store", root, e))?;
        let root = root.canonicalize().map_err(|e| Error::io("open the store", root, e))?;
        let lock = lock(&root)?;
        for folder in ["incoming", "packages", "gone", "jobs"] {
            let path = root.join(folder);
            disk::make_folder(&path).map_err(|e| Error::io("make", &path, e))?;
        }
        let store = Store {
            root,
            limit_bytes,
            incoming: HashMap::new(),
            compared: HashSet::new(),
            _lock: lock,
        };
        store.tidy();
        Ok(store)
    }

    /// Removes links, files in the place of folders, and packages that were half removed.
    fn tidy(&self) {
        let _ = disk::remove(&self.root.join("gone"));
        let _ = disk::make_folder(&self.root.join("gone"));
        for folder in ["incoming", "packages"] {
            let Ok(entries) = std::fs::read_dir(self.root.join(folder)) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if !is_hash(&name) || !disk::is_folder(&path) {
                    let _ = disk::remove(&path);
                } else if let Ok(tree) = Tree::read(&path) {
                    tree.others.iter().for_each(|other| drop(disk::remove(other)));
                }
            }
        }
    }

    /// Where the store lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Forgets what the session announced; its bytes stay.
    pub fn end_session(&mut self) {
        self.incoming.clear();
    }

    fn place(&self, package: &str) -> PathBuf {
        self.root.join("packages").join(package)
    }

    fn aside(&self, package: &str) -> PathBuf {
        self.root.join("incoming").join(package)
    }

    /// The folder of a package in place.
    ///
    /// # Errors
    /// `bad_request` for what is no name, `not_found`.
    pub fn find(&self, package: &str) -> Result<PathBuf, Refused> {
        check_name(package)?;
        let path = self.place(package);
        match disk::is_folder(&path) {
            true => Ok(path),
            false => Err((Code::NotFound, format!("the store has no package {package}"))),
        }
    }

    /// The folder of a package that is about to be read, marked as used now.
    ///
    /// # Errors
    /// As [`Store::find`]; `engine` where links were put into it.
    pub fn use_now(&self, package: &str) -> Result<PathBuf, Refused> {
        let path = self.find(package)?;
        let tree = Tree::read(&path).map_err(|e| fault("read", &path, &e))?;
        if let Some(other) = tree.others.first() {
            let what = format!("{} is neither a file nor a folder", other.display());
            return Err((Code::Engine, format!("the package is damaged: {what}; send it again")));
        }
        touch(&path);
        Ok(path)
    }

    /// Packages in place, `loaded` marked.
    pub fn list(&self, loaded: Option<&str>) -> Vec<Listed> {
        let mut packages = Vec::new();
        for (package, path, used) in self.folders("packages") {
            let unix = used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            packages.push(Listed {
                size_bytes: size_bytes(&path),
                last_used_unix_s: unix.as_secs(),
                loaded: loaded == Some(package.as_str()),
                package,
            });
        }
        packages.sort_by(|a, b| a.package.cmp(&b.package));
        packages
    }

    /// Removes a package in place or what has come of one; gives its bytes.
    ///
    /// # Errors
    /// `bad_request`, `not_found`, `busy` for the loaded one, `io`.
    pub fn evict(&mut self, package: &str, loaded: Option<&str>) -> Result<u64, Refused> {
        check_name(package)?;
        if loaded == Some(package) {
            return Err((Code::Busy, format!("{package} is loaded: unload it first")));
        }
        let (place, aside) = (self.place(package), self.aside(package));
        if !disk::is_folder(&place) && !disk::is_folder(&aside) {
            return Err((Code::NotFound, format!("the store has no package {package}")));
        }
        self.incoming.remove(package);
        Ok(self.discard(&place)? + self.discard(&aside)?)
    }

    /// Moves a folder out of the way, so that it is never half there, and removes it.
    fn discard(&mut self, path: &Path) -> Result<u64, Refused> {
        if !disk::is_folder(path) {
            return Ok(0);
        }
        let bytes = size_bytes(path);
        let gone = self.root.join("gone").join(path.file_name().unwrap_or_default());
        let failed = |e| fault("remove", path, &e);
        disk::remove(&gone).map_err(failed)?;
        std::fs::rename(path, &gone).map_err(failed)?;
        self.compared.retain(|file| !file.starts_with(path));
        disk::remove(&gone).map_err(failed)?;
        Ok(bytes)
    }

    /// Folders of packages in a folder of the store: name, path, last use.
    fn folders(&self, folder: &str) -> Vec<(String, PathBuf, SystemTime)> {
        let Ok(entries) = std::fs::read_dir(self.root.join(folder)) else { return Vec::new() };
        let mut found = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            if is_hash(&name) && metadata.is_dir() {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((name, path, used));
            }
        }
        found
    }

    /// Bytes that may still be written; the lesser of the disk's and the limit's.
    fn room_bytes(&self) -> u64 {
        let free = disk::free_bytes(&self.root).unwrap_or(u64::MAX).saturating_sub(RESERVE_BYTES);
        let Some(limit) = self.limit_bytes else { return free };
        let folders = self.folders("packages").into_iter().chain(self.folders("incoming"));
        let used: u64 = folders.map(|(_, path, _)| size_bytes(&path)).sum();
        free.min(limit.saturating_sub(used))
    }

    /// Makes room for `bytes` more, removing what was not used for longest, but neither the
    /// loaded package nor what this session sends.
    fn make_room(&mut self, bytes: u64, keep: &str, loaded: Option<&str>) -> Result<(), Refused> {
        let room = self.room_bytes();
        if bytes <= room {
            return Ok(());
        }
        let mut old = self.folders("packages");
        old.extend(self.folders("incoming"));
        old.retain(|(name, ..)| {
            name != keep && loaded != Some(name.as_str()) && !self.incoming.contains_key(name)
        });
        old.sort_by_key(|(.., used)| *used);
        let could: u64 = old.iter().map(|(_, path, _)| size_bytes(path)).sum();
        if bytes > room.saturating_add(could) {
            let what =
                format!("{bytes} bytes are to come, {room} are free, {could} could be freed");
            return Err((Code::NoSpace, what));
        }
        for (_, path, _) in old {
            if bytes <= self.room_bytes() {
                break;
            }
            self.discard(&path)?;
        }
        match self.room_bytes() {
            room if bytes <= room => Ok(()),
            room => Err((Code::NoSpace, format!("{bytes} bytes are to come, {room} are free"))),
        }
    }

    /// Whether this content is loaded for the first time under `key`, which is then kept.
    pub fn first_load(&self, key: &str) -> std::io::Result<bool> {
        use std::io::{Read, Write};
        let path = self.root.join("loads.jsonl");
        let mut file = disk::open(&path, File::options().read(true).append(true).create(true))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let line = format!("{}\n", serde_json::Value::from(key));
        if text.split_inclusive('\n').any(|known| known == line) {
            return Ok(false);
        }
        // A half-written line before it stays a line of its own.
        let start = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        file.write_all(format!("{start}{line}").as_bytes())?;
        file.sync_data().map(|()| true)
    }
}

/// Bytes of all files below a folder.
fn size_bytes(path: &Path) -> u64 {
    Tree::read(path).map_or(0, |tree| tree.size_bytes())
}

fn check_name(package: &str) -> Result<(), Refused> {
    if is_hash(package) {
        return Ok(());
    }
    let what = "a package's name has 64 lower-case hexadecimal digits";
    Err((Code::BadRequest, format!("{what}, found {:.80}", format!("{package:?}"))))
}

/// Marks a folder as used now; a disk that keeps no times evicts in any order.
fn touch(folder: &Path) {
    if let Ok(file) = File::open(folder) {
        let _ = file.set_modified(SystemTime::now());
    }
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let file = disk::open(&path, File::options().write(true).create(true).truncate(false))
        .map_err(|e| Error::io("open", &path, e))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
            Err(std::fs::TryLockError::WouldBlock) if start.elapsed() > LOCK_PATIENCE => {
                return Err(Error::surroundings("another runner uses this store")
                    .at(root.display())
                    .hint("end it, or give this one another folder with --store"));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}
