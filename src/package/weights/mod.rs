//! Coded weights as Core ML stores them: blobs of the weight file and `constexpr_*` operators.
//!
//! There are three steps, so that sizes are known before a weight is read, and so that functions
//! share what is stored. [`blobs_of`](plan::blobs_of) says which blobs a tensor takes,
//! [`StoredWeight::write`] writes them once, and [`StoredWeight::emit`] refers to them in each
//! function that uses them. The file has exactly the bytes of the coded tensor. Nothing is computed
//! here, so Core ML expands the weights that were scored.
//!
//! | recipe | iOS 18 | iOS 17 |
//! |---|---|---|
//! | `fp16` | `const` | `const` |
//! | `palette…` | `constexpr_lut_to_dense` | the same, with one table and not with 3 bits |
//! | `palette…-t8` | int8 table and `constexpr_blockwise_shift_scale`, then as above | – |
//! | `palette…-t0.1`, `-p50` | `constexpr_lut_to_sparse`, then `constexpr_sparse_to_dense` | – |
//! | `palette…-s` | the scale is a separate `const` for a `mul` after the layer | the same |
//! | `vector…` | `constexpr_lut_to_dense` with vectors along axis 0; scales as for `-s` | – |
//! | `int4…`, `int8…` | `constexpr_blockwise_shift_scale` | `constexpr_affine_dequantize`, only 8 bits per channel, unsigned |
//! | `mxfp4` | a 16-entry table, then `constexpr_blockwise_shift_scale` | – |

mod emit;
pub(super) mod plan;

pub use emit::{Emitted, StoredWeight};
pub use plan::refuse_recipe;

/// How a layer uses its weights; this decides their shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightLayout {
    /// `[out, in]`, for `linear` and `gather`: CPU and GPU.
    Linear,
    /// `[out, in, 1, 1]`, for `conv` over `[1, in, 1, tokens]`: the Neural Engine.
    Convolution,
}

impl WeightLayout {
    /// The shape of a weight with `rows` and `columns`.
    fn shape(self, rows: usize, columns: usize) -> Vec<usize> {
        match self {
            WeightLayout::Linear => vec![rows, columns],
            WeightLayout::Convolution => vec![rows, columns, 1, 1],
        }
    }

    /// The shape of tables `[groups, 1.., entries, length]`, whose entries are vectors of `length`
    /// weights.
    fn tables(self, groups: usize, entries: usize, length: usize) -> Vec<usize> {
        [self.shape(groups, 1), vec![entries, length]].concat()
    }

    /// The shape of scales with one factor per row, which multiply the output of the layer.
    fn channel_scales(self, rows: usize) -> Vec<usize> {
        match self {
            WeightLayout::Linear => vec![rows],
            WeightLayout::Convolution => vec![1, rows, 1, 1],
        }
    }
}

#[cfg(test)]
mod tests;
