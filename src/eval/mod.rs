//! Quality: what quantization costs, measured against the unquantized model in one pass.
//!
//! A text is cut into windows under a named [`Protocol`]; the [`Walk`] carries every window of
//! every variant through the layers side by side with the reference; the head turns hidden states
//! into [`Score`]s, vocabulary slice by slice.

pub mod allocate;
mod calibration;
mod code_file;
mod coded_file;
mod coder;
mod coding;
mod divergence;
mod embed;
mod head;
mod lane;
mod layer;
mod memory;
mod moments_file;
mod origin;
mod protocol;
mod setting;
mod sizes;
mod state;
mod timing;
mod tuning;
mod variant;
mod vocabulary;
mod walk;
mod weights;

pub use calibration::{Calibration, InputScales, RangeMethod};
pub use code_file::{Calibrated, Told, write as write_coded};
pub use coded_file::CodedFile;
pub use coder::Coder;
pub use divergence::{LayerRouting, Score, Scorer, VocabularySlice};
pub use lane::{Cause, Lane, Outcome, Resumed, Scored};
pub use memory::{Host, MemorySum};
pub use moments_file::MomentsFile;
pub use origin::Origin;
pub use protocol::{BOS_MODES, BosMode, Cut, PROTOCOLS, Protocol, Tokens, Window};
pub use setting::Walk;
pub use state::{State, read as read_state};
pub use timing::{Phase, Timings};
pub use tuning::{
    Collection, Plan as TuningPlan, calibrating_memory, collect, sweep_up, write_by_moments,
    write_calibrated,
};
pub use variant::{MIN_CODED_WEIGHTS, Variant};
pub use vocabulary::SLICE_ROWS;
pub use walk::{Observer, Walked};
