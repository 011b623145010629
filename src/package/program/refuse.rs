//! What packages cannot compute.

use super::design::Design;
use crate::checkpoint::config::{Activation, Config, QkOver};
use crate::error::{Error, Result};

/// Refuses a model with a part that packages do not compute, before anything is coded.
///
/// # Errors
/// An input error that names the family and the part.
pub fn refuse_model(config: &Config, design: &Design) -> Result<()> {
    let context = design.context_tokens;
    let short = config.ropes.iter().filter_map(|rope| rope.short_tokens()).min();
    if let Some(longest) = short.filter(|longest| context > *longest) {
        return Err(Error::input(format!(
            "{}: in sequences of more than {longest} tokens the rotary embedding depends on the length \
             of the whole sequence, so keys of earlier tokens cannot be cached; expected a cache of at \
             most {longest} tokens, found {context}",
            config.family
        ))
        .at("--max-sequence-length")
        .hint(format!("use --max-sequence-length {longest}")));
    }
    let mut windows: Vec<usize> =
        (0..config.layers).filter_map(|layer| config.window_tokens(layer)).collect();
    windows.dedup();
    let mixes = (0..config.layers).any(|layer| config.mixture(layer).is_some());
    let all_after_rope =
        config.qk_norm.is_some_and(|norm| norm.after_rope && norm.over == QkOver::All);
    let reasons = [
        (windows.len() > 1, "its layers have windows of different lengths"),
        (all_after_rope, "rotated heads are normed together"),
        (mixes && config.placement.after_mlp, "the sum of its experts is normed"),
        (
            mixes && config.activation == Activation::Xielu,
            "its experts have an activation with learned numbers",
        ),
        (
            config.conv.is_some_and(|conv| conv.kernel_tokens < 2),
            "its convolutions see one token only",
        ),
    ];
    match reasons.iter().find(|(applies, _)| *applies) {
        None => Ok(()),
        Some((_, reason)) => Err(Error::input(format!(
            "{}: packages do not compute this model: {reason}",
            config.family
        ))
        .hint("score it with sweep; only packages need this")),
    }
}
