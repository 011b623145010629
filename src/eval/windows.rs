//! Computations over all windows at once, one window per thread.

use candle_core::{Result as CandleResult, Tensor};
use rayon::prelude::*;

use crate::error::Result;
use crate::model::{self, Block, Mlp};

/// The MLP of a dense block.
pub fn dense(block: &Block) -> CandleResult<&Mlp> {
    block.mlp().ok_or_else(|| candle_core::Error::Msg("a block without an MLP".into()))
}

/// Applies `of` to every window.
pub fn each(
    windows: &[Tensor],
    of: impl Fn(&Tensor) -> CandleResult<Tensor> + Sync + Send,
) -> Result<Vec<Tensor>> {
    let found: CandleResult<Vec<Tensor>> = windows.par_iter().map(of).collect();
    found.map_err(model::failed)
}

/// Applies `of` to every pair of windows.
pub fn both(
    first: &[Tensor],
    second: &[Tensor],
    of: impl Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + Sync + Send,
) -> Result<Vec<Tensor>> {
    let pairs = first.par_iter().zip(second);
    let found: CandleResult<Vec<Tensor>> = pairs.map(|(a, b)| of(a, b)).collect();
    found.map_err(model::failed)
}

/// The experts that each token goes to, per window; empty for a dense block. `normed` are the inputs of the
/// router.
pub fn route(block: &Block, normed: &[Tensor]) -> Result<Vec<model::Routed>> {
    if block.mlp().is_some() {
        return Ok(Vec::new());
    }
    Ok(normed
        .iter()
        .map(|x| block.route(x.clone()))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// The states `after` attention plus the outputs of the shared expert; `inner` are the inputs of its down,
/// and `normed` its own.
///
/// # Errors
/// Bug-class errors of candle.
pub fn with_shared(
    block: &Block,
    normed: &[Tensor],
    inner: &[Tensor],
    after: &[Tensor],
) -> Result<Vec<Tensor>> {
    let all = normed.par_iter().zip(inner).zip(after);
    let added = all.map(|((normed, inner), after)| block.add_shared(normed, inner, after));
    added.collect::<CandleResult<_>>().map_err(model::failed)
}
