//! The files of a package with their paths, sizes and hashes.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::FileEntry;
use crate::error::{Error, Result};
use crate::files::{is_finders, open_regular};
use crate::units::hex;

/// Files are hashed in pieces of this many bytes.
const HASHED_BYTES: usize = 1 << 20;

/// The files of a package, sorted by path, with their sizes and hashes.
pub(super) fn package_files(package: &Path) -> Result<Vec<FileEntry>> {
    let mut names = Vec::new();
    list(package, &mut PathBuf::new(), &mut names)?;
    names.sort();
    names.iter().map(|name| file_entry(package, name)).collect()
}

/// Collects the paths of all files below `folder` but the Finder's, with `/` between their components.
fn list(folder: &Path, below: &mut PathBuf, names: &mut Vec<String>) -> Result<()> {
    let here = folder.join(&below);
    let failed = |e| Error::io("list", &here, e);
    for entry in fs::read_dir(&here).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if is_finders(&entry.file_name()) && kind.is_file() {
            continue;
        }
        below.push(entry.file_name());
        if kind.is_dir() {
            list(folder, below, names)?;
        } else {
            let components = below.iter().map(|name| name.to_string_lossy());
            names.push(components.collect::<Vec<_>>().join("/"));
        }
        below.pop();
    }
    Ok(())
}

/// Reads a file and computes its size and hash.
pub(super) fn file_entry(folder: &Path, name: &str) -> Result<FileEntry> {
    let path = folder.join(name);
    let failed = |e| Error::io("read", &path, e);
    let (mut file, _) = open_regular("read", &path)?;
    let (mut hasher, mut size_bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; HASHED_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        size_bytes += read as u64;
        hasher.update(&buffer[..read]);
    }
    let sha256 = hex(&hasher.finalize());
    Ok(FileEntry { path: name.to_owned(), size_bytes, sha256 })
}
