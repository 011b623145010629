//! Control messages: the handshake, requests, answers. `device-runner/PROTOCOL.md` has the words.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::Content;
pub use crate::results::runner::ComputeUnits;

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;
/// The environment variable that a runner takes its token from.
pub const TOKEN_VARIABLE: &str = "EVALKIT_RUNNER_TOKEN";

/// The client's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "hello")]
pub struct Hello {
    /// The protocol that the client speaks.
    pub protocol: u32,
    /// What the runner was started with: 32 hexadecimal digits.
    pub token: String,
    /// The client's name and version.
    pub client: String,
}

/// The runner's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Greeting {
    /// The session is open.
    Welcome {
        /// The protocol that the runner speaks.
        protocol: u32,
        /// The runner's name and version.
        runner: String,
    },
    /// There is none; the connection closes.
    Refused {
        /// The protocol that the runner speaks.
        protocol: u32,
        /// Why.
        code: Code,
        /// The same as a sentence.
        message: String,
    },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, another for each of a session.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What can be asked of a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ask {
    /// What it is: a `Description`.
    Describe,
    /// What it holds: a `Listing`.
    List,
    /// How much it holds of a package: a `Held`. Begins or resumes a transfer.
    Have {
        /// The package's files.
        manifest: Content,
    },
    /// Announces the bytes of a file, as chunks.
    Put {
        /// The package's name.
        package: String,
        /// The file.
        path: String,
        /// Where the chunks begin.
        offset_bytes: u64,
        /// Bytes of all chunks, to the file's end.
        size_bytes: u64,
    },
    /// Puts a package in place whose files are all there.
    Commit {
        /// Its name.
        package: String,
    },
    /// Removes a package.
    Evict {
        /// Its name.
        package: String,
    },
    /// Loads a package: a `Loaded`.
    Load {
        /// Job and attempt.
        #[serde(flatten)]
        job: Job,
        /// Its name.
        package: String,
        /// Where it may compute.
        compute_units: ComputeUnits,
        /// Interval of figures; 0 for none.
        #[serde(default)]
        sample_ms: u32,
    },
    /// Continues a prompt greedily: a `Generated`.
    Generate {
        /// Job and attempt.
        #[serde(flatten)]
        job: Job,
        /// Token ids.
        prompt: Vec<u32>,
        /// Tokens to produce.
        tokens: usize,
        /// Interval of figures; 0 for none.
        #[serde(default)]
        sample_ms: u32,
    },
    /// Likelihoods of a text: a `Scored`.
    Score {
        /// Job and attempt.
        #[serde(flatten)]
        job: Job,
        /// Token ids.
        ids: Vec<u32>,
        /// Positions, ascending, after which the logits are wanted.
        #[serde(default)]
        logits_at: Vec<u32>,
    },
    /// Which unit the system expects to compute what: a `Plan`.
    Plan {
        /// Job and attempt.
        #[serde(flatten)]
        job: Job,
        /// The package's name.
        package: String,
        /// Where it may compute.
        compute_units: ComputeUnits,
    },
    /// One `Figures`, now.
    Sample,
    /// Forgets the loaded package.
    Unload,
    /// Ends the runner.
    Exit,
}

impl Ask {
    /// The job, where it is one.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Ask::Load { job, .. }
            | Ask::Generate { job, .. }
            | Ask::Score { job, .. }
            | Ask::Plan { job, .. } => Some(job),
            _ => None,
        }
    }
}

/// Work that is journaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// 32 hexadecimal digits.
    pub job: String,
    /// From 1.
    pub attempt: u32,
}

/// What a runner sends after the handshake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// It is there.
    Alive,
    /// How far a request is.
    Progress {
        /// The request.
        id: u64,
        /// So many.
        done: u64,
        /// Of so many.
        of: u64,
        /// Of what.
        unit: String,
    },
    /// A request's result.
    Done {
        /// The request.
        id: u64,
        /// What it gave.
        result: Value,
        /// Whether the journal gave it.
        #[serde(default)]
        replayed: bool,
        /// The attempt that it is of; 1 for what is no job.
        #[serde(default = "one")]
        attempt: u32,
    },
    /// A request that gave no result.
    Failed {
        /// The request; 0 where it could not be read.
        id: u64,
        /// Why.
        code: Code,
        /// The same as a sentence.
        message: String,
        /// Whether the journal gave it.
        #[serde(default)]
        replayed: bool,
        /// The attempt that it is of.
        #[serde(default = "one")]
        attempt: u32,
    },
}

fn one() -> u32 {
    1
}

/// Why a runner refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Another protocol.
    Version,
    /// Not the token it was started with.
    Token,
    /// Another client, or another job.
    Busy,
    /// Not a frame.
    BadFrame,
    /// A request whose fields do not fit.
    BadRequest,
    /// A request of a type it does not know.
    UnknownType,
    /// A path that may not be.
    BadName,
    /// More than fits.
    TooLarge,
    /// The disk is full.
    NoSpace,
    /// A file whose bytes are not what its hash says.
    Hash,
    /// A package that lacks files.
    Incomplete,
    /// No such package.
    NotFound,
    /// Nothing is loaded.
    NotLoaded,
    /// A job that ran when the runner's process ended.
    Interrupted,
    /// Not on this runner.
    Unsupported,
    /// The system refused memory.
    OutOfMemory,
    /// The disk failed.
    Io,
    /// The model could not be computed.
    Engine,
    /// A code that this version does not know.
    #[serde(other)]
    Unknown,
}
