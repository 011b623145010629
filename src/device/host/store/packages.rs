//! The store itself: which packages it has, which are removed to make room, and its lock.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::disk::{self, Tree, io_refusal};
use super::partial_package::PartialPackage;
use super::permissions;
use crate::device::protocol::code::{Code, Refusal};
use crate::device::protocol::manifest::is_hash;
use crate::device::protocol::result::StoredPackage;
use crate::error::{Error, Result};
use crate::files::{sync_data, try_lock};

/// How many bytes of the disk packages leave free.
const RESERVE_BYTES: u64 = 16 << 20;
/// The most bytes of a store whose limit is not given: enough for two packages of the largest models that
/// a phone can hold.
const DEFAULT_LIMIT_BYTES: u64 = 32_000_000_000;
/// How long a process waits for the lock of another that is about to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The folder of packages, journal and logits.
#[derive(Debug)]
pub(in crate::device::host) struct Store {
    pub(super) root: PathBuf,
    limit_bytes: u64,
    /// Whether the limit was given. Otherwise one package may exceed it.
    is_given: bool,
    /// The packages that a `have` of this session named.
    pub(super) incoming: HashMap<String, PartialPackage>,
    /// Complete files in the folder `incoming` whose hashes this process has compared.
    pub(super) compared: HashSet<PathBuf>,
    /// Closing it releases the lock.
    _lock: File,
}

impl Store {
    /// Opens or creates the store, and removes what does not belong there or exceeds the limit.
    ///
    /// # Errors
    /// Surroundings if another process uses the store, or if the disk fails; input if the folder is not
    /// the runner's alone.
    pub fn open(root: &Path, limit_bytes: Option<u64>) -> Result<Store> {
        let was_wide = permissions::make_root(root)?;
        let root = root.canonicalize().map_err(|e| Error::io("open the store", root, e))?;
        let lock = lock(&root)?;
        for folder in ["incoming", "packages", "gone", "jobs"] {
            let path = root.join(folder);
            disk::make_folder(&path).map_err(|e| Error::io("create", &path, e))?;
        }
        if was_wide {
            permissions::narrow(&root).map_err(|e| Error::io("narrow the store", &root, e))?;
        }
        let default = || {
            let half = disk::capacity_bytes(&root).map_or(u64::MAX, |bytes| bytes / 2);
            half.min(DEFAULT_LIMIT_BYTES)
        };
        let mut store = Store {
            limit_bytes: limit_bytes.unwrap_or_else(default),
            is_given: limit_bytes.is_some(),
            root,
            incoming: HashMap::new(),
            compared: HashSet::new(),
            _lock: lock,
        };
        store.tidy();
        store.shrink();
        Ok(store)
    }

    /// Removes packages that were not used for longest until the others are within the limit. The one
    /// that was used last stays unless the limit was given.
    fn shrink(&mut self) {
        let mut old = self.folders("packages");
        old.extend(self.folders("incoming"));
        old.sort_by_key(|(.., used)| *used);
        if !self.is_given {
            old.pop();
        }
        for (_, path, _) in old {
            if self.used_bytes() <= self.limit_bytes {
                break;
            }
            // What cannot be removed stays; a transfer that needs the room says so.
            let _ = self.discard(&path);
        }
    }

    /// Removes links, files where folders belong, and packages whose removal was cut off.
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

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Forgets which packages the session announced. Their bytes stay.
    pub fn end_session(&mut self) {
        self.incoming.clear();
    }

    /// Where a complete package is.
    pub(super) fn place(&self, package: &str) -> PathBuf {
        self.root.join("packages").join(package)
    }

    /// Where a package is received.
    pub(super) fn receiving_folder(&self, package: &str) -> PathBuf {
        self.root.join("incoming").join(package)
    }

    /// The folder of a complete package.
    ///
    /// # Errors
    /// `bad_request` if the name is invalid, `not_found`.
    pub fn find(&self, package: &str) -> Result<PathBuf, Refusal> {
        check_name(package)?;
        let path = self.place(package);
        if disk::is_folder(&path) { Ok(path) } else { Err(not_found(package)) }
    }

    /// The folder of a package that is about to be read. It is marked as used now.
    ///
    /// # Errors
    /// As [`Store::find`]; `engine` if the folder contains links.
    pub fn use_now(&self, package: &str) -> Result<PathBuf, Refusal> {
        let path = self.find(package)?;
        let tree = Tree::read(&path).map_err(|e| io_refusal("read", &path, &e))?;
        if let Some(other) = tree.others.first() {
            let what = format!("{} is neither a file nor a folder", other.display());
            let what = format!("the package is damaged: {what}; evict it and send it again");
            return Err(Refusal::new(Code::Engine, what));
        }
        touch(&path);
        Ok(path)
    }

    /// Lists the complete packages, with `loaded` marked.
    pub fn list(&self, loaded: Option<&str>) -> Vec<StoredPackage> {
        let mut packages = Vec::new();
        for (package, path, used) in self.folders("packages") {
            let unix = used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            packages.push(StoredPackage {
                size_bytes: size_bytes(&path),
                last_used_unix_s: unix.as_secs(),
                loaded: loaded == Some(package.as_str()),
                package,
            });
        }
        packages.sort_by(|a, b| a.package.cmp(&b.package));
        packages
    }

