//! What is sent to a runner: files by path, size and hash, and the name of the package they form.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::code::{Code, Refusal};
use crate::units::hex;

/// The most files that a package may have.
pub const MAX_FILES: usize = 65_536;
/// The most bytes of a path.
const MAX_PATH_BYTES: usize = 1024;
/// The most bytes of one part of a path.
const MAX_PART_BYTES: usize = 255;
/// The most parts of a path.
const MAX_PARTS: usize = 16;
/// The most bytes of a file: 2^53 - 1, the largest integer that every JSON reader keeps exact.
const MAX_FILE_BYTES: u64 = (1 << 53) - 1;

/// The files of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The files, in any order.
    pub files: Vec<ManifestFile>,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its path within the folder, with parts separated by `/`.
    pub path: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The package's name: the SHA-256 of one line per file (path, size, hash), sorted by path.
    pub fn package(&self) -> String {
        let mut files: Vec<&ManifestFile> = self.files.iter().collect();
        files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        let mut hash = Sha256::new();
        for ManifestFile { path, size_bytes, sha256 } in files {
            hash.update(format!("{path}\t{size_bytes}\t{sha256}\n"));
        }
        hex(&hash.finalize())
    }

    /// Total bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).fold(0, u64::saturating_add)
    }

    /// Checks the number of files, and each path, size and hash.
    ///
    /// # Errors
    /// The first violation of the protocol.
    pub fn check(&self) -> Result<(), Refusal> {
        let count = self.files.len();
        if count == 0 || count > MAX_FILES {
            let what = format!("expected a package of 1 to {MAX_FILES} files, found {count}");
            return Err(Refusal::new(Code::BadRequest, what));
        }
        let mut seen = HashMap::with_capacity(count);
        for file in &self.files {
            check_path(&file.path).map_err(|what| Refusal::new(Code::BadName, what))?;
            if !is_hash(&file.sha256) {
                let what = format!("{:?}: expected a SHA-256 of 64 hexadecimal digits", file.path);
                return Err(Refusal::new(Code::BadRequest, what));
            }
            if file.size_bytes > MAX_FILE_BYTES {
                let (path, found) = (&file.path, file.size_bytes);
                let what =
                    format!("{path:?}: expected at most {MAX_FILE_BYTES} bytes, found {found}");
                return Err(Refusal::new(Code::TooLarge, what));
            }
            if seen.insert(file.path.to_lowercase(), &file.path).is_some() {
                let what =
                    format!("{:?} occurs twice (upper and lower case count as equal)", file.path);
                return Err(Refusal::new(Code::BadName, what));
            }
        }
        self.check_folders(&seen)
    }

    /// Checks that no path is a folder of another.
    fn check_folders(&self, seen: &HashMap<String, &String>) -> Result<(), Refusal> {
        for file in &self.files {
            let path = file.path.to_lowercase();
            for (at, _) in path.match_indices('/') {
                if let Some(other) = seen.get(&path[..at]) {
                    let what = format!("{other:?} is both a file and a folder of {:?}", file.path);
                    return Err(Refusal::new(Code::BadName, what));
                }
            }
        }
        Ok(())
    }
}

/// Checks that the protocol allows `path`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn check_path(path: &str) -> Result<(), String> {
    let bytes = path.len();
    if bytes == 0 || bytes > MAX_PATH_BYTES {
        return Err(format!("expected a path of 1 to {MAX_PATH_BYTES} bytes, found {bytes}"));
    }
    let parts = path.split('/');
    if parts.clone().count() > MAX_PARTS {
        return Err(format!("{path:?} has more than {MAX_PARTS} parts"));
    }
    for part in parts {
        if part.is_empty() || part == "." || part == ".." {
            return Err(format!("{path:?}: {part:?} is not allowed as part of a path"));
        }
        if part.len() > MAX_PART_BYTES {
            return Err(format!(
                "expected at most {MAX_PART_BYTES} bytes per part, found {}",
                part.len()
            ));
        }
        if let Some(c) = part.chars().find(|c| c.is_control() || matches!(c, '\\' | ':')) {
            return Err(format!("{path:?}: {c:?} is not allowed in a path"));
        }
    }
    Ok(())
}

/// Whether `text` is the lower-case hexadecimal form of a SHA-256.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
