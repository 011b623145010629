//! What is checked before a job starts.

use super::engine::ModelShape;
use super::locks::lock;
use super::shared::{Host, LoadedModel};
use crate::device::protocol::code::{Code, Refusal};
use crate::device::protocol::manifest::is_hash;
use crate::device::protocol::message::{Ask, Job, ModelFunction};

/// The largest vocabulary whose logits fit into a frame.
const MAX_VOCABULARY: usize = 1_048_574;
/// The shortest interval between samples of the system's figures.
const MIN_SAMPLE_MS: u32 = 50;

/// A `bad_request`.
pub(super) fn bad<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(Code::BadRequest, what))
}

/// Checks what can be checked from the request alone.
pub(super) fn check(ask: &Ask, job: &Job) -> Result<(), Refusal> {
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if job.job.len() != 32 || !job.job.bytes().all(is_digit) {
        return bad("job: expected 32 lower-case hexadecimal digits");
    }
    if job.attempt == 0 {
        return bad("attempt: expected 1 or more, found 0");
    }
    match ask {
        Ask::Load { package, .. } | Ask::Plan { package, .. } if !is_hash(package) => {
            return bad("package: expected 64 lower-case hexadecimal digits");
        }
        Ask::Load { functions, .. } if !are_loadable(functions) => {
            return bad("functions: expected \"decode\", alone or with \"prefill\"");
        }
        Ask::Generate { prompt, tokens, .. } if prompt.is_empty() || *tokens == 0 => {
            return bad("prompt and tokens: expected 1 or more of each");
        }
        Ask::Score { ids, logits_at, .. } => {
            if ids.is_empty() {
                return bad("ids: expected 1 or more");
            }
            let last = logits_at.last().map_or(0, |last| *last as usize);
            if !logits_at.is_sorted_by(|a, b| a < b) || last >= ids.len() {
                let len = ids.len();
                return bad(format!("logits_at: expected ascending positions below {len}"));
            }
        }
        _ => {}
    }
    match ask {
        Ask::Load { sample_ms, .. } | Ask::Generate { sample_ms, .. }
            if (1..MIN_SAMPLE_MS).contains(sample_ms) =>
        {
            bad(format!("sample_ms: expected 0, or {MIN_SAMPLE_MS} or more, found {sample_ms}"))
        }
        _ => Ok(()),
    }
}

/// Whether these functions can be loaded: all, or `decode` alone or with `prefill`.
fn are_loadable(functions: &[ModelFunction]) -> bool {
    use ModelFunction::{Decode, Prefill};
    matches!(functions, [] | [Decode] | [Decode, Prefill] | [Prefill, Decode])
}

impl Host {
    /// Checks what depends on the store, the engine and the loaded package.
    pub(super) fn check_start(&self, ask: &Ask) -> Result<(), Refusal> {
        match ask {
            Ask::Load { package, compute_units, .. } | Ask::Plan { package, compute_units, .. } => {
                lock(&self.store).find(package)?;
                let supported = &self.kind.compute_units;
                if !supported.contains(compute_units) {
                    let what = format!(
                        "compute_units: expected one of {supported:?}, found {compute_units:?}"
                    );
                    return Err(Refusal::new(Code::Unsupported, what));
                }
                Ok(())
            }
            Ask::Generate { prompt, tokens, .. } => {
                let LoadedModel { shape, .. } = self.model()?;
                check_ids(prompt, &shape)?;
                check_fit(prompt.len().saturating_add(*tokens), &shape)
            }
            Ask::Score { ids, logits_at, .. } => {
                let LoadedModel { shape, .. } = self.model()?;
                check_ids(ids, &shape)?;
                check_fit(ids.len(), &shape)?;
                if !logits_at.is_empty() && shape.vocab_size > MAX_VOCABULARY {
                    let found = shape.vocab_size;
                    let what = format!(
                        "expected a vocabulary of at most {MAX_VOCABULARY} tokens, whose logits fit into a frame, found {found}"
                    );
                    return Err(Refusal::new(Code::TooLarge, what));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The package that is loaded.
    pub(super) fn model(&self) -> Result<LoadedModel, Refusal> {
        let none = || Refusal::new(Code::NotLoaded, "no package is loaded");
        lock(&self.loaded).clone().ok_or_else(none)
    }
}

fn check_ids(ids: &[u32], shape: &ModelShape) -> Result<(), Refusal> {
    match ids.iter().find(|id| **id as usize >= shape.vocab_size) {
        Some(id) => bad(format!("expected token ids below {}, found {id}", shape.vocab_size)),
        None => Ok(()),
    }
}

fn check_fit(tokens: usize, shape: &ModelShape) -> Result<(), Refusal> {
    let most = shape.context_tokens;
    if tokens <= most {
        return Ok(());
    }
    let what = format!("expected at most {most} tokens, which the cache holds, found {tokens}");
    Err(Refusal::new(Code::TooLarge, what))
}
