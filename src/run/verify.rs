//! Compares a folder of packages with the checkpoint that it claims to be made from.

use std::path::Path;
use std::sync::Arc;

use super::inputs;
use super::observer::{Observer, Stage};
use super::package::{VERIFIED_TOKENS, check};
use super::text::read_text;
use crate::checkpoint::Checkpoint;
use crate::error::{At, Error, Result};
use crate::eval::{Coder, Fp16Overflow, Variant, Walk, Window};
use crate::model::{self, Backend};
use crate::package::bundle::{Bundle, Manifest};
use crate::package::execute::Precision;
use crate::package::verify::{
    VerificationInput, VerificationLink, distance_by_block, predict_by_walk,
};

/// What to verify, and how.
pub struct VerifyRequest<'a> {
    /// The folder of packages.
    pub folder: &'a Path,
    /// The checkpoint, named as in a plan.
    pub model: &'a str,
    /// How text is split into words, if the checkpoint does not say it.
    pub pretokenizer: Option<&'a str>,
    /// The file of coded weights that the packages were made from, if there is one.
    pub coded: Option<&'a Path>,
    /// The text whose first tokens are predicted; `None` spreads tokens over the vocabulary.
    pub text: Option<&'a str>,
    /// Tokens to predict; `None` predicts 48, or as many as the packages' cache holds.
    pub tokens: Option<usize>,
    /// The precision that the packages are executed in.
    pub precision: Precision,
    /// Whether hidden states are compared after every block.
    pub by_block: bool,
    /// What computes the predictions that the packages' are compared with.
    pub backend: Backend,
}

/// The result of a verification.
pub struct Verified {
    /// The packages' own description.
    pub manifest: Manifest,
    /// The links of the proof.
    pub links: Vec<VerificationLink>,
    /// Relative difference of the hidden states after each block; empty without `by_block`.
    pub differences: Vec<f64>,
}

/// Verifies packages against their checkpoint.
///
/// # Errors
/// Input errors of folder, checkpoint and text, interruption. A link that does not hold is not an
/// error.
pub fn verify_packages(request: &VerifyRequest<'_>, observer: &dyn Observer) -> Result<Verified> {
    let folder = request.folder;
    let bundle = Bundle::open(folder)?;
    let checkpoint = inputs::open_checkpoint(request.model, request.pretokenizer, observer)?;
    let hash = checkpoint.content_hash();
    let described = &bundle.manifest.model;
    if described.model_hash != hash {
        let found = &described.model_hash;
        return Err(Error::input(format!(
            "packaged from the model {found:.12}, but the checkpoint is {hash:.12}"
        ))
        .at(folder.display())
        .hint("use --model to name the checkpoint that was packaged"));
    }
    let file = match request.coded {
        Some(path) => Some(Arc::new(inputs::open_coded(path, &hash)?)),
        None => None,
    };
    let variant: Variant = described.variant.parse().at(|| folder.display())?;
    if let Some(other) = file.as_ref().filter(|file| file.variant != variant) {
        return Err(Error::input(format!(
            "the packages are {variant}, but the weights in this file were coded as {}",
            other.variant
        ))
        .at(request.coded.unwrap_or(folder).display())
        .hint("name the file that the packages were written from with --coded"));
    }
    let scales = bundle.manifest.scales().at(|| folder.display())?;
    let coder = Coder {
        checkpoint: &checkpoint,
        variant: &variant,
        file: file.as_ref(),
        scales: Some(&scales),
    };
    coder.check()?;
    let ids = ids(request, &checkpoint, described.context_tokens, observer)?;
    let question =
        VerificationInput { bundle: &bundle, coder, ids: &ids, precision: request.precision };
    let walked = predict_by_walk(coder, &ids, &model::device(request.backend)?)?;
    let links = check(&question, &walked, observer)?;
    let differences =
        if request.by_block { distance_by_block(&question, &walked)? } else { Vec::new() };
    Ok(Verified { manifest: bundle.manifest, links, differences })
}

/// Verifies that the packages in `folder` are `model` under the recipe that they name. It checks their
/// files, compares every weight bit for bit, and compares their predictions for `tokens` tokens spread
/// over the vocabulary.
///
/// # Errors
/// Input errors of folder and checkpoint, interruption. A link of the proof that does not hold is not
/// an error: see [`VerificationLink::holds`].
pub fn verify(
    folder: &Path,
    model: &str,
    tokens: usize,
    observer: &dyn Observer,
) -> Result<Vec<VerificationLink>> {
    let request = VerifyRequest {
        folder,
        model,
        pretokenizer: None,
        coded: None,
        text: None,
        tokens: Some(tokens),
        precision: Precision::Single,
        by_block: false,
        backend: Backend::resolve(None)?,
    };
    Ok(verify_packages(&request, observer)?.links)
}

/// The first activation of the checkpoint itself that fp16 does not hold, on tokens spread over the
/// vocabulary. It is found before any text is known; a sweep looks on the text that it scores.
///
/// # Errors
/// Input errors of the checkpoint, interruption.
pub fn fp16_overflow(
    checkpoint: &Checkpoint,
    backend: Backend,
    observer: &dyn Observer,
) -> Result<Option<Fp16Overflow>> {
    let tokens = VERIFIED_TOKENS.min(checkpoint.config.max_position_embeddings);
    let ids = inputs::spread(tokens, checkpoint.config.vocab_size);
    let device = model::device(backend)?;
    let walk = Walk {
        checkpoint,
        variants: &[],
        windows: &[Window { scored: 1..ids.len(), ids, scored_bytes: 0 }],
        coded: &[],
        calibration: None,
        device: &device,
    };
    let walked = walk.run(None, &mut Stage::new("looking for overflows", observer))?;
    let reference = walked.outcomes.first().and_then(|outcome| outcome.as_ref().ok());
    Ok(reference.and_then(|scored| scored.scores.first()?.fp16_overflow))
}

/// The tokens to predict: the first ones of the text, or tokens spread over the vocabulary.
fn ids(
    request: &VerifyRequest<'_>,
    checkpoint: &Checkpoint,
    context_tokens: usize,
    observer: &dyn Observer,
) -> Result<Vec<u32>> {
    let tokens = request.tokens.unwrap_or(VERIFIED_TOKENS.min(context_tokens));
    if !(2..=context_tokens).contains(&tokens) {
        return Err(Error::input(format!(
            "expected 2 to {context_tokens} tokens, the size of the packages' cache, found {tokens}"
        ))
        .at("--tokens"));
    }
    let Some(text) = request.text else {
        return Ok(inputs::spread(tokens, checkpoint.config.vocab_size));
    };
    let text = read_text(text, observer)?;
    text.warnings.iter().for_each(|line| observer.warning(line));
    text.first_ids(&checkpoint.tokenizer()?, tokens)
}
