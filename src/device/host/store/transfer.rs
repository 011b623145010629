//! Receiving a package: which bytes have arrived, the bytes of a file, and the commit.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::disk::{self, io_refusal};
use super::packages::{Store, check_name, size_bytes, touch};
use super::partial_package::{PartialFile, PartialPackage};
use super::receive::{ReceiveStart, Receiving};
use crate::device::protocol::code::{Code, Refusal};
use crate::device::protocol::manifest::{Manifest, ManifestFile};
use crate::device::protocol::result::{Held, HeldFile};
use crate::files::sync_folder;
use crate::units::hex;

impl Store {
    /// Begins or resumes a transfer: checks the manifest, makes room, and returns how many bytes of each
    /// file have arrived.
    ///
    /// # Errors
    /// As [`Manifest::check`]; `hash` if an empty file has another hash than that of no bytes;
    /// `no_space`, `io`.
    pub fn have(&mut self, manifest: &Manifest, loaded: Option<&str>) -> Result<Held, Refusal> {
        manifest.check()?;
        let package = manifest.package();
        if disk::is_folder(&self.place(&package)) {
            return Ok(Held { complete: true, files: Vec::new() });
        }
        let of_no_bytes = hex(&Sha256::digest(b""));
        let is_wrong = |file: &&ManifestFile| file.size_bytes == 0 && file.sha256 != of_no_bytes;
        if let Some(file) = manifest.files.iter().find(is_wrong) {
            let what = format!("{:?} is empty, but its hash is {}", file.path, file.sha256);
            return Err(Refusal::new(Code::Hash, what));
        }
        let held = size_bytes(&self.receiving_folder(&package));
        let to_come = manifest.size_bytes().saturating_sub(held);
        self.make_room(to_come, &package, loaded)?;
        let partial = self.resume(manifest, &package).map_err(|e| {
            let place = self.receiving_folder(&package);
            io_refusal("read what was received in", &place, &e)
        })?;
        let held =
            |of: &PartialFile| HeldFile { path: of.file.path.clone(), have_bytes: of.have_bytes };
        let files: Vec<HeldFile> = partial.files.iter().map(held).collect();
        let have: u64 = files.iter().map(|file| file.have_bytes).sum();
        self.incoming.insert(package.clone(), partial);
        self.make_room(manifest.size_bytes() - have, &package, loaded)?;
        Ok(Held { complete: false, files })
    }

    /// Reads what has arrived of a package, and removes what a transfer cannot resume from.
    fn resume(&mut self, manifest: &Manifest, package: &str) -> io::Result<PartialPackage> {
        let folder = self.receiving_folder(package);
        disk::make_folder(&folder)?;
        disk::make_folder(&folder.join("tree"))?;
        let mut order: Vec<usize> = (0..manifest.files.len()).collect();
        order.sort_by_key(|at| manifest.files[*at].path.as_bytes());
        let mut numbers = vec![0; order.len()];
        order.iter().enumerate().for_each(|(number, at)| numbers[*at] = number);
        let mut files = Vec::with_capacity(numbers.len());
        for (file, number) in manifest.files.iter().zip(numbers) {
            let mut partial = PartialFile { file: file.clone(), number, have_bytes: 0, hash: None };
            self.measure(&folder, &mut partial)?;
            files.push(partial);
        }
        let path = |(at, partial): (usize, &PartialFile)| (partial.file.path.clone(), at);
        let by_path = files.iter().enumerate().map(path).collect();
        Ok(PartialPackage { folder, files, by_path })
    }

    /// Finds out how many bytes of a file have arrived.
    fn measure(&mut self, folder: &Path, partial: &mut PartialFile) -> io::Result<()> {
        let (part, whole) = (partial.part(folder), partial.whole(folder));
        let size = partial.file.size_bytes;
        if disk::is_plain(&folder.join("tree"), &partial.file.path) {
            let is_intact = disk::size_of(&whole) == Some(size)
                && (self.compared.contains(&whole) || has_hash(&whole, &partial.file)?);
            if is_intact {
                self.compared.insert(whole);
                partial.have_bytes = size;
                return disk::remove(&part);
            }
            disk::remove(&whole)?;
        }
        if size == 0 {
            disk::make_parents(&folder.join("tree"), &partial.file.path)?;
            disk::remove(&whole)?;
            disk::open(&whole, File::options().write(true).create_new(true))?;
            self.compared.insert(whole);
            return Ok(());
        }
        let Some(found) = disk::size_of(&part) else { return disk::remove(&part) };
        let kept = partial.kept(found);
        let mut file = disk::open(&part, File::options().read(true).write(true))?;
        if found != kept {
            file.set_len(kept)?;
        }
        partial.hash = Some(disk::hash(&mut file, kept)?);
        partial.have_bytes = kept;
        Ok(())
    }

