//! Talking to runners. A [`Runner`] is asked for results; it reconnects by itself when the
//! connection is lost.
//!
//! Every request ends in a [`RequestOutcome`] within bounded time. `Err` is reserved for what ends
//! the whole command: the stop flag, bad input, a bug. A job keeps its id over reconnections, so
//! the runner answers from its journal if it finished meanwhile, and no job silently runs twice.
//!
//! ```text
//! Runner ─> Link (how to reach it) ─> Session (one connection) ─> greeting, then
//!    └─ outcome                                requests out, PendingReply in
//! ```

pub mod answer;
mod greeting;
mod incoming;
mod limits;
pub mod link;
pub mod outcome;
mod package;
mod polled_socket;
mod process;
mod runner;
mod session;
mod target;
mod token_store;
mod transfer;

pub use self::limits::Limits;
pub use self::link::Options;
pub use self::outcome::{Finished, Gone, Killed, RefusedRequest, RequestOutcome};
pub use self::package::{Package, manifest_of};
pub use self::runner::{Runner, new_job};
pub use self::target::Target;
pub use self::token_store::TokenStore;
pub use crate::device::protocol::token::Token;
