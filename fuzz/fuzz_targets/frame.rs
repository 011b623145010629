//! What a runner and its client read from each other: `cargo +nightly fuzz run frame`.
//!
//! The input is a stream of bytes; frames are read, written again, and read as every message.
#![no_main]

use evalkit::device::protocol::frame::{
    Frame, MAX_FRAME_BYTES, MAX_GREETING_BYTES, read_frame, write_frame,
};
use evalkit::device::protocol::manifest::check_path;
use evalkit::device::protocol::message::{Answer, Ask, Greeting, Hello, Request};
use evalkit::device::protocol::{control, message, result};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is read as a message is the same after it was written.
fn again<T: Serialize + DeserializeOwned>(frame: &Frame) -> Option<T> {
    let read: T = message(frame).ok()?;
    let written = control(&read).expect("a message has JSON");
    let second: T = message(&written).expect("what was written is read");
    assert_eq!(control(&second).expect("JSON"), written);
    Some(read)
}

fuzz_target!(|bytes: &[u8]| {
    let _ = read_frame(&mut &bytes[..], MAX_GREETING_BYTES);
    let mut stream = bytes;
    while let Ok(Some(frame)) = read_frame(&mut stream, MAX_FRAME_BYTES) {
        let mut written = Vec::new();
        write_frame(&mut written, &frame).expect("what was read fits");
        let end = bytes.len() - stream.len();
        assert_eq!(written, bytes[end - written.len()..end]);
        again::<Hello>(&frame);
        again::<Greeting>(&frame);
        again::<Answer>(&frame);
        again::<result::Description>(&frame);
        again::<result::Generated>(&frame);
        again::<result::Scored>(&frame);
        if let Some(Request { ask: Ask::Have { manifest }, .. }) = again(&frame)
            && manifest.check().is_ok()
        {
            assert_eq!(manifest.package().len(), 64);
            assert!(manifest.files.iter().all(|file| check_path(&file.path).is_ok()));
        }
    }
});
