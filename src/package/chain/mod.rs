//! Runs a folder of packages on this machine in the way a runner on a phone does: it takes token
//! ids, returns logits, and keeps the cache between calls.
//!
//! Prompts go through `prefill`, padded with tokens that no other token sees, as long as a whole
//! call fits into the cache. Single tokens, and the rest of a prompt, go through `decode`. In models with
//! short convolutions, which keep their last inputs, no call is padded.

mod inputs;
mod stage;

use self::inputs::TokenBatch;
use std::sync::Arc;

use self::stage::{BlockValueNames, ChainStage};
use crate::error::{At, Error, Result};
use crate::package::budget::Budget;
use crate::package::bundle::Bundle;
use crate::package::execute::Precision;

/// A loaded model with its cache.
#[derive(Debug)]
pub struct Chain {
    stages: Vec<ChainStage>,
    budget: Arc<Budget>,
    context_tokens: usize,
    prefill_tokens: usize,
    vocab_size: usize,
    /// The number of tokens in the cache.
    position: usize,
    /// The hidden states after every block, if they are recorded.
    blocks: Vec<Vec<f32>>,
}

impl Chain {
    /// Loads the packages of an open folder. Weights stay in their files until they are needed.
    ///
    /// # Errors
    /// Input errors of its packages.
    pub fn load(bundle: &Bundle, precision: Precision) -> Result<Self> {
        Self::recording_blocks(bundle, precision, None)
    }

    /// As [`Chain::load`]. If `names` is given, the chain also records the hidden states after every
    /// block; `names` returns the names of these values for a function of a package.
    ///
    /// # Errors
    /// As for [`Chain::load`], and those of `names`.
    pub fn recording_blocks(
        bundle: &Bundle,
        precision: Precision,
        names: BlockValueNames<'_>,
    ) -> Result<Self> {
        let model = &bundle.manifest.model;
        Ok(Chain {
            stages: ChainStage::all(bundle, precision, names)
                .at(|| bundle.folder.display().to_string())?,
            budget: Arc::clone(bundle.budget()),
            context_tokens: model.context_tokens,
            prefill_tokens: model.prefill_tokens,
            vocab_size: model.vocab_size,
            position: 0,
            blocks: Vec::new(),
        })
    }

    /// The hidden states after every block for all tokens so far, `[tokens, hidden]` each; empty
    /// unless they are recorded.
    pub fn blocks(&self) -> &[Vec<f32>] {
        &self.blocks
    }

    /// Empties the cache and forgets recorded hidden states.
    pub fn reset(&mut self) {
        self.position = 0;
        self.blocks.clear();
        self.stages.iter_mut().for_each(ChainStage::reset);
    }

    /// Appends a prompt, several tokens at a time. Returns the logits after each of its tokens,
    /// `[tokens][vocabulary]`.
    ///
    /// # Errors
    /// Input errors: more tokens than the cache holds, ids outside the vocabulary, a package whose
    /// operators do not fit together.
    pub fn prefill(&mut self, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
        let mut logits = Vec::with_capacity(ids.len());
        for part in ids.chunks(self.prefill_tokens) {
            self.budget.check_stop()?;
            let is_short = part.len() < self.prefill_tokens
                && self.stages.iter().any(ChainStage::refuses_padding);
            if is_short || self.position + self.prefill_tokens > self.context_tokens {
                for id in part {
                    logits.push(self.decode(*id)?);
                }
                continue;
            }
            logits.extend(self.call(part, self.prefill_tokens)?);
        }
        Ok(logits)
    }

    /// Appends one token. Returns the logits after it, `[vocabulary]`.
    ///
    /// # Errors
    /// As for [`Chain::prefill`].
    pub fn decode(&mut self, id: u32) -> Result<Vec<f32>> {
        let mut logits = self.call(&[id], 1)?;
        logits.pop().ok_or_else(|| Error::bug("a call returned no logits"))
    }

    /// Calls every stage once with the tokens `ids`, padded to `tokens` tokens.
    fn call(&mut self, ids: &[u32], tokens: usize) -> Result<Vec<Vec<f32>>> {
        if self.position + ids.len() > self.context_tokens {
            return Err(Error::input(format!(
                "the cache holds {} tokens: {} more do not fit after {}",
                self.context_tokens,
                ids.len(),
                self.position
            ))
            .hint("package the model with a larger --max-sequence-length"));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
            let what = format!("expected token ids below {}, found {id}", self.vocab_size);
            return Err(Error::input(what));
        }
        let batch = TokenBatch { ids, tokens, position: self.position };
        let mut hidden = None;
        let mut logits = None;
        let mut blocks = Vec::new();
        for stage in &mut self.stages {
            stage.run(&batch, &mut hidden, &mut logits, &mut blocks)?;
        }
        self.blocks.resize(blocks.len(), Vec::new());
        self.blocks.iter_mut().zip(blocks).for_each(|(all, block)| all.extend(block));
        self.position += ids.len();
        let logits = logits.ok_or_else(|| Error::input("no package outputs logits"))?;
        match logits.iter().find(|logits| logits.len() != self.vocab_size) {
            None => Ok(logits),
            Some(other) => Err(Error::input(format!(
                "expected {} logits per token, the vocabulary in model.json, found {}",
                self.vocab_size,
                other.len()
            ))),
        }
    }
}
