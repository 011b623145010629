//! Opens what a plan names: checkpoint, coded weights, and how a text is cut into windows.

use std::path::{Path, PathBuf};

use super::observer::{Observer, Stage};
use super::plan::Plan;
use crate::checkpoint::hub;
use crate::checkpoint::tokenizer::TextTokenizer;
use crate::checkpoint::{Checkpoint, Outline};
use crate::demo;
use crate::error::{Error, Result};
use crate::eval::{BosMode, CodedFile, Cut, Protocol};

/// The prefix of checkpoints on the hub.
const HUB: &str = "hf:";

/// Opens the checkpoint that `model` names; one on the hub is downloaded first.
///
/// # Errors
/// Input errors of the checkpoint, surroundings errors of the network.
pub fn open_checkpoint(model: &str, observer: &dyn Observer) -> Result<Checkpoint> {
    if model == demo::NAME {
        return Checkpoint::open_embedded(&demo::MODEL);
    }
    let mut checkpoint = Checkpoint::open(&local(model, hub::fetch, observer)?)?;
    checkpoint.name = repository(model).unwrap_or(checkpoint.name);
    Ok(checkpoint)
}

/// Opens the checkpoint that `model` names, or only its description if the weights are absent. From
/// the hub, only the description is downloaded.
///
/// # Errors
/// As [`open_checkpoint`].
pub fn open_outline(model: &str, observer: &dyn Observer) -> Result<Outline> {
    if model == demo::NAME {
        return Ok(Outline { checkpoint: open_checkpoint(model, observer)?, absent: None });
    }
    let mut outline = Outline::open(&local(model, hub::fetch_outline, observer)?)?;
    outline.checkpoint.name = repository(model).unwrap_or(outline.checkpoint.name);
    Ok(outline)
}

/// The local path of `model`; one on the hub is downloaded by `fetch`.
fn local(
    model: &str,
    fetch: impl FnOnce(&str, hub::DownloadProgress<'_>) -> Result<PathBuf>,
    observer: &dyn Observer,
) -> Result<PathBuf> {
    if model.starts_with(HUB) {
        let stage = Stage::new("fetching", observer);
        return fetch(model, &mut |_, done, total| stage.set(done, total));
    }
    let path = Path::new(model);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    Err(Error::input("there is no such file or folder").at(model).hint(
        "give a Hugging Face folder, a GGUF file, hf:owner/name, or `demo` for the built-in model",
    ))
}

/// The repository's name, if `model` is on the hub: its folder in the cache is named after a commit.
fn repository(model: &str) -> Option<String> {
    let name = model.strip_prefix(HUB)?;
    Some(name.rsplit('/').next().unwrap_or(name).to_owned())
}

/// Opens a file of coded weights, which must come from the checkpoint with this hash.
///
/// # Errors
/// Input errors of the file; another checkpoint.
pub fn open_coded(path: &Path, model_hash: &str) -> Result<CodedFile> {
    let file = CodedFile::open(path)?;
    if file.variant.is_calibrated() && file.calibrated.origin.is_none() {
        let what = format!("coded as {}, but does not say on which text", file.variant);
        return Err(Error::input(what)
            .at(path.display())
            .hint("code it again with evalkit quantize --calibrate FILE"));
    }
    if file.model_hash == model_hash {
        return Ok(file);
    }
    let found = &file.model_hash;
    Err(Error::input(format!(
        "coded from the model {found:.12}, but the checkpoint is {model_hash:.12}"
    ))
    .at(path.display())
    .hint("code this checkpoint with evalkit quantize"))
}

/// How the plan's text is cut into windows for this tokenizer.
///
/// # Errors
/// Input errors: a BOS mode for a tokenizer without BOS, windows longer than the model's context.
pub fn cut(plan: &Plan, checkpoint: &Checkpoint, tokenizer: &TextTokenizer) -> Result<Cut> {
    let protocol: Protocol = plan.protocol.parse()?;
    let chosen: Option<BosMode> = plan.bos.as_deref().map(str::parse).transpose()?;
    let default = if tokenizer.add_bos { protocol.bos_mode() } else { BosMode::None };
    let bos = match (chosen.unwrap_or(default), tokenizer.bos) {
        (BosMode::None, _) => None,
        (mode, Some(id)) => Some((mode, id)),
        (mode, None) => {
            return Err(Error::input(format!("--bos {mode}: the tokenizer has no BOS token")));
        }
    };
    let longest = checkpoint.config.max_position_embeddings;
    if plan.context > longest {
        let context = plan.context;
        return Err(Error::input(format!(
            "windows of {context} tokens, but the model's context is {longest}"
        ))
        .hint(format!("give --context {longest} or less")));
    }
    Ok(Cut { protocol, bos, window_tokens: plan.context, limit: plan.limit })
}

/// Token ids spread over a vocabulary, the same every time.
pub fn spread(tokens: usize, vocabulary: usize) -> Vec<u32> {
    /// 2^32 over the golden ratio: multiples of it fall evenly (Knuth, volume 3, section 6.4).
    const GOLDEN: u32 = 2_654_435_769;
    let at = |i: usize| (u64::from((i as u32).wrapping_mul(GOLDEN)) * vocabulary as u64) >> 32;
    (1..=tokens).map(|i| at(i) as u32).collect()
}