    /// Begins to receive a file's bytes; `None` if the file is complete and no bytes were announced.
    ///
    /// # Errors
    /// `bad_request` if no `have` of this session named the file, or if the announced bytes are not
    /// those that are missing; `io`.
    pub fn receive(
        &mut self,
        package: &str,
        path: &str,
        offset_bytes: u64,
        size_bytes: u64,
    ) -> Result<Option<Receiving>, Refusal> {
        let bad = |what: String| Refusal::new(Code::BadRequest, what);
        check_name(package)?;
        let partial = self.incoming.get_mut(package).ok_or_else(|| not_named(package))?;
        let at = partial.by_path.get(path).copied();
        let at = at.ok_or_else(|| bad(format!("{package} has no file {path:?}")))?;
        let file = &mut partial.files[at];
        let (have, size) = (file.have_bytes, file.file.size_bytes);
        if offset_bytes != have || size_bytes != size - have {
            return Err(bad(format!(
                "{path:?}: expected {} bytes from byte {have} on, found {size_bytes} from byte {offset_bytes} on",
                size - have
            )));
        }
        if size_bytes == 0 {
            return Ok(None);
        }
        let part = file.part(&partial.folder);
        let start = ReceiveStart {
            package: package.to_owned(),
            path: path.to_owned(),
            part,
            offset_bytes,
            size_bytes,
        };
        Receiving::new(start, file.hash.take())
            .map(Some)
            .map_err(|e| io_refusal("write", Path::new(path), &e))
    }

    /// Ends receiving: compares the hash, and keeps the complete file or the part that came. Returns
    /// the size of the file.
    ///
    /// # Errors
    /// What went wrong while receiving; `hash`, `io`.
    pub fn received(&mut self, receiving: Receiving) -> Result<u64, Refusal> {
        let (package, path) = (receiving.package.clone(), receiving.path.clone());
        let removed = || {
            let what = format!("{package} was removed while it was received");
            Refusal::new(Code::BadRequest, what)
        };
        let partial = self.incoming.get_mut(&package).ok_or_else(removed)?;
        let at = partial.by_path.get(&path).copied().ok_or_else(removed)?;
        let file = &mut partial.files[at];
        let (part, whole) = (file.part(&partial.folder), file.whole(&partial.folder));
        let failed = |e| io_refusal("keep", Path::new(&path), &e);
        let end = receiving.end();
        let found = match end.sha256 {
            Ok(found) => found,
            Err(refusal) => {
                file.have_bytes = file.kept(end.have_bytes);
                file.hash = None;
                disk::open(&part, File::options().write(true))
                    .and_then(|part| part.set_len(file.have_bytes))
                    .map_err(failed)?;
                return Err(refusal);
            }
        };
        let expected = &file.file.sha256;
        if found != *expected {
            file.have_bytes = 0;
            disk::remove(&part).map_err(failed)?;
            let what = format!("{path:?}: expected SHA-256 {expected}, found {found}");
            return Err(Refusal::new(Code::Hash, format!("{what}; its bytes were removed")));
        }
        disk::make_parents(&partial.folder.join("tree"), &path).map_err(failed)?;
        disk::remove(&whole).map_err(failed)?;
        std::fs::rename(&part, &whole).map_err(failed)?;
        file.have_bytes = file.file.size_bytes;
        self.compared.insert(whole);
        Ok(file.file.size_bytes)
    }

    /// Renames a complete package into place.
    ///
    /// # Errors
    /// `bad_request` if no `have` of this session named it; `incomplete`, `io`, `no_space`.
    pub fn commit(&mut self, package: &str) -> Result<(), Refusal> {
        check_name(package)?;
        if disk::is_folder(&self.place(package)) {
            return Ok(());
        }
        let partial = self.incoming.get(package).ok_or_else(|| not_named(package))?;
        let mut missing = partial.files.iter().filter(|file| !file.is_complete(&partial.folder));
        if let Some(file) = missing.next() {
            let (have, size) = (file.have_bytes, file.file.size_bytes);
            let more = missing.count();
            let what = format!("{:?} has {have} of {size} bytes", file.file.path);
            let what = format!("{what}, and {more} more files are incomplete");
            return Err(Refusal::new(Code::Incomplete, what));
        }
        let place = self.place(package);
        let folder = partial.folder.clone();
        let tree = folder.join("tree");
        let settled = partial.settle().and_then(|()| {
            touch(&tree);
            disk::remove(&place)?;
            std::fs::rename(&tree, &place)?;
            sync_folder(&self.root.join("packages"))
        });
        settled.map_err(|e| io_refusal("put in place", &place, &e))?;
        self.incoming.remove(package);
        self.compared.retain(|file| !file.starts_with(&folder));
        disk::remove(&folder).map_err(|e| io_refusal("remove", &folder, &e))
    }
}

fn not_named(package: &str) -> Refusal {
    Refusal::new(Code::BadRequest, format!("no have of this session named {package}"))
}

/// Whether a file's bytes have the hash that the manifest states.
fn has_hash(path: &Path, expected: &ManifestFile) -> io::Result<bool> {
    let mut file = disk::open(path, File::options().read(true))?;
    Ok(hex(&disk::hash(&mut file, expected.size_bytes)?.finalize()) == expected.sha256)
}
