//! Saves sensitivities in a run's folder: complete ones, and those of the first layers while they are
//! being measured.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::allocate::{LayerErrors, Sensitivities, errors_fit};
use crate::error::{Error, Result};
use crate::files::{read_regular, write_atomic};

/// Digits of a hash in a file's name.
const HASH_DIGITS: usize = 8;

/// Where sensitivities are saved, and what they depend on.
pub struct SensitivityFile {
    /// The run's folder.
    pub folder: PathBuf,
    /// Hash of everything that sensitivities depend on.
    pub question: String,
    /// The candidate recipes.
    pub candidates: Vec<String>,
    /// Number of windows that they are measured on.
    pub windows: usize,
    /// Number of the model's layers.
    pub layers: usize,
}

#[derive(Serialize, Deserialize)]
struct Whole {
    question: String,
    candidates: Vec<String>,
    windows: usize,
    measured: Sensitivities,
}

#[derive(Serialize, Deserialize)]
struct Begun {
    question: String,
    layers: Vec<LayerErrors>,
}

impl SensitivityFile {
    fn path(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{what}-{}.json", &self.question[..HASH_DIGITS]))
    }

    fn whole_path(&self) -> PathBuf {
        self.path("sensitivities")
    }

    fn begun_path(&self) -> PathBuf {
        self.path("sensitivities-begun")
    }

    /// The saved sensitivities, if they are complete and depend on the same inputs.
    pub fn measured(&self) -> Option<Sensitivities> {
        let whole: Whole = read(&self.whole_path())?;
        let is_ours = whole.question == self.question
            && whole.measured.fits(self.layers, self.candidates.len());
        is_ours.then_some(whole.measured)
    }

    /// Saved errors of the first layers, up to where an interrupted measurement stopped.
    pub fn layers(&self) -> Vec<LayerErrors> {
        let begun = read::<Begun>(&self.begun_path()).filter(|begun| {
            let fits = |errors: &LayerErrors| errors_fit(errors, self.candidates.len());
            begun.question == self.question
                && begun.layers.len() <= self.layers
                && begun.layers.iter().all(fits)
        });
        begun.map_or(Vec::new(), |begun| begun.layers)
    }

    /// Saves complete sensitivities and removes the file of the first layers.
    ///
    /// # Errors
    /// Surroundings errors of the disk.
    pub fn keep(&self, measured: &Sensitivities) -> Result<()> {
        let (question, candidates) = (self.question.clone(), self.candidates.clone());
        let (windows, measured) = (self.windows, measured.clone());
        self.write(&self.whole_path(), &Whole { question, candidates, windows, measured })?;
        let begun = self.begun_path();
        match std::fs::remove_file(&begun) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &begun, error))
            }
            _ => Ok(()),
        }
    }

    /// Saves the errors of the first layers.
    ///
    /// # Errors
    /// Surroundings errors of the disk.
    pub fn keep_layers(&self, layers: &[LayerErrors]) -> Result<()> {
        let begun = Begun { question: self.question.clone(), layers: layers.to_vec() };
        self.write(&self.begun_path(), &begun)
    }

    fn write(&self, path: &Path, what: &impl Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(what)
            .map_err(|e| Error::bug("cannot write sensitivities as JSON").because(e))?;
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io("make", &self.folder, e))?;
        write_atomic(path, &bytes)
    }
}

/// A larger file is none of evalkit's.
const MAX_BYTES: u64 = 1 << 28;

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&read_regular("read", path, MAX_BYTES).ok()?).ok()
}
