//! Which packages a model becomes.

use super::place::{Counts, Planned};
use crate::checkpoint::config::Config;
use crate::error::Result;
use crate::eval::Coder;
use crate::package::program::{Compute, Design, Piece, Weights};

/// How large a package may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a weight file.
    pub chunk_bytes: u64,
    /// Blocks of a package.
    pub layers: usize,
}

impl Limits {
    /// What engines are known to take: files of 1 GB on iOS; on the Neural Engine 500 MB and 16
    /// blocks, beyond which it falls back to the CPU in silence.
    pub fn of(compute: Compute) -> Self {
        match compute {
            Compute::Gpu => Limits { chunk_bytes: 1_000_000_000, layers: usize::MAX },
            Compute::Ane => Limits { chunk_bytes: 500_000_000, layers: 16 },
        }
    }
}

/// A piece and the name of its package, without the ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// For example `blocks_0_7`.
    pub name: String,
    /// What is in it.
    pub piece: Piece,
}

impl Named {
    fn chain(name: String, embedding: bool, layers: std::ops::Range<usize>, head: bool) -> Self {
        Named { name, piece: Piece::Chain { embedding, layers, head } }
    }
}

/// Cuts a model into packages, in the order in which they run.
///
/// # Errors
/// Input errors of recipes that the design cannot express.
pub fn cut(coder: &Coder<'_>, design: &Design, limits: Limits) -> Result<Vec<Named>> {
    let config = &coder.checkpoint.config;
    if config.experts.is_some() {
        return Ok(mixture(config));
    }
    let counts = Counts::default();
    let whole = Piece::whole(config);
    let weights_bytes = |piece: &Piece| weights_bytes(piece, coder, design, &counts);
    if config.layers <= limits.layers && weights_bytes(&whole)? <= limits.chunk_bytes {
        return Ok(vec![Named { name: "model".into(), piece: whole }]);
    }
    let mut pieces = vec![Named::chain("embedding".into(), true, 0..0, false)];
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
        pieces.push(Named::chain(format!("blocks_{first}_{}", end - 1), false, first..end, false));
        first = end;
    }
    pieces.push(Named::chain("head".into(), false, 0..0, true));
    Ok(pieces)
}

/// A mixture: every block up to its router, then its experts.
fn mixture(config: &Config) -> Vec<Named> {
    let mut pieces = vec![Named::chain("embedding".into(), true, 0..0, false)];
    for layer in 0..config.layers {
        pieces.push(Named::chain(format!("block_{layer}"), false, layer..layer + 1, false));
        let piece = Piece::Experts { layer };
        pieces.push(Named { name: format!("experts_{layer}"), piece });
    }
    pieces.push(Named::chain("head".into(), false, 0..0, true));
    pieces
}

/// The size of a piece's weight file.
fn weights_bytes(
    piece: &Piece,
    coder: &Coder<'_>,
    design: &Design,
    counts: &Counts,
) -> Result<u64> {
    let mut place = Planned::new(*coder, design.target, counts);
    Weights::place(piece, coder, design, &mut place)?;
    Ok(place.size_bytes())
}
