//! Rotary position tables, for every kind of scaling in [`RopeScaling`].

use std::f64::consts::PI;

use candle_core::{Device, Tensor};

use super::failed;
use crate::checkpoint::config::{Config, Rope, RopeScaling};
use crate::error::Result;

/// Cosines and sines, `[tokens, head_dim / 2]` each.
#[derive(Debug, Clone)]
pub struct RopeTables {
    pub(super) cos: Tensor,
    pub(super) sin: Tensor,
}

impl RopeTables {
    /// Tables for the first `tokens` positions.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn new(config: &Config, tokens: usize, device: &Device) -> Result<Self> {
        let frequencies = frequencies(&config.rope, config.head_dim);
        // Angles are f32, as in transformers, whose results the reference reproduces.
        let angles: Vec<f32> = (0..tokens)
            .flat_map(|position| frequencies.iter().map(move |f| position as f32 * *f))
            .collect();
        let scale = match config.rope.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        };
        let table = |of: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&angle| of(angle) * scale).collect();
            Tensor::from_vec(values, (tokens, frequencies.len()), device).map_err(failed)
        };
        Ok(RopeTables { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }

    /// Cosines `[tokens, head_dim / 2]`.
    pub fn cos(&self) -> &Tensor {
        &self.cos
    }

    /// Sines `[tokens, head_dim / 2]`.
    pub fn sin(&self) -> &Tensor {
        &self.sin
    }
}

/// Radians per position of each rotated pair, `[head_dim / 2]`.
pub fn frequencies(rope: &Rope, head_dim: usize) -> Vec<f32> {
    let plain = (0..head_dim / 2).map(|i| {
        let exponent = (2 * i) as f32 / head_dim as f32;
        1.0 / (rope.theta as f32).powf(exponent)
    });
    match &rope.scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear { factor } => plain.map(|f| f / *factor as f32).collect(),
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
        let scaled = frequencies(&Rope { theta: 500_000.0, scaling }, 128);
        let plain = frequencies(&Rope { theta: 500_000.0, scaling: RopeScaling::None }, 128);
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[63], plain[63] / 8.0);
        let middle = scaled.iter().zip(&plain).filter(|(s, p)| s < p && **s > **p / 8.0).count();
        assert!(middle > 3, "expected a ramp in between, found {middle} pairs on it");
    }
}
