//! Names that become parts of paths and addresses. Each has a type with a checked constructor, so that
//! nothing else can become a path.

use std::fmt;

use super::failure::quoted;
use crate::error::{Error, Result};

const MAX_NAME_BYTES: usize = 96;
const MAX_REVISION_BYTES: usize = 256;
const MAX_ETAG_BYTES: usize = 128;

/// Whether this is one path component of letters, digits, `-`, `_` and `.` that does not begin with
/// a dot.
fn is_plain(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
}

/// Whether this may be the owner or the name of a repository. The hub allows neither `--`, which
/// separates the two in the cache, nor `..`.
fn is_repository_part(part: &str) -> bool {
    is_plain(part)
        && part.len() <= MAX_NAME_BYTES
        && !part.contains("--")
        && !part.contains("..")
        && !part.ends_with('.')
}

/// Whether this may be one part of the name of a branch or tag, by the rules of git.
fn is_revision_part(part: &str) -> bool {
    let refused = |c: char| c.is_control() || c.is_whitespace() || r"\~^:?*[".contains(c);
    !part.is_empty() && !part.starts_with('.') && !part.contains("..") && !part.contains(refused)
}

/// The parts of `hf:owner/name[@revision]`.
#[derive(Debug, Clone, Copy)]
pub struct Spec<'a> {
    /// The whole text.
    pub text: &'a str,
    /// `owner/name`.
    pub repo: &'a str,
    /// A branch, a tag or a commit.
    pub revision: &'a str,
}

impl<'a> Spec<'a> {
    /// Reads the text.
    ///
    /// # Errors
    /// An input error for any other form.
    pub fn parse(text: &'a str) -> Result<Self> {
        let rest = text.strip_prefix("hf:").unwrap_or_default();
        let (repo, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let parts = repo.split_once('/');
        let is_repo = parts.is_some_and(|(o, n)| is_repository_part(o) && is_repository_part(n));
        let is_revision = revision.len() <= MAX_REVISION_BYTES
            && !revision.starts_with('-')
            && revision.split('/').all(is_revision_part);
        if is_repo && is_revision {
            return Ok(Spec { text, repo, revision });
        }
        let found = if text.contains(char::is_control) { quoted(text) } else { text.to_owned() };
        Err(Error::input(format!(
            "expected hf:owner/name or hf:owner/name@revision, found {found}"
        ))
        .hint("for example hf:HuggingFaceTB/SmolLM2-135M-Instruct@main"))
    }
}

/// A commit: 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit(String);

impl Commit {
    /// `None` if `text` is not a commit.
    pub fn new(text: &str) -> Option<Self> {
        is_lower_hex(text, 40).then(|| Commit(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The tag of a file's content, which is the name of its blob in the cache.
///
/// It holds no dot, so that no tag can be the name of another tag's unfinished blob or lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag(String);

impl Etag {
    /// From the value of a header, which may be quoted and marked as weak; `None` if it is not one
    /// path component of letters, digits, `-` and `_`.
    pub fn new(header: &str) -> Option<Self> {
        let header = header.trim();
        let text = header.strip_prefix("W/").unwrap_or(header).trim_matches('"');
        let plain = is_plain(text) && !text.contains('.') && text.len() <= MAX_ETAG_BYTES;
        plain.then(|| Etag(text.to_owned()))
    }

    /// The tag without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a file in a repository's top folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName(String);

impl FileName {
    /// `None` if `text` is not one path component of letters, digits, `-`, `_` and `.`.
    pub fn new(text: &str) -> Option<Self> {
        (is_plain(text) && text.len() <= 255).then(|| FileName(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether this is exactly `digits` digits of 0-9 and a-f.
pub fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The text with everything but letters, digits, `-`, `_` and `.` percent-encoded, for one part of an
/// address.
pub fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
