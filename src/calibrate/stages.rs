//! The reference's states in a layer, and the inputs that a layer is coded with.

use candle_core::Tensor;
use rayon::prelude::*;

use super::correlation::Tokens;
use crate::checkpoint::config::Config;
use crate::error::Result;
use crate::eval::setting::Walk;
use crate::eval::windows::{both, each, with_shared};
use crate::model::{Block, Input, RopeTables};

/// The reference's states in a layer, per window `[tokens, hidden]` if nothing else is said.
pub struct Stages {
    /// The inputs of the first projections of what mixes tokens.
    pub attention: Vec<Tensor>,
    /// The narrow states of latent attention, by input, `[tokens, rank]`.
    pub latents: Vec<(Input, Vec<Tensor>)>,
    /// The results of the output projection, if they are normed before they are added.
    pub projected: Option<Vec<Tensor>>,
    /// The states after attention.
    pub attended: Vec<Tensor>,
    /// The inputs of the MLP, or of the router and the experts.
    pub mlp: Vec<Tensor>,
    /// The results of down, if they are normed before they are added, or those of a shared expert.
    pub down: Option<Vec<Tensor>>,
    /// The states after the layer; in a mixture of experts, those that the outputs of routed experts
    /// are added to.
    pub output: Vec<Tensor>,
}

impl Stages {
    /// Runs the reference's block `layer`, in a mixture up to the router.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn of(
        config: &Config,
        layer: usize,
        block: &Block,
        hidden: &[Tensor],
        rope: &RopeTables,
    ) -> Result<Self> {
        let attention = each(hidden, |x| block.attention_input(x))?;
        let latents = Input::of_layer(config, layer).into_iter().filter(|input| input.is_latent());
        let latents = latents.map(|input| Ok((input, latent(block, input, &attention)?)));
        let latents = latents.collect::<Result<_>>()?;
        let (projected, attended) = if config.placement.after_attention {
            let inputs = each(&attention, |normed| block.attended(normed, rope))?;
            let projected = each(&inputs, |inputs| block.projected(inputs))?;
            (Some(projected), both(&inputs, hidden, |inputs, x| block.output(inputs, x))?)
        } else {
            let output =
                |normed: &Tensor, x: &Tensor| block.output(&block.attended(normed, rope)?, x);
            (None, both(&attention, hidden, output)?)
        };
        let mlp = both(hidden, &attended, |x, after| block.mlp_input(x, after))?;
        let (down, output) = match (block.mlp(), block.shared()) {
            (Some(dense), _) if config.placement.after_mlp => {
                let down = each(&mlp, |x| dense.down(&dense.inner(x)?))?;
                let output = both(&down, &attended, |y, after| block.add_mlp(y.copy()?, after))?;
                (Some(down), output)
            }
            (Some(dense), _) => {
                let add = |x: &Tensor, after: &Tensor| {
                    block.add_mlp(dense.down(&dense.inner(x)?)?, after)
                };
                (None, both(&mlp, &attended, add)?)
            }
            (None, Some(shared)) => {
                let inner = each(&mlp, |x| shared.inner(x))?;
                let down = each(&inner, |inner| shared.down(inner))?;
                (Some(down), with_shared(block, &mlp, &inner, &attended)?)
            }
            (None, None) => (None, attended.clone()),
        };
        Ok(Stages { attention, latents, projected, attended, mlp, down, output })
    }
}

/// The narrow states of latent attention, from the normed ones.
///
/// # Errors
/// Bug-class errors of candle.
pub fn latent(block: &Block, input: Input, normed: &[Tensor]) -> Result<Vec<Tensor>> {
    normed.par_iter().map(|normed| block.latent_input(input, normed)).collect()
}

/// A layer that is being coded.
pub struct LayerFit<'a> {
    /// The walk.
    pub walk: &'a Walk<'a>,
    /// The layer's index.
    pub layer: usize,
    /// Rotary tables for the positions of the longest window.
    pub rope: &'a RopeTables,
    /// The reference's states in the layer.
    pub reference: &'a Stages,
    /// The weights of tokens.
    pub tokens: &'a Tokens,
}
