//! A decoder as Core ML programs: what a package computes, apart from how it is written.
//!
//! A model is cut into pieces, one package each. Every piece has two functions with fixed shapes
//! over the same weights: `decode` for one token and `prefill` for several. Activations are fp16
//! throughout. Positions, where to write in the cache and the attention masks come from outside,
//! so that no shape and no branch depends on data.
//!
//! | input | type | for |
//! |---|---|---|
//! | `input_ids` | int32 `[1, tokens]` | the embedding |
//! | `hidden_states` | fp16 `[1, tokens, hidden]`, or `[1, hidden, 1, tokens]` for the Neural Engine | every later piece |
//! | `position_ids` | int32 `[tokens]` | rotary embedding |
//! | `write_position` | int32 `[1]` | the first place in the cache that is written (from iOS 18) |
//! | `causal_mask`, `sliding_mask` | fp16 `[1, 1, tokens, context]`, 0 or -inf | attention |
//!
//! Keys and values stay in the states `key_cache` and `value_cache`, fp16 `[layers, key/value
//! heads, context, head size]`. Before iOS 18 they are inputs of that shape, the masks have
//! `tokens` more columns for the tokens of this call, and the new rows come out as `new_keys` and
//! `new_values` `[layers, key/value heads, tokens, head size]`.

mod attention;
mod body;
mod build;
mod design;
mod experts;
mod piece;
mod vocabulary;
mod weights;

pub use body::{Use, Used};
pub use build::{Built, FUNCTIONS, HIDDEN_OUTPUT, build};
pub use design::{Compute, Design, HEAD_ROWS};
pub use piece::Piece;
pub use weights::{Place, Vector, Weights};
