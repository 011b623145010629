//! Opens what a plan names: checkpoint, coded weights, and how a text is cut into windows.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

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

/// Opens the checkpoint that `model` names; one on the hub is downloaded first. `pretokenizer` names the
/// rule that splits its text into words, for a GGUF file that does not name it.
///
/// # Errors
/// Input errors of the checkpoint, surroundings errors of the network.
pub fn open_checkpoint(
    model: &str,
    pretokenizer: Option<&str>,
    observer: &dyn Observer,
) -> Result<Checkpoint> {
    let mut checkpoint = if model == demo::NAME {
        Checkpoint::open_embedded(&demo::MODEL)?
    } else {
        Checkpoint::open(&local(model, hub::fetch, observer)?)?
    };
    checkpoint.name = repository(model).unwrap_or(checkpoint.name);
    if let Some(name) = pretokenizer {
        checkpoint.set_pretokenizer(name)?;
    }
    Ok(checkpoint)
}

/// Opens the checkpoint that `model` names, or only its description if the weights are absent. From
/// the hub, only the description is downloaded.
///
/// # Errors
/// As [`open_checkpoint`].
pub fn open_outline(model: &str, observer: &dyn Observer) -> Result<Outline> {
    if model == demo::NAME {
        return Ok(Outline { checkpoint: open_checkpoint(model, None, observer)?, absent: None });
    }
    let mut outline = Outline::open(&local(model, hub::fetch_outline, observer)?)?;
    outline.checkpoint.name = repository(model).unwrap_or(outline.checkpoint.name);
    Ok(outline)
}

/// The local path of `model`; one on the hub is downloaded by `fetch`.
fn local(
    model: &str,
    fetch: impl FnOnce(&str, hub::Watch<'_>) -> Result<PathBuf>,
    observer: &dyn Observer,
) -> Result<PathBuf> {
    if model.starts_with(HUB) {
        let mut fetching = Fetching { observer, file: String::new(), stage: None };
        return fetch(model, &mut |event| fetching.tell(&event));
    }
    check_local(model)?;
    Ok(PathBuf::from(model))
}

/// Refuses the path of a model that is not there; models of the demo and the hub pass.
///
/// # Errors
/// An input error that says what a model can be.
pub fn check_local(model: &str) -> Result<()> {
    if model == demo::NAME || model.starts_with(HUB) || Path::new(model).exists() {
        return Ok(());
    }
    Err(Error::input("there is no such file or folder").at(model).hint(
        "give a Hugging Face folder, a GGUF file, hf:owner/name, or `demo` for the built-in model",
    ))
}

/// Reports a download to an observer, each file as a stage.
struct Fetching<'a> {
    observer: &'a dyn Observer,
    file: String,
    stage: Option<Stage<'a>>,
}

impl Fetching<'_> {
    /// Reports an event, and fails if the run was asked to stop.
    fn tell(&mut self, event: &hub::Event<'_>) -> Result<()> {
        match *event {
            hub::Event::Progress { file, done_bytes, total_bytes } => {
                if self.stage.is_none() || self.file != file {
                    file.clone_into(&mut self.file);
                    let name = format!("fetching {file}, kB");
                    self.stage = Some(Stage::new(name, self.observer));
                }
                if let Some(stage) = &self.stage {
                    stage.set(done_bytes.div_ceil(1000), total_bytes.div_ceil(1000));
                }
            }
            hub::Event::Message(line) => self.observer.message(line),
            hub::Event::Waiting => {}
        }
        let stop = self.observer.stop_flag();
        if stop.is_some_and(|stop| stop.load(Ordering::SeqCst)) {
            return Err(Error::interrupted());
        }
        Ok(())
    }
}

/// The name for tables of a model on the hub, whose folder in the cache is named after a commit: that
/// of its repository, with the revision if one was given.
fn repository(model: &str) -> Option<String> {
    let (_, name) = model.strip_prefix(HUB)?.split_once('/')?;
    Some(name.replace('/', "-"))
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
