//! Running a folder of packages on this machine, as a runner on a phone does: token ids in, logits
//! out, with the cache between calls.
//!
//! Prompts go through `prefill` as long as a whole call of it fits into the cache, filled up with
//! tokens that no other token sees; single tokens go through `decode`.

mod inputs;
mod stage;

use std::path::Path;

use self::inputs::Call;
use self::stage::{Stage, Watch};
use crate::error::{At, Error, Result};
use crate::package::bundle::Bundle;
use crate::package::execute::Precision;

/// A model that is loaded and holds a conversation.
#[derive(Debug)]
pub struct Chain {
    stages: Vec<Stage>,
    context_tokens: usize,
    prefill_tokens: usize,
    vocab_size: usize,
    /// Tokens in the cache.
    position: usize,
    /// What every block made, where that is watched.
    blocks: Vec<Vec<f32>>,
}

impl Chain {
    /// Loads the packages in `folder`; weights stay in the file until they are needed.
    ///
    /// # Errors
    /// Input errors of the folder and its packages.
    pub fn open(folder: &Path, precision: Precision) -> Result<Self> {
        Self::load(&Bundle::open(folder)?, precision)
    }

    /// Loads the packages of an open folder.
    ///
    /// # Errors
    /// Input errors of its packages.
    pub fn load(bundle: &Bundle, precision: Precision) -> Result<Self> {
        Self::watching(bundle, precision, None)
    }

    /// The same, keeping what every block makes: `watch` names these values for a package and a
    /// function of it.
    ///
    /// # Errors
    /// As [`Chain::load`].
    pub fn watching(bundle: &Bundle, precision: Precision, watch: Watch<'_>) -> Result<Self> {
        let model = &bundle.manifest.model;
        Ok(Chain {
            stages: Stage::all(bundle, precision, watch)
                .at(|| bundle.folder.display().to_string())?,
            context_tokens: model.context_tokens,
            prefill_tokens: model.prefill_tokens,
            vocab_size: model.vocab_size,
            position: 0,
            blocks: Vec::new(),
        })
    }

    /// What every block made since the start, `[tokens, hidden]` each; empty unless watched.
    pub fn blocks(&self) -> &[Vec<f32>] {
        &self.blocks
    }

    /// Tokens in the cache.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Forgets everything: the cache is as it was at the start.
    pub fn reset(&mut self) {
        self.position = 0;
        self.blocks.clear();
        self.stages.iter_mut().for_each(Stage::reset);
    }

    /// Appends a prompt, several tokens at a time; gives the logits after each of its tokens,
    /// `[tokens][vocabulary]`.
    ///
    /// # Errors
    /// Input errors: more tokens than the cache holds, ids the model lacks, a package whose
    /// operators do not fit together.
    pub fn prefill(&mut self, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
        let mut logits = Vec::with_capacity(ids.len());
        for part in ids.chunks(self.prefill_tokens) {
            if self.position + self.prefill_tokens > self.context_tokens {
                for id in part {
                    logits.push(self.decode(*id)?);
                }
                continue;
            }
            logits.extend(self.call(part, self.prefill_tokens)?);
        }
        Ok(logits)
    }

    /// Appends one token; gives the logits after it, `[vocabulary]`.
    ///
    /// # Errors
    /// As [`Chain::prefill`].
    pub fn decode(&mut self, id: u32) -> Result<Vec<f32>> {
        let mut logits = self.call(&[id], 1)?;
        logits.pop().ok_or_else(|| Error::bug("a call without logits"))
    }

    /// One call of every stage with `tokens` tokens, the first of which are `ids`.
    fn call(&mut self, ids: &[u32], tokens: usize) -> Result<Vec<Vec<f32>>> {
        if self.position + ids.len() > self.context_tokens {
            return Err(Error::input(format!(
                "the cache holds {} tokens, and {} of {} more find no place",
                self.context_tokens,
                self.position + ids.len() - self.context_tokens,
                ids.len()
            ))
            .hint("package the model with a larger --max-sequence-length"));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
            let what = format!("expected token ids below {}, found {id}", self.vocab_size);
            return Err(Error::input(what));
        }
        let call = Call { ids, tokens, position: self.position };
        let mut hidden = None;
        let mut logits = None;
        let mut blocks = Vec::new();
        for stage in &mut self.stages {
            stage.run(&call, &mut hidden, &mut logits, &mut blocks)?;
        }
        self.blocks.resize(blocks.len(), Vec::new());
        self.blocks.iter_mut().zip(blocks).for_each(|(all, block)| all.extend(block));
        self.position += ids.len();
        logits.ok_or_else(|| Error::input("no package gives logits"))
    }
}
