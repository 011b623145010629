//! A decoder as Core ML programs: what a package computes, independent of how it is written.
//!
//! A model is cut into pieces, one package each. Every piece has two functions with fixed shapes
//! that use the same weights: `decode` for one token and `prefill` for several. All activations are
//! fp16. Positions, the write position of the cache and the attention masks are inputs, so that no
//! shape and no branch depends on data.
//!
//! | input | type | used by |
//! |---|---|---|
//! | `input_ids` | int32 `[1, tokens]` | the embedding |
//! | `hidden_states` | fp16 `[1, tokens, hidden]`, or `[1, hidden, 1, tokens]` for the Neural Engine | all pieces but the first |
//! | `position_ids` | int32 `[tokens]` | rotary embedding |
//! | `write_position` | int32 `[1]` | writing states: the first position that is written |
//! | `causal_mask`, `sliding_mask` | fp16 `[1, 1, tokens, context]`, 0 or [`MASKED`] | attention |
//! | `conv_cache` | fp16 `[layers, hidden, kernel - 1]` | short convolutions |
//!
//! Keys and values are kept in the states `key_cache` and `value_cache`, fp16 `[layers, key/value
//! heads, context, head size]`; `layers` counts those with attention. Before iOS 18, and with [`Cache::Inputs`], these are inputs of that
//! shape, the masks have `tokens` additional columns for the tokens of this call, and the new rows
//! are the outputs `new_keys` and `new_values` `[layers, key/value heads, tokens, head size]`. The
//! runner writes them, so that no write at a position that changes is in the program.
//!
//! The output `new_conv_cache` holds the last inputs of short convolutions after the call, and is the
//! `conv_cache` of the next one; zeros at first. Padding would get into it, so `prefill` is called only
//! with as many tokens as it takes, and `decode` for the rest.

mod attention;
mod body;
mod build;
mod convolution;
mod design;
mod experts;
mod heads;
mod mlp;
mod norms;
mod piece;
mod refuse;
mod vocabulary;
mod weights;

pub use body::{WeightSource, WeightUse};
pub use build::{FUNCTIONS, HIDDEN_OUTPUT, PieceFunction, build};
pub use design::{Cache, Compute, Design};
pub use piece::Piece;
pub use refuse::refuse_model;
pub use weights::{HalfVector, PlaceWeights, PlacedWeights, refuse_inexpressible};

/// What masks hold where a token does not see another. It is finite, because the Neural Engine's
/// softmax is not made for infinities, and an exact fp16 number. The share of a masked column is
/// exactly 0, since the exponential of such a difference is.
pub const MASKED: f32 = -40_000.0;
