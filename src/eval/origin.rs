//! What codes were chosen on: a text's windows, seen by the variants themselves or by the reference
//! whose second moments were saved.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::protocol::Window;

/// The calibration of codes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the text.
    pub text_name: String,
    /// Hash of the tokens of each window, in hexadecimal.
    pub windows: Vec<String>,
    /// Hash of the tokens of all windows, in hexadecimal.
    pub windows_hash: String,
    /// Content hash of the saved second moments, in hexadecimal; none where variants saw the windows
    /// themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moments_hash: Option<String>,
}

impl Origin {
    /// Windows of a text.
    pub fn of(text_name: String, windows: &[Window]) -> Origin {
        let mut all = blake3::Hasher::new();
        windows.iter().for_each(|window| {
            all.update(bytemuck::cast_slice(&window.ids));
        });
        Origin {
            text_name,
            windows: windows.iter().map(hash).collect(),
            windows_hash: all.finalize().to_hex().to_string(),
            moments_hash: None,
        }
    }

    /// What tells codes apart that were chosen on something else.
    pub fn key(&self) -> &str {
        self.moments_hash.as_deref().unwrap_or(&self.windows_hash)
    }

    /// The first window that is also among those that are scored, and which one that is.
    pub fn scored(&self, scored: &[Window]) -> Option<(usize, usize)> {
        let places: HashMap<String, usize> =
            scored.iter().enumerate().map(|(at, window)| (hash(window), at)).collect();
        let found = self.windows.iter().enumerate();
        found.filter_map(|(at, window)| Some((at, *places.get(window)?))).next()
    }
}

fn hash(window: &Window) -> String {
    blake3::hash(bytemuck::cast_slice(&window.ids)).to_hex().to_string()
}