    /// Removes a complete package, or what was received of one, and returns the bytes freed.
    ///
    /// # Errors
    /// `bad_request`, `not_found`, `busy` if the package is loaded, `io`.
    pub fn evict(&mut self, package: &str, loaded: Option<&str>) -> Result<u64, Refusal> {
        check_name(package)?;
        if loaded == Some(package) {
            let what = format!("{package} is loaded: unload it first");
            return Err(Refusal::new(Code::Busy, what));
        }
        let (place, partial) = (self.place(package), self.receiving_folder(package));
        if !disk::is_folder(&place) && !disk::is_folder(&partial) {
            return Err(not_found(package));
        }
        self.incoming.remove(package);
        Ok(self.discard(&place)? + self.discard(&partial)?)
    }

    /// Removes a folder and returns the bytes freed. It is first moved to `gone`, so that a removal
    /// that is cut off leaves no incomplete package in place.
    fn discard(&mut self, path: &Path) -> Result<u64, Refusal> {
        if !disk::is_folder(path) {
            return Ok(0);
        }
        let bytes = size_bytes(path);
        let gone = self.root.join("gone").join(path.file_name().unwrap_or_default());
        let failed = |e| io_refusal("remove", path, &e);
        disk::remove(&gone).map_err(failed)?;
        std::fs::rename(path, &gone).map_err(failed)?;
        self.compared.retain(|file| !file.starts_with(path));
        disk::remove(&gone).map_err(failed)?;
        Ok(bytes)
    }

    /// The packages in a folder of the store: name, path, last use.
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

    /// Bytes of all packages, complete or not.
    fn used_bytes(&self) -> u64 {
        let folders = self.folders("packages").into_iter().chain(self.folders("incoming"));
        folders.map(|(_, path, _)| size_bytes(&path)).sum()
    }

    /// Bytes that the disk leaves for packages.
    fn free_bytes(&self) -> u64 {
        disk::free_bytes(&self.root).unwrap_or(u64::MAX).saturating_sub(RESERVE_BYTES)
    }

    /// Bytes that may still be written: the lesser of what the disk and what the limit leaves.
    fn room_bytes(&self) -> u64 {
        self.free_bytes().min(self.limit_bytes.saturating_sub(self.used_bytes()))
    }

    /// Makes room for `bytes` more by removing packages that were not used for longest, but neither
    /// `keep`, nor the loaded package, nor packages that this session sends.
    ///
    /// # Errors
    /// `no_space` if that does not suffice, `io`.
    pub(super) fn make_room(
        &mut self,
        bytes: u64,
        keep: &str,
        loaded: Option<&str>,
    ) -> Result<(), Refusal> {
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
        // A package that exceeds the limit by itself may take the place of all others.
        let most = self.free_bytes().saturating_add(could);
        let is_alone = !self.is_given && bytes > room.saturating_add(could) && bytes <= most;
        if bytes > room.saturating_add(could) && !is_alone {
            let limit = self.limit_bytes;
            let what = format!(
                "{bytes} bytes are needed, {room} are free, {could} could be freed; the store holds at \
                 most {limit}"
            );
            return Err(Refusal::new(Code::NoSpace, what));
        }
        for (_, path, _) in old {
            if bytes <= self.room_bytes() {
                break;
            }
            self.discard(&path)?;
        }
        let room = if is_alone { self.free_bytes() } else { self.room_bytes() };
        if bytes <= room {
            return Ok(());
        }
        Err(Refusal::new(Code::NoSpace, format!("{bytes} bytes are needed, {room} are free")))
    }

    /// Whether `key` is new to the list of loads, to which it is then added.
    ///
    /// # Errors
    /// The disk failed.
    pub fn is_first_load(&self, key: &str) -> std::io::Result<bool> {
        use std::io::{Read, Write};
        let path = self.root.join("loads.jsonl");
        let mut file = disk::open(&path, File::options().read(true).append(true).create(true))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let line = format!("{}\n", serde_json::Value::from(key));
        if text.split_inclusive('\n').any(|known| known == line) {
            return Ok(false);
        }
        // If the last line was cut off, the new one still begins on a line of its own.
        let start = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        file.write_all(format!("{start}{line}").as_bytes())?;
        sync_data(&file).map(|()| true)
    }
}

/// Total bytes of the files below a folder.
pub(super) fn size_bytes(path: &Path) -> u64 {
    Tree::read(path).map_or(0, |tree| tree.size_bytes())
}

fn not_found(package: &str) -> Refusal {
    Refusal::new(Code::NotFound, format!("the store has no package {package}"))
}

/// Checks that `package` has the form of a package's name.
///
/// # Errors
/// `bad_request`.
pub(super) fn check_name(package: &str) -> Result<(), Refusal> {
    if is_hash(package) {
        return Ok(());
    }
    let what = "expected a package's name of 64 lower-case hexadecimal digits";
    let found = format!("{package:?}");
    Err(Refusal::new(Code::BadRequest, format!("{what}, found {found:.80}")))
}

/// Marks a folder as used now. On a disk without times, packages are evicted in any order.
pub(super) fn touch(folder: &Path) {
    if let Ok(file) = File::open(folder) {
        let _ = file.set_modified(SystemTime::now());
    }
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let file = disk::open(&path, File::options().write(true).create(true).truncate(false))
        .map_err(|e| Error::io("open", &path, e))?;
    let start = Instant::now();
    while !try_lock(&file, &path)? {
        if start.elapsed() > LOCK_PATIENCE {
            return Err(Error::surroundings("another runner uses this store")
                .at(root.display())
                .hint("end the other runner, or name another folder with --store"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(file)
}
