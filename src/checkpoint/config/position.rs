//! Rotary position embeddings.

/// Rotary position embedding. The first dimensions of a head are rotated, in pairs of one from their
/// first and one from their second half.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub theta: f64,
    /// The number of dimensions of a head that are rotated; even.
    pub rotated: usize,
    /// How frequencies are changed for longer contexts.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// All frequencies divided by `factor`.
    Linear {
        /// Stretch.
        factor: f64,
    },
    /// Llama 3.1: low frequencies are divided by `factor`, high ones kept, with a ramp in between.
    Llama3 {
        /// Stretch of the low frequencies.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are stretched.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length the model was first trained for, in tokens.
        original_max_position_embeddings: usize,
    },
    /// YaRN (Peng et al. 2023): fast pairs are kept, slow ones divided by `factor`, with a ramp in
    /// between, and cosines and sines are multiplied by `attention_factor`.
    Yarn {
        /// Stretch of the slow pairs.
        factor: f64,
        /// Turns within the original context above which a pair is kept.
        beta_fast: f64,
        /// Turns within the original context below which a pair is stretched.
        beta_slow: f64,
        /// Context length the model was first trained for, in tokens.
        original_max_position_embeddings: usize,
        /// Whether the ramp's ends are rounded to whole pairs.
        truncate: bool,
        /// Factor on cosines and sines.
        attention_factor: f64,
    },
    /// Each frequency divided by its own factor (GGUF's `rope_freqs.weight`).
    Factors(Vec<f32>),
    /// Dynamic NTK scaling: in sequences that are longer than the model was made for, the base grows
    /// with their length (transformers, `_compute_dynamic_ntk_parameters`).
    Dynamic {
        /// Growth of the base.
        factor: f64,
        /// The longest sequence that keeps the base, in tokens.
        original_max_position_embeddings: usize,
    },
    /// LongRoPE (Ding et al. 2024): each frequency divided by its own factor, of which there are two
    /// lists, and cosines and sines multiplied by `attention_factor`.
    Long {
        /// Factors in sequences up to the original context.
        short: Vec<f32>,
        /// Factors in longer sequences, for all their tokens.
        long: Vec<f32>,
        /// Context length the model was first trained for, in tokens.
        original_max_position_embeddings: usize,
        /// Factor on cosines and sines.
        attention_factor: f64,
    },
}

impl Rope {
    /// The embedding of a sequence of `tokens` tokens, if its base depends on the length.
    pub fn grown(&self, tokens: usize) -> Option<Rope> {
        match self.scaling {
            RopeScaling::Dynamic { factor, original_max_position_embeddings: longest }
                if tokens > longest =>
            {
                let dim = self.rotated as f64;
                let growth = factor * tokens as f64 / longest as f64 - (factor - 1.0);
                let theta = self.theta * growth.powf(dim / (dim - 2.0));
                Some(Rope { theta, rotated: self.rotated, scaling: RopeScaling::None })
            }
            _ => None,
        }
    }

    /// Whether the rotation of a token depends on the length of its sequence, and the longest
    /// sequence with the first kind of rotation, in tokens.
    pub fn short_tokens(&self) -> Option<usize> {
        match &self.scaling {
            RopeScaling::Long { original_max_position_embeddings, .. }
            | RopeScaling::Dynamic { original_max_position_embeddings, .. } => {
                Some(*original_max_position_embeddings)
            }
            _ => None,
        }
    }
}

/// Queries at a position p are multiplied by `1 + beta · ln(1 + floor(p / original))` (Llama 4,
/// Ministral 3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryGrowth {
    /// The growth.
    pub beta: f64,
    /// The number of tokens before the first step.
    pub original_max_position_embeddings: usize,
}
