//! Measures the quality of variants against the unquantized model, the *reference*, in one pass.
//!
//! A text is cut into windows under a named [`Protocol`]; the [`Walk`] carries every window of
//! every variant through the layers side by side with the reference; the head turns hidden states
//! into [`Score`]s, vocabulary slice by slice.

pub mod calibration;
pub mod code_file;
pub mod coded_file;
pub mod coder;
pub mod coding;
pub mod divergence;
pub mod embed;
pub mod final_weights;
pub mod fp16_range;
pub mod head;
pub mod lane;
pub mod layer;
pub mod memory;
pub mod mixed;
pub mod origin;
pub mod protocol;
pub mod provenance;
pub mod setting;
pub mod sizes;
pub mod state;
pub mod timing;
pub mod variant;
pub mod vocabulary;
pub mod walk;
pub mod weights;
pub mod windows;

pub use calibration::{Calibration, InputScales, RangeMethod};
pub use code_file::write as write_coded;
pub use coded_file::CodedFile;
pub use coder::Coder;
pub use divergence::{Score, Scorer, VocabularySlice};
pub use fp16_range::Fp16Overflow;
pub use lane::{Cause, Lane, Outcome, Resumed, Scored};
pub use memory::{Host, MemorySum};
pub use origin::Origin;
pub use protocol::{BosMode, Cut, Protocol, Tokens, Window};
pub use setting::Walk;
pub use state::{State, read as read_state};
pub use timing::Timings;
pub use variant::Variant;
pub use vocabulary::SLICE_ROWS;
pub use walk::{WalkObserver, Walked};
