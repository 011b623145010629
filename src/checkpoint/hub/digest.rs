//! Whether the bytes of a file are those that the hub announced.
//!
//! The hub tags large files with their SHA-256 (that of their Git LFS pointer) and small files with
//! the SHA-1 of their git blob. Some mirrors tag files with the plain SHA-1.

use std::fmt::Write;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::names::{Etag, is_lower_hex};

/// The digest of a file's content, in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256 of the bytes.
    Sha256(String),
    /// SHA-1 of the git blob with these bytes, or of the bytes alone.
    Sha1(String),
}

impl Digest {
    /// The digest that `text` is; `None` if it is neither 64 nor 40 hexadecimal digits.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if is_lower_hex(&text, 64) {
            return Some(Digest::Sha256(text));
        }
        is_lower_hex(&text, 40).then_some(Digest::Sha1(text))
    }

    /// The digest that a tag is.
    pub fn of_tag(etag: &Etag) -> Option<Self> {
        Digest::new(etag.as_str())
    }

    /// What computes this kind of digest for a file of this length.
    pub fn hasher(&self, size_bytes: u64) -> Hasher {
        match self {
            Digest::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Digest::Sha1(_) => {
                let blob = Sha1::new_with_prefix(format!("blob {size_bytes}\0"));
                Hasher::Sha1 { blob, plain: Sha1::new() }
            }
        }
    }
}

/// Computes a digest piece by piece.
#[derive(Clone)]
pub enum Hasher {
    /// For [`Digest::Sha256`].
    Sha256(Sha256),
    /// For [`Digest::Sha1`].
    Sha1 {
        /// Of the git blob.
        blob: Sha1,
        /// Of the bytes alone.
        plain: Sha1,
    },
}

impl Hasher {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hash) => hash.update(bytes),
            Hasher::Sha1 { blob, plain } => {
                blob.update(bytes);
                plain.update(bytes);
            }
        }
    }

    /// `None` if the bytes have this digest; otherwise the digest that was found.
    pub fn differs_from(self, expected: &Digest) -> Option<String> {
        let (Digest::Sha256(expected) | Digest::Sha1(expected)) = expected;
        let found = match self {
            Hasher::Sha256(hash) => hex(&hash.finalize()),
            Hasher::Sha1 { plain, .. } if hex(&plain.clone().finalize()) == *expected => {
                return None;
            }
            Hasher::Sha1 { blob, .. } => hex(&blob.finalize()),
        };
        (found != *expected).then_some(found)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_git_and_of_sha256sum() {
        let check = |digest: &str, bytes: &[u8]| {
            let digest = Digest::new(digest).unwrap();
            let mut hasher = digest.hasher(bytes.len() as u64);
            bytes.chunks(2).for_each(|chunk| hasher.update(chunk));
            hasher.differs_from(&digest)
        };
        // From `git hash-object`, `sha1sum` and `sha256sum`.
        let (blob, plain) = (
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "f572d396fae9206628714fb2ce00f72e94f2258f",
        );
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for digest in [blob, plain, sha256, &sha256.to_uppercase()] {
            assert_eq!(check(digest, b"hello\n"), None);
            assert!(check(digest, b"hellp\n").is_some());
        }
        assert_eq!(check(&"0".repeat(64), b"hello\n").as_deref(), Some(sha256));
        assert_eq!(check(&"0".repeat(40), b"hello\n").as_deref(), Some(blob));
        assert!(Digest::new("e-modelsafetensors").is_none() && Digest::new(&blob[1..]).is_none());
    }
}
