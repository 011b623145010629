//! From manifest to package: what is held of each file, and the step into place.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::disk::{self, Tree, fault};
use super::receive::{Receiving, Start};
use super::{Store, check_name, size_bytes, touch};
use crate::device::protocol::content::{self, Content, Refused};
use crate::device::protocol::frame::MAX_CHUNK_BYTES;
use crate::device::protocol::message::Code;
use crate::device::protocol::result::{Held, HeldFile};
use crate::units::hex;

/// Parts are kept to multiples of this.
const STEP_BYTES: u64 = MAX_CHUNK_BYTES as u64;

/// A package that is being sent.
#[derive(Debug)]
pub(super) struct Incoming {
    folder: PathBuf,
    files: Vec<Part>,
    by_path: HashMap<String, usize>,
}

/// A file of it.
#[derive(Debug)]
struct Part {
    file: content::File,
    /// Its number among the sorted paths: every manifest of a package gives the same.
    number: usize,
    have_bytes: u64,
    /// Of the bytes held, where they were hashed.
    hash: Option<Sha256>,
}

impl Part {
    fn part(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.part", self.number))
    }

    fn whole(&self, folder: &Path) -> PathBuf {
        folder.join("tree").join(&self.file.path)
    }
}

impl Store {
    /// Begins or resumes a transfer: checks names and room, and says what is held.
    ///
    /// # Errors
    /// As `Content::check`; `no_space`, `hash` of an empty file, `io`.
    pub fn have(&mut self, content: &Content, loaded: Option<&str>) -> Result<Held, Refused> {
        content.check()?;
        let package = content.package();
        if disk::is_folder(&self.place(&package)) {
            return Ok(Held { complete: true, files: Vec::new() });
        }
        let nothing = hex(&Sha256::digest(b""));
        let lying = |file: &&content::File| file.size_bytes == 0 && file.sha256 != nothing;
        if let Some(file) = content.files.iter().find(lying) {
            let what = format!("{:?} is empty, but its hash is {}", file.path, file.sha256);
            return Err((Code::Hash, what));
        }
        let held = size_bytes(&self.aside(&package));
        let to_come = content.size_bytes().saturating_sub(held);
        self.make_room(to_come, &package, loaded)?;
        let incoming = self.resume(content, &package).map_err(|e| {
            let place = self.aside(&package);
            fault("read what is held in", &place, &e)
        })?;
        let held = |of: &Part| HeldFile { path: of.file.path.clone(), have_bytes: of.have_bytes };
        let files: Vec<HeldFile> = incoming.files.iter().map(held).collect();
        let have: u64 = files.iter().map(|file| file.have_bytes).sum();
        self.incoming.insert(package.clone(), incoming);
        self.make_room(content.size_bytes() - have, &package, loaded)?;
        Ok(Held { complete: false, files })
    }

    /// Reads what is held of a package, and removes what cannot be gone on with.
    fn resume(&mut self, content: &Content, package: &str) -> std::io::Result<Incoming> {
        let folder = self.aside(package);
        disk::make_folder(&folder)?;
        disk::make_folder(&folder.join("tree"))?;
        let mut order: Vec<usize> = (0..content.files.len()).collect();
        order.sort_by_key(|at| content.files[*at].path.as_bytes());
        let mut numbers = vec![0; order.len()];
        order.iter().enumerate().for_each(|(number, at)| numbers[*at] = number);
        let mut files = Vec::with_capacity(numbers.len());
        for (file, number) in content.files.iter().zip(numbers) {
            let mut held = Part { file: file.clone(), number, have_bytes: 0, hash: None };
            self.measure(&folder, &mut held)?;
            files.push(held);
        }
        let path = |(at, held): (usize, &Part)| (held.file.path.clone(), at);
        let by_path = files.iter().enumerate().map(path).collect();
        Ok(Incoming { folder, files, by_path })
    }

    /// Finds out how much of a file is held.
    fn measure(&mut self, folder: &Path, held: &mut Part) -> std::io::Result<()> {
        let (part, whole) = (held.part(folder), held.whole(folder));
        let size = held.file.size_bytes;
        if disk::is_plain(&folder.join("tree"), &held.file.path) {
            let same = disk::size_of(&whole) == Some(size)
                && (self.compared.contains(&whole) || is_same(&whole, &held.file)?);
            if same {
                self.compared.insert(whole);
                held.have_bytes = size;
                return disk::remove(&part);
            }
            disk::remove(&whole)?;
        }
        if size == 0 {
            disk::make_parents(&folder.join("tree"), &held.file.path)?;
            disk::remove(&whole)?;
            disk::open(&whole, File::options().write(true).create_new(true))?;
            self.compared.insert(whole);
            return Ok(());
        }
        let Some(found) = disk::size_of(&part) else { return disk::remove(&part) };
        let keep = found.min(size - 1) / STEP_BYTES * STEP_BYTES;
        let mut file = disk::open(&part, File::options().read(true).write(true))?;
        if found != keep {
            file.set_len(keep)?;
        }
        held.hash = Some(disk::hash(&mut file, keep)?);
        held.have_bytes = keep;
        Ok(())
    }

