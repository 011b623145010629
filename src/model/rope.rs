//! Rotary position tables, for every kind of scaling in [`RopeScaling`].

use std::f64::consts::PI;

use candle_core::{Device, Result as CandleResult, Tensor};

use super::failed;
use crate::checkpoint::config::{Config, QueryGrowth, Rope, RopeScaling};
use crate::error::Result;

/// Cosines and sines of all rotary embeddings of a model.
#[derive(Debug, Clone)]
pub struct RopeTables {
    tables: Vec<Tables>,
}

/// The tables of one rotary embedding.
#[derive(Debug, Clone)]
struct Tables {
    rope: Rope,
    short: Rotation,
    /// The tables of sequences that are longer than so many tokens.
    long: Option<(usize, Rotation)>,
}

/// Cosines and sines, `[tokens, rotated / 2]` each.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Cosines.
    pub cos: Tensor,
    /// Sines.
    pub sin: Tensor,
}

impl RopeTables {
    /// Tables for the first `tokens` positions.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn new(config: &Config, tokens: usize, device: &Device) -> Result<Self> {
        let tables = config.ropes.iter().map(|rope| {
            let short = Rotation::new(rope, false, tokens, device)?;
            let long = match rope.short_tokens() {
                Some(limit) if tokens > limit && rope.grown(tokens).is_none() => {
                    Some((limit, Rotation::new(rope, true, tokens, device)?))
                }
                _ => None,
            };
            Ok(Tables { rope: rope.clone(), short, long })
        });
        Ok(RopeTables { tables: tables.collect::<Result<_>>()? })
    }

    /// The tables of the `index`-th rotary embedding for a sequence of `tokens` tokens.
    ///
    /// # Errors
    /// Candle's errors, for more tokens than there are.
    pub fn rotation(&self, index: usize, tokens: usize) -> CandleResult<Rotation> {
        let none = || candle_core::Error::Msg(format!("there is no rotary embedding {index}"));
        let Tables { rope, short, long } = self.tables.get(index).ok_or_else(none)?;
        if let Some(grown) = rope.grown(tokens) {
            let rotation = Rotation::new(&grown, false, tokens, short.cos.device());
            return rotation.map_err(|e| candle_core::Error::Msg(e.to_string()));
        }
        let Rotation { cos, sin } = match long {
            Some((limit, long)) if tokens > *limit => long,
            _ => short,
        };
        Ok(Rotation { cos: cos.narrow(0, 0, tokens)?, sin: sin.narrow(0, 0, tokens)? })
    }

    /// The factors `[tokens, 1, 1]` of queries that grow with the position.
    ///
    /// # Errors
    /// Candle's errors.
    pub(super) fn growth(&self, growth: QueryGrowth, tokens: usize) -> CandleResult<Tensor> {
        let values: Vec<f32> = (0..tokens).map(|position| growth.at(position)).collect();
        let device = self.tables.first().map_or(&Device::Cpu, |tables| tables.short.cos.device());
        Tensor::from_vec(values, (tokens, 1, 1), device)
    }
}

impl QueryGrowth {
    /// The factor on a query.
    pub fn at(self, position: usize) -> f32 {
        let steps = position / self.original_max_position_embeddings.max(1);
        1.0 + self.beta as f32 * (1.0 + steps as f32).ln()
    }
}

impl Rotation {
    /// The first `tokens` positions of a rotary embedding, with the factors of long sequences if it
    /// has such.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn new(rope: &Rope, is_long: bool, tokens: usize, device: &Device) -> Result<Self> {
        let frequencies = frequencies(rope, is_long);
        // Angles are f32, as in transformers, whose results the reference reproduces.
        let angles: Vec<f32> = (0..tokens)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * *f))
            .collect();
        let scale = match rope.scaling {
            RopeScaling::Yarn { attention_factor, .. }
            | RopeScaling::Long { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        };
        let table = |of: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&angle| of(angle) * scale).collect();
            Tensor::from_vec(values, (tokens, frequencies.len()), device).map_err(failed)
        };
        Ok(Rotation { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }

    /// Rotates the first dimensions of the heads of `y` `[tokens, heads, head_dim]`.
    ///
    /// # Errors
    /// Candle's errors.
    pub(super) fn apply(&self, y: &Tensor) -> CandleResult<Tensor> {
        let (_, _, head_dim) = y.dims3()?;
        let rotated = 2 * self.cos.dim(1)?;
        let turn = |y: &Tensor| {
            candle_nn::rotary_emb::rope_thd(&y.unsqueeze(0)?, &self.cos, &self.sin)?.squeeze(0)
        };
        if rotated == head_dim {
            return turn(y);
        }
        let turned = turn(&y.narrow(2, 0, rotated)?.contiguous()?)?;
        Tensor::cat(&[&turned, &y.narrow(2, rotated, head_dim - rotated)?], 2)
    }
}

/// Radians per position of each rotated pair, `[rotated / 2]`; `is_long` asks for those of long
/// sequences, where they differ.
pub fn frequencies(rope: &Rope, is_long: bool) -> Vec<f32> {
    let head_dim = rope.rotated;
    let plain = (0..head_dim / 2).map(|i| {
        let exponent = (2 * i) as f32 / head_dim as f32;
        1.0 / (rope.theta as f32).powf(exponent)
    });
    match &rope.scaling {
        RopeScaling::None | RopeScaling::Dynamic { .. } => plain.collect(),
        RopeScaling::Linear { factor } => plain.map(|f| f / *factor as f32).collect(),
        RopeScaling::Long { short, long, .. } => {
            plain.zip(if is_long { long } else { short }).map(|(f, by)| f / by).collect()
        }
        RopeScaling::Factors(factors) => plain.zip(factors).map(|(f, by)| f / by).collect(),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            truncate,
            ..
        } => {
            let original = *original_max_position_embeddings as f64;
            // The pair that turns `turns` times within the original context.
            let pair_of = |turns: f64| {
                head_dim as f64 * (original / (turns * 2.0 * PI)).ln() / (2.0 * rope.theta.ln())
            };
            let (mut low, mut high) = (pair_of(*beta_fast), pair_of(*beta_slow));
            if *truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            let (low, high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
            let width = if high > low { high - low } else { 0.001 };
            plain
                .enumerate()
                .map(|(pair, f)| {
                    let stretched = ((pair as f64 - low) / width).clamp(0.0, 1.0) as f32;
                    f / *factor as f32 * stretched + f * (1.0 - stretched)
                })
                .collect()
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let original = *original_max_position_embeddings as f64;
            plain
                .map(|f| {
                    let wavelength = 2.0 * PI / f64::from(f);
                    let stretched = f64::from(f) / factor;
                    if wavelength < original / high_freq_factor {
                        f
                    } else if wavelength > original / low_freq_factor {
                        stretched as f32
                    } else {
                        let smooth = (original / wavelength - low_freq_factor)
                            / (high_freq_factor - low_freq_factor);
                        ((1.0 - smooth) * stretched + smooth * f64::from(f)) as f32
                    }
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_fast_pairs_and_stretches_slow_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let scaled = frequencies(&Rope { theta: 500_000.0, rotated: 128, scaling }, false);
        let plain = frequencies(
            &Rope { theta: 500_000.0, rotated: 128, scaling: RopeScaling::None },
            false,
        );
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[63], plain[63] / 8.0);
        let middle = scaled.iter().zip(&plain).filter(|(s, p)| s < p && **s > **p / 8.0).count();
        assert!(middle > 3, "expected a ramp in between, found {middle} pairs on it");
    }
}
