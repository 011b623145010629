//! Reading a folder of packages back, trusting nothing in it.

use std::path::{Component, Path, PathBuf};

use super::files::{file_entry, package_files};
use super::manifest::{FORMAT, FileEntry, MANIFEST_NAME, Manifest, PackageEntry, VERSION};
use crate::error::{At, Error, Result};
use crate::package::read::Package;

/// Most bytes of `model.json` that are read.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// A folder of packages. Cheap: only `model.json` is read.
#[derive(Debug)]
pub struct Bundle {
    /// Where it is.
    pub folder: PathBuf,
    /// Its `model.json`.
    pub manifest: Manifest,
}

/// What is compared with `model.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Names and sizes.
    Sizes,
    /// Names, sizes and hashes: every byte is read.
    Hashes,
}

impl Bundle {
    /// Opens the folder that `evalkit package` wrote.
    ///
    /// # Errors
    /// Input errors that name the field at fault.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_NAME);
        let place = || path.display().to_string();
        let size_bytes = std::fs::metadata(&path)
            .map_err(|e| {
                Error::io("read", &path, e)
                    .hint("expected a folder that evalkit package wrote, with its model.json")
            })?
            .len();
        if size_bytes > MAX_MANIFEST_BYTES {
            let what = format!("expected at most {MAX_MANIFEST_BYTES} bytes, found {size_bytes}");
            return Err(Error::input(what)).at(place);
        }
        let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| Error::input("not a description of packages").because(e))
            .at(place)?;
        check(&manifest).at(place)?;
        Ok(Bundle { folder: folder.to_owned(), manifest })
    }

    /// Opens one of its packages.
    ///
    /// # Errors
    /// Input errors of the package.
    pub fn package(&self, entry: &PackageEntry) -> Result<Package> {
        Package::open(&self.folder.join(&entry.path))
    }

    /// Compares the files of every package, and those beside them, with `model.json`.
    ///
    /// # Errors
    /// An input error for the first file that is missing, surplus or another.
    pub fn check_files(&self, check: Check) -> Result<()> {
        for package in &self.manifest.packages {
            let folder = self.folder.join(&package.path);
            let found = match check {
                Check::Hashes => package_files(&folder)?,
                Check::Sizes => sizes(&folder, &package.files)?,
            };
            same(&package.files, &found, check).at(|| package.path.clone())?;
        }
        for file in &self.manifest.files {
            let found = file_entry(&self.folder, &file.path)?;
            same(std::slice::from_ref(file), &[found], check)?;
        }
        Ok(())
    }
}

/// The sizes of these files.
fn sizes(folder: &Path, files: &[FileEntry]) -> Result<Vec<FileEntry>> {
    let size = |file: &FileEntry| {
        let path = folder.join(&file.path);
        let size_bytes = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?.len();
        Ok(FileEntry { size_bytes, ..file.clone() })
    };
    files.iter().map(size).collect()
}

fn same(expected: &[FileEntry], found: &[FileEntry], check: Check) -> Result<()> {
    for file in expected {
        let Some(other) = found.iter().find(|other| other.path == file.path) else {
            return Err(Error::input("this file is missing").at(&file.path));
        };
        if other.size_bytes != file.size_bytes {
            let (expected, found) = (file.size_bytes, other.size_bytes);
            return Err(Error::input(format!("expected {expected} bytes, found {found}"))
                .at(&file.path)
                .hint("the file was cut off or exchanged"));
        }
        if check == Check::Hashes && other.sha256 != file.sha256 {
            let (expected, found) = (&file.sha256, &other.sha256);
            return Err(Error::input(format!("expected SHA-256 {expected:.16}, found {found:.16}"))
                .at(&file.path)
                .hint("its content was changed since it was written"));
        }
    }
    match found.iter().find(|other| expected.iter().all(|file| file.path != other.path)) {
        Some(surplus) => Err(Error::input("this file does not belong here").at(&surplus.path)),
        None => Ok(()),
    }
}

/// Refuses a description of another kind, and paths that lead elsewhere.
fn check(manifest: &Manifest) -> Result<()> {
    if manifest.format != FORMAT || manifest.version != VERSION {
        let found = format!("{} {}", manifest.format, manifest.version);
        return Err(Error::input(format!("expected {FORMAT} {VERSION}, found {found}")));
    }
    let packages = manifest.packages.iter();
    let inner = packages.clone().flat_map(|package| &package.files);
    let paths = packages.map(|package| &package.path);
    for path in paths.chain(inner.chain(&manifest.files).map(|file| &file.path)) {
        let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !is_plain || path.contains('\\') {
            let what = format!("expected a path within the folder, found {path:?}");
            return Err(Error::input(what));
        }
    }
    if manifest.packages.is_empty() {
        return Err(Error::input("expected at least one package"));
    }
    Ok(())
}