    /// Begins to receive a file's bytes; nothing where all are there and none were announced.
    ///
    /// # Errors
    /// `bad_request` for what no `have` of this session named, or another place than it said;
    /// `io`.
    pub fn receive(
        &mut self,
        package: &str,
        path: &str,
        offset_bytes: u64,
        size_bytes: u64,
    ) -> Result<Option<Receiving>, Refused> {
        let bad = |what: String| (Code::BadRequest, what);
        check_name(package)?;
        let incoming = self.incoming.get_mut(package);
        let incoming =
            incoming.ok_or_else(|| bad(format!("no have of this session named {package}")))?;
        let at = incoming.by_path.get(path).copied();
        let at = at.ok_or_else(|| bad(format!("{package} has no file {path:?}")))?;
        let held = &mut incoming.files[at];
        let (have, size) = (held.have_bytes, held.file.size_bytes);
        if offset_bytes != have || size_bytes != size - have {
            let expected = format!("expected {} bytes from byte {have} on", size - have);
            return Err(bad(format!(
                "{path:?}: {expected}, found {size_bytes} from {offset_bytes} on"
            )));
        }
        if size_bytes == 0 {
            return Ok(None);
        }
        let part = held.part(&incoming.folder);
        let start = Start { path: path.to_owned(), part, offset_bytes, size_bytes };
        Receiving::new(package.to_owned(), start, held.hash.take())
            .map(Some)
            .map_err(|e| fault("write", Path::new(path), &e))
    }

    /// Ends receiving: compares the hash and keeps the file, or what came of it.
    ///
    /// # Errors
    /// What went wrong while receiving; `hash`, `io`.
    pub fn received(&mut self, receiving: Receiving) -> Result<u64, Refused> {
        let (package, path) = (receiving.package.clone(), receiving.path.clone());
        let gone = || (Code::BadRequest, format!("{package} was removed meanwhile"));
        let incoming = self.incoming.get_mut(&package).ok_or_else(gone)?;
        let at = incoming.by_path.get(&path).copied().ok_or_else(gone)?;
        let held = &mut incoming.files[at];
        let (part, whole) = (held.part(&incoming.folder), held.whole(&incoming.folder));
        let failed = |e| fault("keep", Path::new(&path), &e);
        let end = receiving.end();
        if let Some(refused) = end.refused {
            held.have_bytes =
                end.have_bytes.min(held.file.size_bytes - 1) / STEP_BYTES * STEP_BYTES;
            held.hash = None;
            disk::open(&part, File::options().write(true))
                .and_then(|file| file.set_len(held.have_bytes))
                .map_err(failed)?;
            return Err(refused);
        }
        if end.sha256 != held.file.sha256 {
            held.have_bytes = 0;
            disk::remove(&part).map_err(failed)?;
            let what = format!("expected {}, found {}", held.file.sha256, end.sha256);
            return Err((Code::Hash, format!("{path:?}: SHA-256: {what}; its bytes are removed")));
        }
        disk::make_parents(&incoming.folder.join("tree"), &path).map_err(failed)?;
        disk::remove(&whole).map_err(failed)?;
        std::fs::rename(&part, &whole).map_err(failed)?;
        held.have_bytes = held.file.size_bytes;
        self.compared.insert(whole);
        Ok(held.file.size_bytes)
    }

    /// Puts a package in place.
    ///
    /// # Errors
    /// `bad_request` where no `have` of this session named it, `incomplete`, `io`, `no_space`.
    pub fn commit(&mut self, package: &str) -> Result<(), Refused> {
        check_name(package)?;
        if disk::is_folder(&self.place(package)) {
            return Ok(());
        }
        let Some(incoming) = self.incoming.get(package) else {
            let what = format!("no have of this session named {package}");
            return Err((Code::BadRequest, what));
        };
        let tree = incoming.folder.join("tree");
        let lacks = |held: &&Part| {
            let size = held.file.size_bytes;
            held.have_bytes != size
                || !disk::is_plain(&tree, &held.file.path)
                || disk::size_of(&held.whole(&incoming.folder)) != Some(size)
        };
        let mut missing = incoming.files.iter().filter(lacks);
        if let Some(held) = missing.next() {
            let (have, size) = (held.have_bytes, held.file.size_bytes);
            let more = missing.count();
            let what = format!("{:?} has {have} of {size} bytes", held.file.path);
            return Err((Code::Incomplete, format!("{what}; {more} further files lack bytes")));
        }
        let place = self.place(package);
        let aside = incoming.folder.clone();
        let settled = settle(&tree, incoming).and_then(|()| {
            touch(&tree);
            disk::remove(&place)?;
            std::fs::rename(&tree, &place)?;
            disk::sync_folder(&self.root.join("packages"))
        });
        settled.map_err(|e| fault("put in place", &place, &e))?;
        self.incoming.remove(package);
        self.compared.retain(|file| !file.starts_with(&aside));
        disk::remove(&aside).map_err(|e| fault("remove", &aside, &e))
    }
}

/// Removes what is not of the package, and waits until the rest has reached the disk.
fn settle(tree: &Path, incoming: &Incoming) -> std::io::Result<()> {
    let found = Tree::read(tree)?;
    found.others.iter().try_for_each(|path| disk::remove(path))?;
    for (path, _) in &found.files {
        let name = path.strip_prefix(tree).ok().and_then(Path::to_str);
        if name.is_some_and(|name| incoming.by_path.contains_key(name)) {
            disk::open(path, File::options().read(true))?.sync_all()?;
        } else {
            disk::remove(path)?;
        }
    }
    found.folders.iter().try_for_each(|folder| disk::sync_folder(folder))
}

/// Whether a file's bytes have the hash that they should.
fn is_same(path: &Path, expected: &content::File) -> std::io::Result<bool> {
    let mut file = disk::open(path, File::options().read(true))?;
    Ok(hex(&disk::hash(&mut file, expected.size_bytes)?.finalize()) == expected.sha256)
}
