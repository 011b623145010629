//! What is measured: a folder of packages, its name, and what it should predict.

use std::path::Path;

use super::truth::Expected;
use crate::device::client::Package;
use crate::error::{Error, Result};
use crate::package::bundle::Bundle;
use crate::results::label;
use crate::results::measurement::Subject;

/// Tokens whose predictions are compared before any speed is believed.
pub const TRUTH_TOKENS: usize = 48;

/// A folder of packages, ready to be measured.
#[derive(Debug)]
pub struct Prepared {
    /// What records say of it.
    pub subject: Subject,
    /// What is sent.
    pub package: Package,
    /// What it predicts on this machine.
    pub expected: Expected,
    /// Tokens that its cache holds.
    pub context_tokens: usize,
    /// Tokens in its vocabulary.
    pub vocab_size: usize,
}

impl Prepared {
    /// Hashes the folder and predicts the tokens that `text` begins with, or `spread` makes, on this
    /// machine. `cell_id` is of the sweep that it was written for.
    ///
    /// # Errors
    /// Input errors of the folder.
    pub fn of(
        folder: &Path,
        cell_id: Option<String>,
        text: &dyn Fn(usize, usize) -> Result<Vec<u32>>,
    ) -> Result<Prepared> {
        let bundle = Bundle::open(folder)?;
        let package = Package::open(folder)?;
        let model = &bundle.manifest.model;
        let tokens = TRUTH_TOKENS.min(model.context_tokens);
        let ids = text(tokens, model.vocab_size)?;
        if ids.len() < 2 {
            return Err(Error::input("a cache of fewer than 2 tokens").at(folder.display()));
        }
        let expected = Expected::of(&bundle, &ids)?;
        let traffic = bundle.traffic()?;
        let subject = Subject {
            package: package.name.clone(),
            variant: label(&model.variant, &[]),
            cell_id,
            model: model.name.clone(),
            model_hash: model.model_hash.clone(),
            design: format!("{} {}", model.target, model.compute),
            size_bytes: package.content.size_bytes(),
            weight_bytes_per_token: traffic.weight_bytes,
            calls_per_token: traffic.calls,
        };
        let (context_tokens, vocab_size) = (model.context_tokens, model.vocab_size);
        Ok(Prepared { subject, package, expected, context_tokens, vocab_size })
    }
}
