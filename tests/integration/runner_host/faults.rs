//! What comes over the line that is no protocol, and what lies in the store that is no package.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::client::{Package, Runner, demo, job, load};

fn streams() -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("device-runner/fixtures/frames.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let bad = fixture["bad"].as_array().unwrap().iter();
    let hex = |text: &str| {
        let byte = |at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        (0..text.len() / 2).map(byte).collect()
    };
    bad.map(|case| (case["name"].to_string(), hex(case["hex"].as_str().unwrap()))).collect()
}

#[test]
fn no_stream_of_bytes_stops_the_runner() {
    let runner = Runner::start();
    for (name, bytes) in streams() {
        let mut stranger = runner.connect();
        stranger.try_send(&bytes);
        drop(stranger);
        let mut client = runner.session();
        client.try_send(&bytes);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        while let Some(answer) = client.next() {
            let code = answer["code"].as_str().unwrap_or("none");
            assert!(["bad_frame", "bad_request"].contains(&code), "{name}: {answer}");
        }
    }
    // Much of it, and more connections than may wait to say who they are.
    let noise: Vec<u8> =
        (0..1_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_769) >> 24) as u8).collect();
    let crowd: Vec<_> = (0..40).map(|_| runner.connect()).collect();
    for mut client in crowd {
        client.try_send(&noise);
    }
    runner.still_works();
}

#[test]
fn a_damaged_package_is_a_failure_of_its_job_alone() {
    let runner = Runner::start();
    let mut client = runner.session();
    client.send_package(demo());
    let name = demo().content.package();
    let place = runner.store.join("packages").join(&name);
    let model = place.join("model.json");
    let right = std::fs::read(&model).unwrap();
    let mut lies = vec![b"{}".to_vec(), b"{".to_vec(), right[..right.len() / 2].to_vec()];
    let mut manifest: Value = serde_json::from_slice(&right).unwrap();
    manifest["model"]["prefill_tokens"] = 0.into();
    lies.push(manifest.to_string().into_bytes());
    manifest["model"]["prefill_tokens"] = 7.into();
    manifest["model"]["vocab_size"] = 3.into();
    lies.push(manifest.to_string().into_bytes());
    for lie in lies {
        std::fs::write(&model, &lie).unwrap();
        let ask = load(&name, &job(), 1);
        let answer = client.ask(ask.clone());
        if answer["type"] == "failed" {
            assert_eq!(answer["code"], "engine", "{answer}");
            let again = client.fails(ask, "engine");
            assert_eq!(again["replayed"], true);
            assert_eq!(again["message"], answer["message"]);
        }
    }
    std::fs::write(&model, &right).unwrap();
    let weights = demo().content.files.iter().find(|file| file.path.ends_with("weight.bin"));
    let weights = place.join(&weights.unwrap().path);
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let failed = client.fails(load(&name, &job(), 1), "engine");
    assert!(failed["message"].as_str().unwrap().contains("bytes"), "{failed}");
    let other = Package::of(1, 100);
    client.send_package(&other);
    client.fails(load(&other.content.package(), &job(), 1), "engine");
    client.done(json!({"type": "evict", "package": name}));
    drop(client);
    runner.still_works();
}

/// A small disk of its own, where this user may mount one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(bytes: u64) -> Option<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "evalkit"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Disk(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_and_what_had_come_is_kept() {
    const MIB: usize = 1 << 20;
    let Some(disk) = Disk::new(48 << 20) else {
        eprintln!("skipped: this user cannot mount a disk of its own");
        return;
    };
    let runner = Runner::on(&disk.0.path().join("store"), &[]);
    let mut client = runner.session();
    let package = Package::of(1, 20 * MIB);
    let name = package.content.package();
    client.have(&package.content);
    // It fitted when it was announced; then another fills the disk.
    let filler = disk.0.path().join("filler");
    std::fs::write(&filler, vec![1; 40 * MIB]).unwrap();
    let id = client.put(&name, "weight.bin", 0, &package.bytes[0], 0);
    let failed = client.next().unwrap();
    assert_eq!((&failed["id"], &failed["code"]), (&json!(id), &json!("no_space")), "{failed}");
    std::fs::remove_file(&filler).unwrap();
    let held = client.have(&package.content)["files"][0]["have_bytes"].as_u64().unwrap();
    assert!((4 * MIB as u64..=8 * MIB as u64).contains(&held), "{held}");
    assert_eq!(held % MIB as u64, 0);
    assert_eq!(client.send_package(&package), 20 * MIB as u64 - held);
    // A journal that cannot be written stops the job before it starts, not the runner.
    client.done(json!({"type": "evict", "package": name}));
    client.send_package(demo());
    let _ = std::fs::write(&filler, vec![1; 48 * MIB]);
    let job = job();
    let ask = load(&demo().content.package(), &job, 1);
    client.fails(ask.clone(), "no_space");
    std::fs::remove_file(&filler).unwrap();
    client.done(ask);
    drop(client);
    runner.still_works();
}
