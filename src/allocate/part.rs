//! Runs a part of a dense layer stage by stage, and measures how far the states after it move when its
//! weights change.

use candle_core::{Result as CandleResult, Tensor};

use crate::checkpoint::Role;
use crate::error::{Error, Result};
use crate::eval::mixed::ROLES;
use crate::eval::windows::{both, dense, each};
use crate::model::{self, Block, RopeTables};

/// The number of a layer's roles that belong to attention.
const ATTENTION: usize = 4;

/// A part of a dense layer.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// Queries, keys, values, and the output projection.
    Attention,
    /// Gate, up and down.
    Mlp,
}

impl Part {
    /// Its linear layers; the last one reads the result of the others.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Part::Attention => &ROLES[..ATTENTION],
            Part::Mlp => &ROLES[ATTENTION..],
        }
    }

    /// The inputs of its first linear layers, from the states `[tokens, hidden]` before the part.
    ///
    /// # Errors
    /// Those of candle.
    pub fn normed(self, block: &Block, x: &Tensor) -> CandleResult<Tensor> {
        match self {
            Part::Attention => block.attention_input(x),
            // Only for layers whose MLP reads the states after attention.
            Part::Mlp => block.mlp_input(x, x),
        }
    }

    /// The inputs of its last linear layer.
    ///
    /// # Errors
    /// Those of candle.
    pub fn inner(self, block: &Block, normed: &Tensor, rope: &RopeTables) -> CandleResult<Tensor> {
        match self {
            Part::Attention => block.attended(normed, rope),
            Part::Mlp => dense(block)?.inner(normed),
        }
    }

    /// The states after the part.
    ///
    /// # Errors
    /// Those of candle.
    pub fn add(self, block: &Block, inner: &Tensor, x: &Tensor) -> CandleResult<Tensor> {
        match self {
            Part::Attention => block.output(inner, x),
            Part::Mlp => block.add_mlp(dense(block)?.down(inner)?, x),
        }
    }
}

/// The reference's states around a part, per window.
pub struct Stage {
    /// The inputs of its first linear layers.
    pub normed: Vec<Tensor>,
    /// The inputs of its last linear layer.
    pub inner: Vec<Tensor>,
    /// The states that its output is added to.
    pub before: Vec<Tensor>,
    /// The states after the part: the sum.
    pub after: Vec<Tensor>,
}

impl Stage {
    /// Runs the reference's part on its states.
    pub fn of(part: Part, block: &Block, before: &[Tensor], rope: &RopeTables) -> Result<Self> {
        let normed = each(before, |x| part.normed(block, x))?;
        let inner = each(&normed, |x| part.inner(block, x, rope))?;
        let after = both(&inner, before, |inner, x| part.add(block, inner, x))?;
        Ok(Stage { normed, inner, before: before.to_vec(), after })
    }

    /// The states after the part if its weights have changed from `role` on.
    pub fn again(
        &self,
        part: Part,
        block: &Block,
        role: Role,
        rope: &RopeTables,
    ) -> Result<Vec<Tensor>> {
        let add = |inner: &Tensor, x: &Tensor| part.add(block, inner, x);
        if part.roles().last() == Some(&role) {
            return both(&self.inner, &self.before, add);
        }
        both(&each(&self.normed, |x| part.inner(block, x, rope))?, &self.before, add)
    }
}

/// The mean over tokens of `|found - reference|² / |reference|²`, from windows `[tokens, hidden]`.
pub fn distance(reference: &[Tensor], found: &[Tensor]) -> Result<f64> {
    let squares = |values: &[f32], others: &[f32]| -> f64 {
        let pairs = values.iter().zip(others);
        pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    };
    let (mut sum, mut tokens) = (0.0, 0usize);
    for (reference, found) in reference.iter().zip(found) {
        let hidden = reference.dim(1).map_err(model::failed)?.max(1);
        let zeros = vec![0.0; hidden];
        sum += model::with_values(reference, |reference| {
            model::with_values(found, |found| {
                let rows = reference.chunks_exact(hidden).zip(found.chunks_exact(hidden));
                let relative = |(row, found): (&[f32], &[f32])| {
                    squares(row, found) / squares(row, &zeros).max(f64::MIN_POSITIVE)
                };
                rows.map(relative).sum::<f64>()
            })
        })??;
        tokens += reference.dim(0).map_err(model::failed)?;
    }
    if (sum / tokens.max(1) as f64).is_finite() {
        Ok(sum / tokens.max(1) as f64)
    } else {
        Err(Error::input("some activation overflowed: its error is not finite"))
    }
}
