//! Writing the `.mlpackage` folder. It appears under its name only when it is complete.
//!
//! ```text
//! NAME.mlpackage/
//!   Manifest.json
//!   Data/com.apple.CoreML/model.mlmodel          the program
//!   Data/com.apple.CoreML/weights/weight.bin     the weights, if there are any
//! ```

use std::fs::{self, File};
use std::io::{BufWriter, IntoInnerError};
use std::path::{Path, PathBuf};

use prost::Message as _;
use serde_json::json;

use super::blob::{BlobWriter, WrittenBlobs};
use super::spec::Model;
use crate::error::{Error, Result};
use crate::files::{AtomicDir, Existing};

const AUTHOR: &str = "com.apple.CoreML";
const MANIFEST: &str = "Manifest.json";
const MODEL: &str = "com.apple.CoreML/model.mlmodel";
const WEIGHTS: &str = "com.apple.CoreML/weights";
const BUFFER_BYTES: usize = 1 << 20;

/// A package that has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenPackage {
    /// The total size of its files in bytes.
    pub size_bytes: u64,
    /// Its weight file.
    pub weights: WrittenBlobs,
    /// A hash over the program and the weights.
    pub hash: blake3::Hash,
}

/// A package that is being written. If it is dropped before [`finish`](PackageWriter::finish),
/// nothing stays on the disk.
#[derive(Debug)]
pub struct PackageWriter {
    folder: AtomicDir,
    weights: BlobWriter<BufWriter<File>>,
}

impl PackageWriter {
    /// Begins a package at `target`.
    ///
    /// # Errors
    /// An input error if `target` exists and may not be replaced; surroundings errors of the disk.
    pub fn create(target: &Path, existing: Existing) -> Result<Self> {
        let folder = AtomicDir::create(target, existing, &[MANIFEST])?;
        let path = folder.path().join("Data").join(WEIGHTS);
        fs::create_dir_all(&path).map_err(|e| Error::io("make the folder", &path, e))?;
        let path = path.join("weight.bin");
        let file = File::create(&path).map_err(|e| Error::io("write", &path, e))?;
        let weights = BlobWriter::new(BufWriter::with_capacity(BUFFER_BYTES, file))?;
        Ok(PackageWriter { folder, weights })
    }

    /// The weight file, to append blobs to.
    pub fn weights(&mut self) -> &mut BlobWriter<BufWriter<File>> {
        &mut self.weights
    }

    /// Adds the program and the manifest, and moves the package to its target. A package that is
    /// there already stays until the new one is complete and on the disk.
    ///
    /// # Errors
    /// Surroundings errors of the disk; an input error as for [`create`](PackageWriter::create).
    pub fn finish(self, model: &Model) -> Result<WrittenPackage> {
        let PackageWriter { folder, weights } = self;
        let data = folder.path().join("Data");
        let weight_folder = data.join(WEIGHTS);
        let (out, weights) = weights.finish()?;
        out.into_inner()
            .map_err(|e| Error::io("write", &weight_folder, IntoInnerError::into_error(e)))?;
        let model = model.encode_to_vec();
        let hash = blake3::Hasher::new().update(weights.hash.as_bytes()).update(&model).finalize();
        let manifest = manifest(&hash, weights.count > 0);
        let write = |path: PathBuf, bytes: &[u8]| {
            fs::write(&path, bytes).map_err(|e| Error::io("write", &path, e))
        };
        write(data.join(MODEL), &model)?;
        write(folder.path().join(MANIFEST), &manifest)?;
        if weights.count == 0 {
            fs::remove_dir_all(&weight_folder)
                .map_err(|e| Error::io("write", &weight_folder, e))?;
        }
        folder.put()?;
        let stored = if weights.count > 0 { weights.size_bytes } else { 0 };
        let size_bytes = stored + (model.len() + manifest.len()) as u64;
        Ok(WrittenPackage { size_bytes, weights, hash })
    }
}

/// The size of a package in bytes. `weights` is the size of its weight file, or `None` if it has no
/// blobs.
pub fn package_size_bytes(weights: Option<u64>, model: &Model) -> u64 {
    let manifest = manifest(&blake3::hash(b""), weights.is_some());
    weights.unwrap_or(0) + (model.encoded_len() + manifest.len()) as u64
}

/// The manifest, which lists what the package contains. Identifiers are derived from the content,
/// so that equal packages have equal files.
fn manifest(hash: &blake3::Hash, has_weights: bool) -> Vec<u8> {
    let id = |item: &str| uuid(&blake3::keyed_hash(hash.as_bytes(), item.as_bytes()));
    let mut items = serde_json::Map::new();
    let mut add = |path: &str, name: &str, description: &str| {
        let item =
            json!({ "author": AUTHOR, "description": description, "name": name, "path": path });
        items.insert(id(path), item);
    };
    add(MODEL, "model.mlmodel", "CoreML Model Specification");
    if has_weights {
        add(WEIGHTS, "weights", "CoreML Model Weights");
    }
    let manifest = json!({
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": items,
        "rootModelIdentifier": id(MODEL),
    });
    format!("{manifest:#}\n").into_bytes()
}

/// The first 16 bytes of a hash as a UUID of version 8, the version for custom schemes.
fn uuid(hash: &blake3::Hash) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = format!("{:032x}", u128::from_be_bytes(bytes));
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::blob::BlobType;

    fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    files.push((path.clone(), fs::read(path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }

    fn package(target: &Path, existing: Existing, weights: &[u8]) -> Result<WrittenPackage> {
        let mut package = PackageWriter::create(target, existing)?;
        if !weights.is_empty() {
            package.weights().append(BlobType::Uint8, weights.len() as u64, weights)?;
        }
        package.finish(&Model { specification_version: 9, ..Default::default() })
    }

    #[test]
    fn a_package_is_complete_and_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.mlpackage");
        let first = package(&target, Existing::Keep, &[1, 2, 3]).unwrap();
        let written = files(&target);
        let size_bytes: usize = written.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!((written.len(), first.size_bytes), (3, size_bytes as u64));
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(target.join(MANIFEST)).unwrap()).unwrap();
        let root = manifest["rootModelIdentifier"].as_str().unwrap();
        assert_eq!(manifest["itemInfoEntries"][root]["name"], "model.mlmodel");
        assert_eq!((root.len(), root.as_bytes()[14]), (36, b'8'));

        assert!(package(&target, Existing::Keep, &[9]).is_err());
        assert_eq!(files(&target), written);
        let again = package(&target, Existing::Replace, &[1, 2, 3]).unwrap();
        assert_eq!((files(&target), again), (written, first));
        let other = package(&target, Existing::Replace, &[9]).unwrap();
        assert_ne!(other.hash, first.hash);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary folder stays");
    }

    #[test]
    fn a_package_without_weights_has_no_weight_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.mlpackage");
        let written = package(&target, Existing::Keep, &[]).unwrap();
        assert_eq!(files(&target).len(), 2);
        let model = Model { specification_version: 9, ..Default::default() };
        assert_eq!(written.size_bytes, package_size_bytes(None, &model));
    }

    #[test]
    fn a_package_that_is_dropped_unfinished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let package = PackageWriter::create(&folder.path().join("a"), Existing::Keep).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(package);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_packages_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("thesis");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("chapter-1"), "text").unwrap();
        let error = package(&target, Existing::Replace, &[1]).unwrap_err();
        assert!(error.to_string().contains("has no Manifest.json"), "{error}");
        assert_eq!(files(&target).len(), 1);
    }
}
