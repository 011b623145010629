//! What codes were calibrated on: the windows of a text, or the reference's second moments on them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::protocol::Window;
use crate::model::Backend;

/// What codes were calibrated on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the text.
    pub text_name: String,
    /// Hash of the tokens of each window, in hexadecimal.
    pub windows: Vec<String>,
    /// Hash of the tokens of all windows, in hexadecimal.
    pub windows_hash: String,
    /// Content hash of the saved second moments, in hexadecimal; `None` if the variants themselves were
    /// run on the windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moments_hash: Option<String>,
    /// What ran the model on the windows: `accelerate` or `metal`; `None` for the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

impl Origin {
    /// The origin of codes that are calibrated on windows of a text, by `backend`.
    pub fn of(text_name: String, windows: &[Window], backend: Backend) -> Origin {
        let mut all = blake3::Hasher::new();
        windows.iter().for_each(|window| {
            all.update(bytemuck::cast_slice(&window.ids));
        });
        Origin {
            text_name,
            windows: windows.iter().map(hash).collect(),
            windows_hash: all.finalize().to_hex().to_string(),
            moments_hash: None,
            backend: backend.recorded(),
        }
    }

    /// A hash that differs between different calibrations.
    pub fn key(&self) -> &str {
        self.moments_hash.as_deref().unwrap_or(&self.windows_hash)
    }

    /// The first window that is also scored: its index here and among the scored windows.
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
