//! Rotary embeddings of GGUF files, as llama.cpp reads them.

use crate::checkpoint::config::{Rope, RopeScaling};
use crate::error::{Error, Result};

use super::architectures::Architecture;
use super::keys::MetadataKeys;
use super::sizes::Sizes;

/// Divisors of rotary frequencies that a file stores as tensors.
#[derive(Debug, Default)]
pub(super) struct RopeFactors {
    /// `rope_freqs.weight`.
    pub all: Option<Vec<f32>>,
    /// `rope_factors_short.weight`.
    pub short: Option<Vec<f32>>,
    /// `rope_factors_long.weight`.
    pub long: Option<Vec<f32>>,
}

/// The `count` rotary embeddings of a model: that of all layers, and that of layers with a window, which
/// is not stretched.
///
/// # Errors
/// Input errors that name the key or the tensor.
pub(super) fn ropes(
    keys: &MetadataKeys<'_>,
    architecture: &Architecture,
    sizes: &Sizes,
    factors: RopeFactors,
    count: usize,
) -> Result<Vec<Rope>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let first = rope(keys, architecture, sizes, factors)?;
    let mut ropes = vec![first];
    if count > 1 {
        let default = architecture.local_theta.unwrap_or(ropes[0].theta);
        let theta = keys.positive("rope.freq_base_swa", Some(default))?;
        ropes.push(Rope { theta, rotated: sizes.rotated, scaling: RopeScaling::None });
    }
    Ok(ropes)
}

/// As in llama.cpp, a factor without a type is linear, and a factor of 0 means no scaling.
fn rope(
    keys: &MetadataKeys<'_>,
    architecture: &Architecture,
    sizes: &Sizes,
    factors: RopeFactors,
) -> Result<Rope> {
    let rotated = sizes.rotated;
    let theta = keys.positive("rope.freq_base", Some(10_000.0))?;
    let kind_key = keys.full("rope.scaling.type");
    let kind = keys.metadata.text(&kind_key)?.unwrap_or("linear");
    let older = keys.metadata.float(&keys.full("rope.scale_linear"))?;
    let factor = keys.metadata.float(&keys.full("rope.scaling.factor"))?.or(older);
    if let (Some(short), Some(long)) = (factors.short, factors.long) {
        return long_rope(keys, theta, sizes, [short, long]);
    }
    let scaling = match (kind, factor) {
        ("yarn", Some(factor)) if factor.is_finite() && factor > 1.0 => {
            yarn(keys, architecture, sizes, factor)?
        }
        ("none", _) | ("linear", None) => RopeScaling::None,
        ("linear", Some(factor)) if factor == 0.0 || factor == 1.0 => RopeScaling::None,
        ("linear", Some(factor)) if factor.is_finite() && factor > 0.0 => {
            RopeScaling::Linear { factor }
        }
        ("linear", Some(factor)) => {
            return Err(Error::input(format!("expected a positive factor, found {factor}"))
                .at(format!("key {}", keys.full("rope.scaling.factor"))));
        }
        (other, _) => {
            return Err(Error::input(format!("the rope scaling {other} is not supported"))
                .at(format!("key {kind_key}"))
                .hint(
                    "evalkit supports none, linear, yarn with a factor, and factors in tensors",
                ));
        }
    };
    let Some(factors) = factors.all else { return Ok(Rope { theta, rotated, scaling }) };
    if scaling != RopeScaling::None {
        let what = "these factors cannot be combined with another rope scaling";
        return Err(Error::input(what).at("tensor rope_freqs.weight"));
    }
    check("rope_freqs", &factors, rotated)?;
    Ok(Rope { theta, rotated, scaling: RopeScaling::Factors(factors) })
}

/// Fails (input) if there is not one positive factor per pair.
fn check(name: &str, factors: &[f32], rotated: usize) -> Result<()> {
    let place = format!("tensor {name}.weight");
    if factors.len() != rotated / 2 {
        let (expected, found) = (rotated / 2, factors.len());
        return Err(Error::input(format!("expected {expected} factors, found {found}")).at(place));
    }
    match factors.iter().find(|factor| !factor.is_finite() || **factor <= 0.0) {
        Some(bad) => Err(Error::input(format!("expected positive factors, found {bad}")).at(place)),
        None => Ok(()),
    }
}

/// YaRN (llama.cpp, `llama-context.cpp`). The converter also writes transformers' `attention_factor`,
/// which llama.cpp does not read.
fn yarn(
    keys: &MetadataKeys<'_>,
    architecture: &Architecture,
    sizes: &Sizes,
    factor: f64,
) -> Result<RopeScaling> {
    let own = keys.positive("rope.scaling.attn_factor", Some(1.0))?;
    let of_all = keys.metadata.float(&keys.full("rope.scaling.yarn_log_multiplier"))?;
    let growth = |multiplier: f64| 0.1 * multiplier * factor.ln() + 1.0;
    let usual = growth(1.0) / growth(of_all.unwrap_or(0.0));
    let attention_factor = keys.positive("rope.scaling.yarn_attn_factor", Some(own * usual))?;
    let original = keys.optional_size("rope.scaling.original_context_length")?;
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: keys.positive("rope.scaling.yarn_beta_fast", Some(32.0))?,
        beta_slow: keys.positive("rope.scaling.yarn_beta_slow", Some(1.0))?,
        original_max_position_embeddings: original.unwrap_or(sizes.context_tokens),
        truncate: architecture.truncates,
        attention_factor,
    })
}

/// LongRoPE, whose factors are tensors.
fn long_rope(
    keys: &MetadataKeys<'_>,
    theta: f64,
    sizes: &Sizes,
    [short, long]: [Vec<f32>; 2],
) -> Result<Rope> {
    check("rope_factors_short", &short, sizes.rotated)?;
    check("rope_factors_long", &long, sizes.rotated)?;
    let scaling = RopeScaling::Long {
        short,
        long,
        original_max_position_embeddings: keys.size("rope.scaling.original_context_length")?,
        attention_factor: keys.positive("rope.scaling.attn_factor", Some(1.0))?,
    };
    Ok(Rope { theta, rotated: sizes.rotated, scaling })
}
