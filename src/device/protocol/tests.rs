//! The examples in `device-runner/fixtures`, which the Swift runner's tests read too.

use std::fmt::Debug;

use serde_json::{Map, Value, json};

use super::frame::{Frame, MAX_FRAME_BYTES, MAX_GREETING_BYTES, read_frame, write_frame};
use super::manifest::{Manifest, check_path};
use super::message::{Answer, Greeting, Hello, Request};
use super::{control, message, result};
use crate::error::Result;
use crate::units::hex;

fn fixture(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("device-runner/fixtures");
    let text = std::fs::read_to_string(path.join(name)).expect("a fixture");
    serde_json::from_str(&text).expect("JSON")
}

fn bytes(case: &Value) -> Vec<u8> {
    let text = case["hex"].as_str().expect("hex");
    let byte = |i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex");
    (0..text.len() / 2).map(byte).collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value[key].as_array().expect("a list");
    assert!(!list.is_empty());
    list
}

/// Reads all frames of a stream as JSON, with control frames parsed.
fn frames(mut stream: &[u8]) -> Result<Vec<Value>> {
    let mut frames = Vec::new();
    while let Some(frame) = read_frame(&mut stream, MAX_FRAME_BYTES)? {
        frames.push(match &frame {
            Frame::Control(_) => json!({ "control": message::<Map<String, Value>>(&frame)? }),
            Frame::Chunk(bytes) => json!({ "chunk": hex(bytes) }),
            Frame::Logits { position, values } => {
                let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
                json!({ "logits": { "position": position, "bits": bits } })
            }
        });
    }
    Ok(frames)
}

#[test]
fn frames_are_read_as_the_fixtures_say() {
    let fixture = fixture("frames.json");
    for case in list(&fixture, "good") {
        let found =
            frames(&bytes(case)).unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
        assert_eq!(Value::from(found), case["frames"], "{}", case["name"]);
    }
    for case in list(&fixture, "bad") {
        let error = frames(&bytes(case)).expect_err(&case["name"].to_string());
        let expected = if case["error"] == "cut" { 3 } else { 2 };
        assert_eq!(error.exit().code(), expected, "{}: {error}", case["name"]);
    }
}

#[test]
fn frames_are_written_byte_for_byte_as_they_were_read() {
    for case in list(&fixture("frames.json"), "good") {
        let bytes = bytes(case);
        let mut again = Vec::new();
        let mut stream = &bytes[..];
        while let Some(frame) = read_frame(&mut stream, MAX_FRAME_BYTES).expect("a frame") {
            write_frame(&mut again, &frame).expect("written");
        }
        assert_eq!(again, bytes, "{}", case["name"]);
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_its_payload_is_read() {
    struct Endless(u64);
    impl std::io::Read for Endless {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            self.0 += out.len() as u64;
            out.fill(b'{');
            Ok(out.len())
        }
    }
    let mut endless = Endless(0);
    read_frame(&mut endless, MAX_FRAME_BYTES).expect_err("too long");
    assert_eq!(endless.0, 5);
    let mut stream = Vec::new();
    let frame = Frame::Control(vec![b' '; MAX_GREETING_BYTES]);
    write_frame(&mut stream, &frame).expect("written");
    assert!(read_frame(&mut &stream[..], MAX_FRAME_BYTES).is_ok());
    read_frame(&mut &stream[..], MAX_GREETING_BYTES).expect_err("too long for a greeting");
}

#[test]
fn names_are_allowed_or_refused_as_the_fixtures_say() {
    let fixture = fixture("names.json");
    let names = |key| list(&fixture, key).iter().map(|name| name.as_str().expect("a string"));
    for name in names("good") {
        assert_eq!(check_path(name), Ok(()), "{name:?}");
    }
    for name in names("bad") {
        check_path(name).expect_err(&format!("{name:?}"));
    }
}

#[test]
fn manifests_have_the_names_and_faults_that_the_fixtures_say() {
    let fixture = fixture("manifests.json");
    let manifest = |case: &Value| {
        serde_json::from_value::<Manifest>(json!({ "files": case["files"] })).expect("a manifest")
    };
    for case in list(&fixture, "good") {
        let manifest = manifest(case);
        assert_eq!(manifest.check(), Ok(()));
        assert_eq!(Value::from(manifest.package()), case["package"]);
    }
    for case in list(&fixture, "bad") {
        let refusal = manifest(case).check().expect_err(&case["name"].to_string());
        assert_eq!(json!(refusal.code), case["code"], "{}", case["name"]);
    }
}

/// Reads each message as `T` and writes it again.
fn unchanged<T: serde::Serialize + serde::de::DeserializeOwned + Debug>(
    messages: &Value,
    key: &str,
) {
    for expected in list(messages, key) {
        let frame = control(expected).expect("a frame");
        let read: T = message(&frame).unwrap_or_else(|error| panic!("{expected}: {error}"));
        let again: Value = message(&control(&read).expect("a frame")).expect("JSON");
        assert_eq!(&again, expected);
    }
}

#[test]
fn every_message_is_read_and_written_again_unchanged() {
    let fixture = fixture("messages.json");
    let messages = &fixture["messages"];
    unchanged::<Hello>(messages, "hello");
    unchanged::<Greeting>(messages, "greetings");
    unchanged::<Request>(messages, "requests");
    for expected in list(messages, "requests") {
        let Request { ask, .. } = serde_json::from_value(expected.clone()).expect("a request");
        assert_eq!(ask.name(), expected["type"]);
    }
    unchanged::<Answer>(messages, "answers");
    let results = &messages["results"];
    unchanged::<result::Description>(results, "description");
    unchanged::<result::Listing>(results, "listing");
    unchanged::<result::Held>(results, "held");
    unchanged::<result::Loaded>(results, "loaded");
    unchanged::<result::Generated>(results, "generated");
    unchanged::<result::Scored>(results, "scored");
    unchanged::<result::ComputePlan>(results, "plan");
    unchanged::<result::Figures>(results, "figures");
}
