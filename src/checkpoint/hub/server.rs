//! Where checkpoints come from and where they are kept, by the variables of Hugging Face's own tools.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::limits::Limits;
use crate::error::{Error, Result};
use crate::files::open_regular;

/// Most bytes that are read of a file with a token.
const MAX_TOKEN_FILE_BYTES: u64 = 64 << 10;

/// The server that checkpoints are fetched from, and the cache that they are kept in.
///
/// It cannot be printed, because it holds a secret.
#[derive(Clone)]
pub struct Hub {
    /// The server: `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: String,
    /// The cache: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// The token for gated repositories: `HF_TOKEN`, else the one that `hf auth login` stored.
    pub token: Option<String>,
    /// Whether only the cache is used (`HF_HUB_OFFLINE=1`).
    pub offline: bool,
    /// The certificates to trust instead of Mozilla's: `SSL_CERT_FILE`.
    pub certificates: Option<PathBuf>,
    /// How long to wait.
    pub limits: Limits,
}

impl Hub {
    /// The hub that the environment describes, by the variables of Hugging Face's own tools.
    ///
    /// # Errors
    /// A surroundings error if there is no home directory for the cache.
    pub fn from_env() -> Result<Self> {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = match (var("HF_HOME"), std::env::home_dir()) {
            (Some(home), _) => Some(PathBuf::from(home)),
            (None, home) => home.map(|home| home.join(".cache/huggingface")),
        };
        let cache = match (var("HF_HUB_CACHE"), &home) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => home.join("hub"),
            (None, None) => {
                return Err(Error::surroundings("there is no home directory to keep downloads in")
                    .hint("set HF_HOME to a folder"));
            }
        };
        let token_file = match (var("HF_TOKEN_PATH"), home) {
            (Some(path), _) => Some(PathBuf::from(path)),
            (None, home) => home.map(|home| home.join("token")),
        };
        let offline = var("HF_HUB_OFFLINE")
            .is_some_and(|v| matches!(v.to_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        Ok(Hub {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            token: var("HF_TOKEN").or_else(|| stored_token(&token_file?)),
            cache,
            offline,
            certificates: var("SSL_CERT_FILE").map(PathBuf::from),
            limits: Limits::default(),
        })
    }
}

/// The token in a file; `None` if there is none.
fn stored_token(path: &Path) -> Option<String> {
    let mut text = String::new();
    open_regular("read the token", path)
        .ok()?
        .0
        .take(MAX_TOKEN_FILE_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    let token = text.trim();
    (!token.is_empty()).then(|| token.to_owned())
}
