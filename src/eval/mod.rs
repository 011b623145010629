//! Quality: what quantization costs, measured against the unquantized model in one pass.

mod divergence;
mod protocol;

pub use divergence::{Score, Scorer, VocabularySlice};
pub use protocol::{BOS_MODES, BosMode, Cut, PROTOCOLS, Protocol, Tokens, Window};
