//! Reading a folder of packages. Nothing in it is trusted before it is checked.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::files::{file_entry, package_files};
use super::manifest::{FORMAT, FileEntry, MANIFEST_NAME, Manifest, PackageEntry, VERSION};
use crate::error::{At, Error, Result};
use crate::files::{open_regular, read_regular};
use crate::package::budget::Budget;
use crate::package::read::Package;

/// A larger `model.json` is refused.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// More packages, or more other files, are refused. A mixture has two packages per layer.
const MAX_PACKAGES: usize = 4096;
/// A package with more files is refused.
const MAX_FILES: usize = 1000;
/// The largest number of tokens, layers or channels. Larger ones are no model's, and their products
/// would overflow.
const MAX_COUNT: usize = 1 << 24;

/// An opened folder of packages. Opening is cheap: only `model.json` is read.
#[derive(Debug)]
pub struct Bundle {
    /// The folder.
    pub folder: PathBuf,
    /// Its `model.json`.
    pub manifest: Manifest,
    budget: Arc<Budget>,
}

/// What [`Bundle::check_files`] compares with `model.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileCheck {
    /// Names and sizes.
    Sizes,
    /// Names, sizes and hashes; this reads every byte.
    Hashes,
}

impl Bundle {
    /// Opens a folder that `evalkit package` wrote.
    ///
    /// # Errors
    /// Input errors that name the file and the field at fault.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_NAME);
        let place = || path.display().to_string();
        let bytes = read_regular("read", &path, MAX_MANIFEST_BYTES).map_err(|e| {
            e.hint("give a folder that `evalkit package` wrote; it contains a model.json")
        })?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| Error::input("this is not a valid model.json").because(e))
            .at(place)?;
        check(&manifest).at(place)?;
        let budget = Budget::of(stored_bytes(folder, &manifest));
        Ok(Bundle { folder: folder.to_owned(), manifest, budget })
    }

    /// What executing all packages together may take.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Once `stop` is set, whatever executes the packages ends with an interruption, within a second.
    /// The first flag that is given counts.
    pub fn stop_by(&self, stop: Arc<AtomicBool>) {
        self.budget.stop_by(stop);
    }

    /// Opens one of its packages.
    ///
    /// # Errors
    /// Input errors of the package.
    pub fn package(&self, entry: &PackageEntry) -> Result<Package> {
        Ok(Package::open(&self.folder.join(&entry.path))?.within(&self.budget))
    }

    /// Compares the files of all packages, and the other files of the folder, with `model.json`.
    ///
    /// # Errors
    /// An input error for the first file that is missing, unexpected or different.
    pub fn check_files(&self, check: FileCheck) -> Result<()> {
        for package in &self.manifest.packages {
            let folder = self.folder.join(&package.path);
            let found = match check {
                FileCheck::Hashes => package_files(&folder)?,
                FileCheck::Sizes => sizes(&folder, &package.files)?,
            };
            compare(&package.files, &found, check).at(|| package.path.clone())?;
        }
        for file in &self.manifest.files {
            let found = file_entry(&self.folder, &file.path)?;
            compare(std::slice::from_ref(file), &[found], check)?;
        }
        Ok(())
    }

    /// Compares files that are hashed already with `model.json`; `found` has paths relative to the
    /// folder.
    ///
    /// # Errors
    /// As [`Bundle::check_files`].
    pub fn check_hashed(&self, found: &[FileEntry]) -> Result<()> {
        for package in &self.manifest.packages {
            compare(&package.files, &inside(found, &package.path), FileCheck::Hashes)
                .at(|| package.path.clone())?;
        }
        for file in &self.manifest.files {
            let own = found.iter().filter(|other| other.path == file.path).cloned();
            let own: Vec<FileEntry> = own.collect();
            compare(std::slice::from_ref(file), &own, FileCheck::Hashes)?;
        }
        Ok(())
    }
}

/// The bytes that the files of all packages have on the disk, whatever `model.json` says.
fn stored_bytes(folder: &Path, manifest: &Manifest) -> u64 {
    let size = |package: &PackageEntry, file: &FileEntry| {
        std::fs::metadata(folder.join(&package.path).join(&file.path))
            .map_or(0, |found| found.len())
    };
    let packages = manifest.packages.iter();
    packages.flat_map(|package| package.files.iter().map(move |file| size(package, file))).sum()
}

