//! What is sent to a runner: files by path, size and hash, and one name for all of them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::message::Code;
use crate::units::hex;

/// The most files that a package may have.
pub const MAX_FILES: usize = 65_536;
/// The most bytes of a path.
const MAX_PATH_BYTES: usize = 1024;
/// The most bytes of one of its parts.
const MAX_PART_BYTES: usize = 255;
/// The most parts of a path.
const MAX_PARTS: usize = 16;
/// The most bytes of a file: 2^53 - 1, which every JSON reader keeps exactly.
const MAX_FILE_BYTES: u64 = (1 << 53) - 1;

/// The files of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its files.
    pub files: Vec<File>,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Where it lies in the folder; parts separated by `/`.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// Why a manifest is refused: a code of the protocol and a sentence.
pub type Refused = (Code, String);

impl Content {
    /// The name of the package: SHA-256 over sorted lines of path, size and hash.
    pub fn package(&self) -> String {
        let mut files: Vec<&File> = self.files.iter().collect();
        files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        let mut hash = Sha256::new();
        for File { path, size_bytes, sha256 } in files {
            hash.update(format!("{path}\t{size_bytes}\t{sha256}\n"));
        }
        hex(&hash.finalize())
    }

    /// Bytes of all files.
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).fold(0, u64::saturating_add)
    }

    /// Checks number, names, sizes and hashes.
    ///
    /// # Errors
    /// The first thing that the protocol does not allow.
    pub fn check(&self) -> Result<(), Refused> {
        let count = self.files.len();
        if count == 0 || count > MAX_FILES {
            let what = format!("a package of {count} files: expected 1 to {MAX_FILES}");
            return Err((Code::BadRequest, what));
        }
        let mut seen = HashMap::with_capacity(count);
        for file in &self.files {
            check_path(&file.path).map_err(|what| (Code::BadName, what))?;
            if !is_hash(&file.sha256) {
                let what = format!("{:?}: expected 64 hexadecimal digits of SHA-256", file.path);
                return Err((Code::BadRequest, what));
            }
            if file.size_bytes > MAX_FILE_BYTES {
                return Err((Code::TooLarge, format!("{:?}: {}", file.path, file.size_bytes)));
            }
            if seen.insert(file.path.to_lowercase(), &file.path).is_some() {
                let what = format!("{:?} occurs twice but for case", file.path);
                return Err((Code::BadName, what));
            }
        }
        self.check_folders(&seen)
    }

    /// No path is a folder of another.
    fn check_folders(&self, seen: &HashMap<String, &String>) -> Result<(), Refused> {
        for file in &self.files {
            let path = file.path.to_lowercase();
            for (at, _) in path.match_indices('/') {
                if let Some(other) = seen.get(&path[..at]) {
                    let what = format!("{other:?} is a file, and a folder of {:?}", file.path);
                    return Err((Code::BadName, what));
                }
            }
        }
        Ok(())
    }
}

/// Whether `path` is one that the protocol allows.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check_path(path: &str) -> Result<(), String> {
    let bytes = path.len();
    if bytes == 0 || bytes > MAX_PATH_BYTES {
        return Err(format!("a path of {bytes} bytes: expected 1 to {MAX_PATH_BYTES}"));
    }
    let parts = path.split('/');
    if parts.clone().count() > MAX_PARTS {
        return Err(format!("{path:?}: more than {MAX_PARTS} parts"));
    }
    for part in parts {
        if part.is_empty() || part == "." || part == ".." {
            return Err(format!("{path:?}: {part:?} is no part of a path"));
        }
        if part.len() > MAX_PART_BYTES {
            return Err(format!("a part of {} bytes: at most {MAX_PART_BYTES}", part.len()));
        }
        if let Some(c) = part.chars().find(|c| c.is_control() || matches!(c, '\\' | ':')) {
            return Err(format!("{path:?}: {c:?} in a path"));
        }
    }
    Ok(())
}

/// Whether `text` is a SHA-256 in lower-case hexadecimal.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
