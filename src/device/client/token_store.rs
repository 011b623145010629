//! What `evalkit devices install` remembers of each phone: the runner's token, and the bundle identifier
//! under which the app was installed.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::device::protocol::token::Token;
use crate::error::{Error, Result};
use crate::files::{read_regular_text, settings_folder, write_atomic_private};

/// A folder with one file per phone for its token, and in [`BUNDLE_IDS`] one for its bundle identifier.
#[derive(Debug, Clone)]
pub struct TokenStore {
    folder: PathBuf,
}

/// The folder of bundle identifiers. No UDID can name it, for it has a dash.
const BUNDLE_IDS: &str = "bundle-ids";

impl TokenStore {
    /// This user's folder; `None` if there is no home folder.
    pub fn of_user() -> Option<TokenStore> {
        Some(TokenStore::in_folder(&settings_folder()?.join("evalkit/tokens")))
    }

    /// The store in a folder, which need not exist yet.
    pub fn in_folder(folder: &Path) -> TokenStore {
        TokenStore { folder: folder.to_owned() }
    }

    /// The token of a phone; `None` if none is stored.
    ///
    /// # Errors
    /// The file cannot be read, or holds no valid token.
    pub fn get(&self, udid: &str) -> Result<Option<Token>> {
        let path = self.folder.join(file_name(udid));
        let parse = |text: String| {
            text.parse().map_err(|error: Error| {
                Error::input(error.cause())
                    .at(path.display())
                    .hint("run evalkit devices install again: it stores a new token")
            })
        };
        read(&path)?.map(parse).transpose()
    }

    /// The bundle identifier under which the app is installed on a phone; `None` if none is stored.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bundle_id(&self, udid: &str) -> Result<Option<String>> {
        read(&self.folder.join(BUNDLE_IDS).join(file_name(udid)))
    }

    /// Stores what an installation on a phone leaves to know, in files that only this user can read.
    ///
    /// # Errors
    /// The disk failed.
    pub fn keep(&self, udid: &str, token: &Token, bundle_id: &str) -> Result<()> {
        let bundle_ids = self.folder.join(BUNDLE_IDS);
        let failed = |error| Error::io("store a token", &self.folder, error);
        let mut folder = std::fs::DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&bundle_ids).map_err(failed)?;
        let write = |folder: &Path, text: &str| {
            write_atomic_private(&folder.join(file_name(udid)), format!("{text}\n").as_bytes())
        };
        write(&bundle_ids, bundle_id)?;
        write(&self.folder, token.as_str())
    }
}

/// The file of a phone. All spellings of a UDID give the same name, and none leaves the folder.
fn file_name(udid: &str) -> String {
    let plain: String = udid.chars().filter(char::is_ascii_alphanumeric).collect();
    plain.to_ascii_lowercase()
}

/// A longer file holds neither a token nor an identifier.
const MAX_BYTES: u64 = 1 << 12;

/// The trimmed text of a file; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<String>> {
    if !path.try_exists().map_err(|error| Error::io("read", path, error))? {
        return Ok(None);
    }
    let text = read_regular_text("read", path, MAX_BYTES)?;
    Ok(Some(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn tokens_and_identifiers_are_stored_per_phone_and_readable_only_by_their_user() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = TokenStore::in_folder(&folder.path().join("a/tokens"));
        assert_eq!(tokens.get("A-1").unwrap(), None);
        assert_eq!(tokens.bundle_id("A-1").unwrap(), None);
        let (first, second) = (Token::random(), Token::random());
        assert_ne!(first, second);
        tokens.keep("A-1", &first, "dev.evalkit.runner").unwrap();
        tokens.keep("B-1", &first, "dev.evalkit.runner").unwrap();
        tokens.keep("a1", &second, "com.me.runner").unwrap();
        assert_eq!(tokens.get("A-1").unwrap(), Some(second));
        assert_eq!(tokens.get("B-1").unwrap(), Some(first));
        assert_eq!(tokens.bundle_id("A-1").unwrap().as_deref(), Some("com.me.runner"));
        assert_eq!(tokens.bundle_id("B1").unwrap().as_deref(), Some("dev.evalkit.runner"));
        std::fs::write(tokens.folder.join("b1"), "half").unwrap();
        let damaged = tokens.get("B-1").unwrap_err();
        assert!(damaged.advice().unwrap().contains("evalkit devices install again"), "{damaged}");
        for path in ["a1", "bundle-ids/a1"] {
            let mode = std::fs::metadata(tokens.folder.join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{path}");
        }
        let count = |folder: PathBuf| std::fs::read_dir(folder).unwrap().count();
        let all = (count(tokens.folder.clone()), count(tokens.folder.join(BUNDLE_IDS)));
        assert_eq!(all, (3, 2), "no temporary file is left");
    }
}
