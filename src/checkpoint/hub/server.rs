//! Where checkpoints come from and where they are kept, by the variables of Hugging Face's own tools.

use std::path::{Path, PathBuf};

use hf_hub::Cache;

use crate::error::{Error, Result};

/// The server that checkpoints are fetched from, and the cache that they are kept in.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The server: `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: String,
    /// The cache: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// The token for gated repositories: `HF_TOKEN`, else the one that `hf auth login` stored.
    pub token: Option<String>,
    /// Whether only the cache is used (`HF_HUB_OFFLINE=1`).
    pub offline: bool,
}

impl Hub {
    /// The hub that the environment describes, by the variables of Hugging Face's own tools.
    ///
    /// # Errors
    /// A surroundings error if there is no home directory for the cache.
    pub fn from_env() -> Result<Self> {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache = match (var("HF_HUB_CACHE"), var("HF_HOME"), std::env::home_dir()) {
            (Some(cache), _, _) => PathBuf::from(cache),
            (None, Some(home), _) => Path::new(&home).join("hub"),
            (None, None, Some(home)) => home.join(".cache/huggingface/hub"),
            (None, None, None) => {
                return Err(Error::surroundings("there is no home directory to keep downloads in")
                    .hint("set HF_HOME to a folder"));
            }
        };
        let offline = var("HF_HUB_OFFLINE")
            .is_some_and(|v| matches!(v.to_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        Ok(Hub {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            token: var("HF_TOKEN").or_else(|| Cache::new(cache.clone()).token()),
            cache,
            offline,
        })
    }
}
