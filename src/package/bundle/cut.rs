//! Decides which packages a model is cut into.

use super::compute_units::MAX_GATHER_ROWS;
use super::weight_file::{KeptCounts, WeightPlanner};
use crate::checkpoint::config::Config;
use crate::error::Result;
use crate::eval::Coder;
use crate::package::program::{Compute, Design, Piece, PlacedWeights};

/// How large a package may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageLimits {
    /// The largest weight file in bytes.
    pub chunk_bytes: u64,
    /// The most blocks in one package.
    pub layers: usize,
}

impl PackageLimits {
    /// The limits that engines are known to have: weight files of 1 GB on iOS; on the Neural Engine
    /// 500 MB and 16 blocks, since it silently falls back to the CPU for larger packages.
    pub fn of(compute: Compute) -> Self {
        match compute {
            Compute::Gpu => PackageLimits { chunk_bytes: 1_000_000_000, layers: usize::MAX },
            Compute::Ane => PackageLimits { chunk_bytes: 500_000_000, layers: 16 },
        }
    }
}

/// A piece and the name of its package, without the extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPiece {
    /// For example `blocks_0_7`.
    pub name: String,
    /// The part of the model that it holds.
    pub piece: Piece,
}

impl NamedPiece {
    fn chain(name: String, embedding: bool, layers: std::ops::Range<usize>, head: bool) -> Self {
        NamedPiece { name, piece: Piece::Chain { embedding, layers, head } }
    }
}

/// Cuts a model into packages, listed in the order in which they run.
///
/// # Errors
/// Input errors of recipes that the design cannot express.
pub fn cut(coder: &Coder<'_>, design: &Design, limits: PackageLimits) -> Result<Vec<NamedPiece>> {
    let config = &coder.checkpoint.config;
    if (0..config.layers).any(|layer| config.mixture(layer).is_some()) {
        return Ok(mixture(config));
    }
    let counts = KeptCounts::default();
    let whole = Piece::whole(config);
    let weights_bytes = |piece: &Piece| weights_bytes(piece, coder, design, &counts);
    // What chooses from more rows runs elsewhere than the blocks, and so is a package of its own.
    let is_apart = design.compute == Compute::Ane && config.vocab_size > MAX_GATHER_ROWS;
    let is_short = config.layers <= limits.layers && !is_apart;
    if is_short && weights_bytes(&whole)? <= limits.chunk_bytes {
        return Ok(vec![NamedPiece { name: "model".into(), piece: whole }]);
    }
    let mut pieces = vec![NamedPiece::chain("embedding".into(), true, 0..0, false)];
    let mut first = 0;
    while first < config.layers {
        let mut end = first + 1;
        while end < config.layers && end - first < limits.layers {
            let longer = Piece::Chain { embedding: false, layers: first..end + 1, head: false };
            if weights_bytes(&longer)? > limits.chunk_bytes {
                break;
            }
            end += 1;
        }
        pieces.push(NamedPiece::chain(
            format!("blocks_{first}_{}", end - 1),
            false,
            first..end,
            false,
        ));
        first = end;
    }
    pieces.push(NamedPiece::chain("head".into(), false, 0..0, true));
    Ok(pieces)
}

/// The pieces of a mixture of experts: for every block with experts one piece up to its router and one
/// with the experts, and one for every other block.
fn mixture(config: &Config) -> Vec<NamedPiece> {
    let mut pieces = vec![NamedPiece::chain("embedding".into(), true, 0..0, false)];
    for layer in 0..config.layers {
        pieces.push(NamedPiece::chain(format!("block_{layer}"), false, layer..layer + 1, false));
        if config.mixture(layer).is_some() {
            let piece = Piece::Experts { layer };
            pieces.push(NamedPiece { name: format!("experts_{layer}"), piece });
        }
    }
    pieces.push(NamedPiece::chain("head".into(), false, 0..0, true));
    pieces
}

/// The size of a piece's weight file.
fn weights_bytes(
    piece: &Piece,
    coder: &Coder<'_>,
    design: &Design,
    counts: &KeptCounts,
) -> Result<u64> {
    let mut planner = WeightPlanner::new(*coder, design.target, counts);
    PlacedWeights::place(piece, coder, design, &mut planner)?;
    Ok(planner.size_bytes())
}
