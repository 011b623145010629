//! The runner protocol, version 1: frames, messages, results. `device-runner/PROTOCOL.md` is its
//! page; the Swift runner speaks the same, and both read the examples in `device-runner/fixtures`.

pub mod content;
pub mod frame;
pub mod message;
pub mod result;
#[cfg(test)]
mod tests;
pub mod token;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::frame::Frame;
use crate::error::{Error, Result};

/// A message as a control frame.
///
/// # Errors
/// A bug when it cannot be written as JSON.
pub fn control(message: &impl Serialize) -> Result<Frame> {
    let json = serde_json::to_vec(message);
    json.map(Frame::Control).map_err(|error| Error::bug("a message without JSON").because(error))
}

/// A control frame's message.
///
/// # Errors
/// An input error when it is another kind of frame or not such a message.
pub fn message<T: DeserializeOwned>(frame: &Frame) -> Result<T> {
    let Frame::Control(json) = frame else {
        return Err(Error::input("expected a control frame, found bytes or logits"));
    };
    let read = serde_json::from_slice(json);
    read.map_err(|error| Error::input("not a message of the runner protocol").because(error))
}
