//! What is measured: a folder of packages, its name, and the logits that it should give.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::correctness::Expected;
use crate::device::client::Package;
use crate::device::protocol::manifest::ManifestFile;
use crate::error::{At, Error, Result};
use crate::package::bundle::{Bundle, FileEntry};
use crate::package::program::Cache;
use crate::results::label;
use crate::results::measurement::Subject;

/// How many predictions are compared before any speed is trusted.
const CHECKED_TOKENS: usize = 48;

/// A folder of packages, ready to be measured.
#[derive(Debug)]
pub struct Prepared {
    /// Its description in records.
    pub subject: Subject,
    /// The files to send.
    pub package: Package,
    /// The logits that it gives on this machine.
    pub expected: Expected,
    /// How many tokens its cache holds.
    pub context_tokens: usize,
    /// Size of its vocabulary.
    pub vocab_size: usize,
}

impl Prepared {
    /// Hashes the folder, compares the hashes with `model.json`, and executes its packages on this machine. `text` gives a number of token
    /// ids below a vocabulary's size; `cell_id` names the cell of the sweep that wrote the folder.
    /// `stop` ends the execution.
    ///
    /// # Errors
    /// Input if the folder or a package in it is invalid, or a file is not the one that was written;
    /// interruption.
    pub fn of(
        folder: &Path,
        cell_id: Option<String>,
        text: &dyn Fn(usize, usize) -> Result<Vec<u32>>,
        stop: Option<Arc<AtomicBool>>,
    ) -> Result<Prepared> {
        let bundle = Bundle::open(folder)?;
        if let Some(stop) = stop {
            bundle.stop_by(stop);
        }
        let package = Package::open(folder)?;
        bundle.check_hashed(&hashed(&package)).at(|| folder.display())?;
        let model = &bundle.manifest.model;
        let tokens = CHECKED_TOKENS.min(model.context_tokens);
        let ids = text(tokens, model.vocab_size)?;
        if ids.len() < 2 {
            return Err(Error::input("expected a cache of 2 tokens or more")
                .at(folder.display())
                .hint("package the model with a larger --max-sequence-length"));
        }
        let expected = Expected::of(&bundle, &ids)?;
        let traffic = bundle.traffic()?;
        let design = model.design()?;
        let is_usual = design.cache == Cache::of(design.target);
        let kept = if is_usual { "" } else { ", cache as inputs" };
        let subject = Subject {
            package: package.name.clone(),
            variant: label(&model.variant, &[]),
            cell_id,
            model: model.name.clone(),
            model_hash: model.model_hash.clone(),
            design: format!("{} {}{kept}", model.target, model.compute),
            size_bytes: package.manifest.size_bytes(),
            weight_bytes_per_token: traffic.weight_bytes,
            calls_per_token: traffic.calls,
        };
        let (context_tokens, vocab_size) = (model.context_tokens, model.vocab_size);
        Ok(Prepared { subject, package, expected, context_tokens, vocab_size })
    }
}

/// The files of a package with their sizes and hashes.
fn hashed(package: &Package) -> Vec<FileEntry> {
    let files = package.manifest.files.iter().cloned();
    files
        .map(|ManifestFile { path, size_bytes, sha256 }| FileEntry { path, size_bytes, sha256 })
        .collect()
}
