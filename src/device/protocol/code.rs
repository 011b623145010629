//! Why a runner refuses a session or a request: a code for programs and a sentence for people.

use serde::{Deserialize, Serialize};

/// A code of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The client speaks another version of the protocol.
    Version,
    /// The token is not the one that the runner was started with.
    Token,
    /// Another client is connected, or another job is running.
    Busy,
    /// The bytes are not a valid frame.
    BadFrame,
    /// A field of the request is missing or has a value that is not allowed.
    BadRequest,
    /// The runner does not know requests of this type.
    UnknownType,
    /// A path that the protocol does not allow.
    BadName,
    /// The request or its result exceeds a limit.
    TooLarge,
    /// The disk is full.
    NoSpace,
    /// A file's bytes do not match its hash.
    Hash,
    /// Files of the package are missing.
    Incomplete,
    /// The runner does not have this package.
    NotFound,
    /// No package is loaded.
    NotLoaded,
    /// The runner's process ended while the job ran.
    Interrupted,
    /// This runner cannot do that.
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

/// A code with the sentence that explains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// What was expected and what was found.
    pub message: String,
}

impl Refusal {
    /// A refusal with this code and sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}
