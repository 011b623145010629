//! Control messages: the handshake, requests, answers. `device-runner/PROTOCOL.md` defines them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::code::Code;
use super::manifest::Manifest;
pub use crate::results::runner::ComputeUnits;

/// The version of the protocol that this program speaks.
pub const PROTOCOL: u32 = 1;
/// The environment variable from which a runner reads its token.
pub const TOKEN_VARIABLE: &str = "EVALKIT_RUNNER_TOKEN";

/// The client's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "hello")]
pub struct Hello {
    /// The protocol that the client speaks.
    pub protocol: u32,
    /// The token that the runner was started with: 32 hexadecimal digits.
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
    /// The session is refused, and the connection closes.
    Refused {
        /// The protocol that the runner speaks.
        protocol: u32,
        /// Why, for programs.
        code: Code,
        /// Why, as a sentence.
        message: String,
    },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, different for every request of a session.
    pub id: u64,
    /// What the client asks for.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What a client can ask of a runner, and the result it gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ask {
    /// What the runner is: a `Description`.
    Describe,
    /// Which packages the runner has: a `Listing`.
    List,
    /// Which bytes of a package the runner already has: a `Held`. Begins or resumes a transfer.
    Have {
        /// The package's files.
        manifest: Manifest,
    },
    /// Announces the bytes of a file, which follow as chunks.
    Put {
        /// The package's name.
        package: String,
        /// The path of the file.
        path: String,
        /// Where in the file the chunks begin.
        offset_bytes: u64,
        /// Total bytes of the chunks, which reach to the end of the file.
        size_bytes: u64,
    },
    /// Makes a package available once all its files have arrived.
    Commit {
        /// The package's name.
        package: String,
    },
    /// Removes a package.
    Evict {
        /// The package's name.
        package: String,
    },
    /// Loads a package: a `Loaded`.
    Load {
        /// Job and attempt.
        #[serde(flatten)]
        job: Job,
        /// The package's name.
        package: String,
        /// Where the package may compute.
        compute_units: ComputeUnits,
        /// The functions to load, `decode` among them; all if there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        functions: Vec<ModelFunction>,
        /// Interval between samples of the system's figures; 0 for no samples.
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
        /// Interval between samples of the system's figures; 0 for no samples.
        #[serde(default)]
        sample_ms: u32,
    },
    /// Likelihoods of the tokens of a text: a `Scored`.
    Score {
        /// Job and attempt.
        #[serde(flatten)]
        job: Job,
        /// Token ids.
        ids: Vec<u32>,
        /// Ascending positions; the logits after each are sent too.
        #[serde(default)]
        logits_at: Vec<u32>,
    },
    /// On which compute device the system expects to run each operation: a `ComputePlan`.
    Plan {
        /// Job and attempt.
        #[serde(flatten)]
        job: Job,
        /// The package's name.
        package: String,
        /// Where the package may compute.
        compute_units: ComputeUnits,
    },
    /// The system's `Figures` at this moment.
    Sample,
    /// Unloads the loaded package.
    Unload,
    /// Ends the runner's process.
    Exit,
}

impl Ask {
    /// Its `type` in the protocol.
    pub fn name(&self) -> &'static str {
        match self {
            Ask::Describe => "describe",
            Ask::List => "list",
            Ask::Have { .. } => "have",
            Ask::Put { .. } => "put",
            Ask::Commit { .. } => "commit",
            Ask::Evict { .. } => "evict",
            Ask::Load { .. } => "load",
            Ask::Generate { .. } => "generate",
            Ask::Score { .. } => "score",
            Ask::Plan { .. } => "plan",
            Ask::Sample => "sample",
            Ask::Unload => "unload",
            Ask::Exit => "exit",
        }
    }

    /// The job; `None` for a request that is not a job.
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

/// A function of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelFunction {
    /// Takes one token.
    Decode,
    /// Takes several tokens of a prompt.
    Prefill,
}

impl ModelFunction {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ModelFunction::Decode => "decode",
            ModelFunction::Prefill => "prefill",
        }
    }
}

/// The identity of work that is recorded in the runner's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The job's id: 32 hexadecimal digits.
    pub job: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
}

/// What a runner sends after the handshake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// The runner is alive.
    Alive,
    /// How far a request has got.
    Progress {
        /// The request.
        id: u64,
        /// Units done.
        done: u64,
        /// Units in total.
        of: u64,
        /// What is counted: `tokens`, `bytes`.
        unit: String,
    },
    /// The result of a request.
    Done {
        /// The request.
        id: u64,
        /// The result.
        result: Value,
        /// Whether it comes from the journal.
        #[serde(default)]
        replayed: bool,
        /// The attempt that produced it; 1 for a request that is not a job.
        #[serde(default = "one")]
        attempt: u32,
    },
    /// A request that failed.
    Failed {
        /// The request; 0 if its id could not be read.
        id: u64,
        /// Why, for programs.
        code: Code,
        /// Why, as a sentence.
        message: String,
        /// Whether it comes from the journal.
        #[serde(default)]
        replayed: bool,
        /// The attempt that failed.
        #[serde(default = "one")]
        attempt: u32,
    },
}

fn one() -> u32 {
    1
}
