//! The shared conversations, held with this runner.
#![allow(clippy::unwrap_used)]

use std::net::TcpStream;

use evalkit::device::protocol::frame::write_chunk;
use serde_json::Value;

use super::client::{Client, Runner};

const ABOUT: &str = "device-runner/fixtures/transcripts.json";

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    (0..hex.len() / 2).map(byte).collect()
}

/// Whether `found` has everything that `expected` has.
fn has(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|found| has(found, value))),
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| has(a, b))
        }
        (found, expected) => found == expected,
    }
}

fn step(runner: &Runner, client: &mut Client<TcpStream>, step: &Value, again: bool) {
    let mut frame = Vec::new();
    if let Some(message) = step.get("send") {
        if again && message["type"] == "hello" {
            *client = runner.session();
            return;
        }
        return client.send(message);
    } else if let Some(expected) = step.get("expect") {
        let found = client.next();
        let found = found.unwrap_or_else(|| panic!("expected {expected}, found the end"));
        assert!(has(&found, expected), "expected {expected}, found {found}");
        return;
    } else if step.get("closed").is_some() {
        assert_eq!(client.next(), None);
        return;
    } else if let Some(hex) = step["raw"].as_str() {
        frame = bytes(hex);
    } else if let Some(hex) = step["chunk"].as_str() {
        write_chunk(&mut frame, &bytes(hex)).unwrap();
    } else if let Some(byte) = step["chunk_of"].as_u64() {
        let count = step["bytes"].as_u64().unwrap() as usize;
        write_chunk(&mut frame, &vec![byte as u8; count]).unwrap();
    } else {
        panic!("{step} is no step");
    }
    client.try_send(&frame);
}

fn hold(steps: &[Value]) {
    let runner = Runner::start();
    let mut clients = [runner.connect(), runner.connect()];
    let mut steps = steps.iter();
    while let Some(next) = steps.next() {
        let on = next["on"].as_u64().unwrap_or(1) as usize - 1;
        if next.get("connect").is_some() {
            // The session that is left behind may take a moment to end: its place is waited for.
            clients[on] = runner.connect();
            let hello = steps.next().unwrap();
            step(&runner, &mut clients[on], hello, true);
            assert_eq!(steps.next().unwrap()["expect"]["type"], "welcome");
        } else {
            step(&runner, &mut clients[on], next, false);
        }
    }
}

#[test]
fn every_shared_conversation_goes_as_it_should() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(ABOUT);
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(fixture["token"], super::client::TOKEN);
    let mut failed = Vec::new();
    for conversation in fixture["conversations"].as_array().unwrap() {
        let steps = conversation["steps"].as_array().unwrap();
        let held = std::panic::catch_unwind(|| hold(steps));
        if held.is_err() {
            failed.push(conversation["name"].to_string());
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