/// The files below the folder `below`, with paths relative to it.
fn inside(found: &[FileEntry], below: &str) -> Vec<FileEntry> {
    let relative = |file: &FileEntry| {
        let path = file.path.strip_prefix(below)?.strip_prefix('/')?.to_owned();
        Some(FileEntry { path, ..file.clone() })
    };
    found.iter().filter_map(relative).collect()
}

/// These files with the sizes that they have on the disk.
fn sizes(folder: &Path, files: &[FileEntry]) -> Result<Vec<FileEntry>> {
    let size = |file: &FileEntry| {
        let path = folder.join(&file.path);
        let size_bytes = open_regular("read", &path)?.1.len();
        Ok(FileEntry { size_bytes, ..file.clone() })
    };
    files.iter().map(size).collect()
}

fn compare(expected: &[FileEntry], found: &[FileEntry], check: FileCheck) -> Result<()> {
    for file in expected {
        let Some(other) = found.iter().find(|other| other.path == file.path) else {
            return Err(Error::input("the file is missing").at(&file.path));
        };
        if other.size_bytes != file.size_bytes {
            let (expected, found) = (file.size_bytes, other.size_bytes);
            return Err(Error::input(format!("expected {expected} bytes, found {found}"))
                .at(&file.path)
                .hint("the file was truncated or replaced; write the packages again"));
        }
        if check == FileCheck::Hashes && other.sha256 != file.sha256 {
            let (expected, found) = (&file.sha256, &other.sha256);
            return Err(Error::input(format!(
                "expected SHA-256 {expected:.16}, found {found:.16}"
            ))
            .at(&file.path)
            .hint("the file was changed after it was written; write the packages again"));
        }
    }
    match found.iter().find(|other| expected.iter().all(|file| file.path != other.path)) {
        Some(extra) => Err(Error::input("model.json does not list this file").at(&extra.path)),
        None => Ok(()),
    }
}

/// Refuses a file of another format or version, and paths that lead out of the folder.
fn check(manifest: &Manifest) -> Result<()> {
    if manifest.format != FORMAT || manifest.version != VERSION {
        let found = format!("{}, version {}", manifest.format, manifest.version);
        return Err(Error::input(format!(
            "expected format {FORMAT}, version {VERSION}; found {found}"
        )));
    }
    let (packages, files) = (manifest.packages.len(), manifest.files.len());
    if packages.max(files) > MAX_PACKAGES {
        return Err(Error::input(format!(
            "expected at most {MAX_PACKAGES} packages and other files, found {packages} and {files}"
        )));
    }
    if let Some(package) = manifest.packages.iter().find(|one| one.files.len() > MAX_FILES) {
        let found = package.files.len();
        return Err(Error::input(format!("expected at most {MAX_FILES} files, found {found}"))
            .at(&package.path));
    }
    check_counts(manifest)?;
    let packages = manifest.packages.iter();
    let inner = packages.clone().flat_map(|package| &package.files);
    let paths = packages.map(|package| &package.path);
    for path in paths.chain(inner.chain(&manifest.files).map(|file| &file.path)) {
        let is_plain =
            Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !is_plain || path.contains('\\') {
            let what = format!("expected a path inside the folder, found {path:?}");
            return Err(Error::input(what));
        }
    }
    if manifest.packages.is_empty() {
        return Err(Error::input("expected at least one package"));
    }
    Ok(())
}

/// Refuses numbers of tokens, layers and channels that no model has.
fn check_counts(manifest: &Manifest) -> Result<()> {
    let model = &manifest.model;
    let counts = [
        ("context_tokens", model.context_tokens),
        ("prefill_tokens", model.prefill_tokens),
        ("layers", model.layers),
        ("hidden_size", model.hidden_size),
        ("kv_heads", model.kv_heads),
        ("head_dim", model.head_dim),
        ("value_dim", model.value_dim.unwrap_or(1)),
        ("conv_tokens", model.conv_tokens.unwrap_or(1)),
        ("vocab_size", model.vocab_size),
        ("sliding_window_tokens", model.sliding_window_tokens.unwrap_or(1)),
    ];
    match counts.iter().find(|(_, count)| !(1..=MAX_COUNT).contains(count)) {
        None => Ok(()),
        Some((name, found)) => {
            Err(Error::input(format!("model.{name}: expected 1 to {MAX_COUNT}, found {found}")))
        }
    }
}
