//! Runs a part of a dense layer stage by stage, and measures how far the states after it move when its
//! weights change.

use candle_core::{Result as CandleResult, Tensor};

use std::ops::Range;

use crate::checkpoint::Role;
use crate::checkpoint::config::Config;
use crate::error::{Error, Result};
use crate::eval::mixed::{ROLES, place_of};
use crate::eval::windows::{both, dense, each};
use crate::model::{self, Block, RopeTables};

/// The number of places that belong to attention.
const ATTENTION: usize = 4;

/// A part of a dense layer.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// What mixes tokens: its first projections, and the output projection.
    Attention,
    /// Gate, up and down.
    Mlp,
}

impl Part {
    /// The places of its linear layers; the one in the last place reads the result of the others.
    pub fn places(self) -> Range<usize> {
        match self {
            Part::Attention => 0..ATTENTION,
            Part::Mlp => ATTENTION..ROLES.len(),
        }
    }

    /// The inputs of its first linear layers. `x` are the states `[tokens, hidden]` before the layer, and
    /// `before` those before the part.
    ///
    /// # Errors
    /// Those of candle.
    pub fn normed(self, block: &Block, x: &Tensor, before: &Tensor) -> CandleResult<Tensor> {
        match self {
            Part::Attention => block.attention_input(before),
            Part::Mlp => block.mlp_input(x, before),
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
    pub fn add(self, block: &Block, inner: &Tensor, before: &Tensor) -> CandleResult<Tensor> {
        match self {
            Part::Attention => block.output(inner, before),
            Part::Mlp => block.add_mlp(dense(block)?.down(inner)?, before),
        }
    }
}

/// The roles of a block's linear layers in a place.
pub fn roles_in(config: &Config, layer: usize, place: usize) -> Vec<Role> {
    let ids = config.block_tensors(layer).into_iter();
    let is_there = |role: &Role| place_of(*role) == Some(place);
    ids.filter(|id| !id.bias).map(|id| id.role).filter(is_there).collect()
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
    /// Runs the reference's part on its states. `x` are those before the layer.
    pub fn of(
        part: Part,
        block: &Block,
        x: &[Tensor],
        before: &[Tensor],
        rope: &RopeTables,
    ) -> Result<Self> {
        let normed = both(x, before, |x, before| part.normed(block, x, before))?;
        let inner = each(&normed, |x| part.inner(block, x, rope))?;
        let after = both(&inner, before, |inner, x| part.add(block, inner, x))?;
        Ok(Stage { normed, inner, before: before.to_vec(), after })
    }

    /// The states after the part if its weights have changed from `place` on.
    pub fn again(
        &self,
        part: Part,
        block: &Block,
        place: usize,
        rope: &RopeTables,
    ) -> Result<Vec<Tensor>> {
        let add = |inner: &Tensor, x: &Tensor| part.add(block, inner, x);
        if place + 1 == part.places().end {
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
