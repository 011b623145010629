//! What is sent to a runner: files by path, size and hash, and the name of the package they form.

use std::collections::HashMap;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
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
            if let Some(other) = seen.insert(folded(&file.path), &file.path) {
                let what = format!(
                    "{:?} and {other:?} are one name to a file system (upper and lower case count as \
                     equal)",
                    file.path
                );
                return Err(Refusal::new(Code::BadName, what));
            }
        }
        self.check_folders(&seen)
    }

    /// Checks that no path is a folder of another.
    fn check_folders(&self, seen: &HashMap<String, &String>) -> Result<(), Refusal> {
        for file in &self.files {
            let path = folded(&file.path);
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
        if part.ends_with(['.', ' ']) {
            return Err(format!("{path:?}: a part of a path must not end with a dot or a space"));
        }
        let is_refused = |c: &char| c.is_control() || matches!(c, '\\' | ':') || is_invisible(*c);
        if let Some(c) = part.chars().find(is_refused) {
            return Err(format!("{path:?}: {c:?} is not allowed in a path"));
        }
    }
    if !ComposingNormalizerBorrowed::new_nfc().is_normalized(path) {
        return Err(format!("{path:?} is not in Unicode normalization form C"));
    }
    Ok(())
}

/// Whether `c` has no width of its own: some file systems ignore such characters, and nobody sees them.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A path as a file system sees it that distinguishes neither upper and lower case nor normalization forms.
/// Lower case comes first, because it makes `ẞ` and `ß` equal; upper case then makes `ß` and `ss`, and the
/// three forms of sigma, equal. What Unicode's full case folding makes equal is equal here.
fn folded(path: &str) -> String {
    let normalizer = DecomposingNormalizerBorrowed::new_nfd();
    let cased = normalizer.normalize(path).to_lowercase().to_uppercase().to_lowercase();
    normalizer.normalize(&cased).into_owned()
}

/// Whether `text` is the lower-case hexadecimal form of a SHA-256.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
