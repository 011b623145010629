//! The stored tokens of the phones on which `evalkit devices install` launched the runner.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::device::protocol::token::Token;
use crate::error::{At, Error, Result};
use crate::files::{settings_folder, write_atomic_private};

/// A folder with one file per phone.
#[derive(Debug, Clone)]
pub struct TokenStore {
    folder: PathBuf,
}

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
        let path = self.path(udid);
        match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).at(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read a token", &path, error)),
        }
    }

    /// Stores the token of a phone, in a file that only this user can read.
    ///
    /// # Errors
    /// The disk failed.
    pub fn keep(&self, udid: &str, token: &Token) -> Result<()> {
        let failed = |error| Error::io("store a token", &self.folder, error);
        let mut folder = std::fs::DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        write_atomic_private(&self.path(udid), format!("{}\n", token.as_str()).as_bytes())
    }

    /// The file of a phone. All spellings of a UDID give the same name, and none leaves the folder.
    fn path(&self, udid: &str) -> PathBuf {
        let plain: String = udid.chars().filter(char::is_ascii_alphanumeric).collect();
        self.folder.join(plain.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn tokens_are_stored_per_phone_and_readable_only_by_their_user() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = TokenStore::in_folder(&folder.path().join("a/tokens"));
        assert_eq!(tokens.get("A-1").unwrap(), None);
        let (first, second) = (Token::random(), Token::random());
        assert_ne!(first, second);
        tokens.keep("A-1", &first).unwrap();
        tokens.keep("B-1", &first).unwrap();
        tokens.keep("a1", &second).unwrap();
        assert_eq!(tokens.get("A-1").unwrap(), Some(second));
        assert_eq!(tokens.get("B-1").unwrap(), Some(first));
        let mode = std::fs::metadata(tokens.path("A-1")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(&tokens.folder).unwrap().count(),
            2,
            "no temporary file is left"
        );
    }
}
