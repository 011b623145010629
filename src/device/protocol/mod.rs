//! The runner protocol, version 1: frames, messages, results. `device-runner/PROTOCOL.md` specifies
//! it. The Swift runner implements it too, and the tests of both read `device-runner/fixtures`.

pub mod code;
pub mod frame;
pub mod manifest;
pub mod message;
pub mod result;
#[cfg(test)]
mod tests;
pub mod token;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::frame::Frame;
use crate::error::{Error, Result};

/// Puts a message into a control frame.
///
/// # Errors
/// A bug if it cannot be written as JSON.
pub fn control(message: &impl Serialize) -> Result<Frame> {
    let json = serde_json::to_vec(message);
    json.map(Frame::Control)
        .map_err(|error| Error::bug("a message cannot be written as JSON").because(error))
}

/// Reads the message of a control frame.
///
/// # Errors
/// An input error if it is another kind of frame, or its JSON is not a `T`.
pub fn message<T: DeserializeOwned>(frame: &Frame) -> Result<T> {
    let Frame::Control(json) = frame else {
        return Err(Error::input("expected a control frame, found a chunk or logits"));
    };
    let read = serde_json::from_slice(json);
    read.map_err(|error| Error::input("not a message of the runner protocol").because(error))
}
