//! Coded weights as Core ML stores them: blobs of the weight file and `constexpr_*` operators.
//!
//! Three steps, so that sizes are known before a weight is read and functions share what is
//! stored: [`blobs_of`] says which blobs a tensor will take, [`StoredWeight::write`] writes them
//! once, and [`StoredWeight::emit`] names them in each function that uses them. Bytes go into the
//! file as the coded tensor has them; nothing is computed here, so what Core ML expands is what was
//! scored.
//!
//! | recipe | iOS 18 | iOS 17 |
//! |---|---|---|
//! | `fp16` | `const` | `const` |
//! | `palette…` | `constexpr_lut_to_dense` | the same, one table, not of 3 bits |
//! | `palette…-t8` | int8 table, `constexpr_blockwise_shift_scale`, then the above | – |
//! | `palette…-t0.1`, `-p50` | `constexpr_lut_to_sparse`, then `constexpr_sparse_to_dense` | – |
//! | `palette…-s` | the scale is a `const` of its own, for a `mul` after the layer | the same |
//! | `vector…` | `constexpr_lut_to_dense` with vectors along the rows; scales like `-s` | – |
//! | `int4…`, `int8…` | `constexpr_blockwise_shift_scale` | `constexpr_affine_dequantize`, 8 bits, per channel |
//! | `mxfp4` | a 16-entry table, then `constexpr_blockwise_shift_scale` | – |

mod emit;
mod plan;

pub use emit::{Emitted, StoredWeight};
pub use plan::{PlannedBlob, blobs_of};

/// How a layer uses its weights, which decides their shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// `[out, in]`, for `linear` and `gather`: CPU and GPU.
    Linear,
    /// `[out, in, 1, 1]`, for `conv` over `[1, in, 1, tokens]`: the Neural Engine.
    Convolution,
}

impl WeightLayout {
    /// The shape of something with `rows` and `columns` of a weight.
    fn shape(self, rows: usize, columns: usize) -> Vec<usize> {
        match self {
            WeightLayout::Linear => vec![rows, columns],
            WeightLayout::Convolution => vec![rows, columns, 1, 1],
        }
    }

    /// The shape of tables: `[groups, 1.., entries, length]`, vectors of `length` weights.
    fn tables(self, groups: usize, entries: usize, length: usize) -> Vec<usize> {
        [self.shape(groups, 1), vec![entries, length]].concat()
    }

    /// The shape of a factor per row that multiplies what the layer makes.
    fn channel_scales(self, rows: usize) -> Vec<usize> {
        match self {
            WeightLayout::Linear => vec![rows],
            WeightLayout::Convolution => vec![1, rows, 1, 1],
        }
    }
}

#[cfg(test)]
mod tests;
