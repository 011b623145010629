//! Packages on their way: cuts, wrong bytes, wrong names, links, no room, eviction.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::path::Path;

use evalkit::device::protocol::manifest::{Manifest, ManifestFile};
use serde_json::{Value, json};

use super::client::{Package, Runner, demo, job, load};

const MIB: usize = 1 << 20;

/// Every file below a folder with its bytes, links as such.
fn files(folder: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                open.push(path);
            } else {
                let kind = if metadata.is_symlink() { " link" } else { "" };
                found.push(format!("{}{kind}", path.strip_prefix(folder).unwrap().display()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_put_that_was_cut_sends_at_most_one_chunk_again() {
    let mut runner = Runner::start();
    let package = Package::of(1, 9 * MIB + 12_345);
    let name = package.content.package();
    let bytes = &package.bytes[0];
    let mut client = runner.session();
    client.have(&package.content);
    let less = bytes.len() / 2;
    client.put(&name, "weight.bin", 0, bytes, less);
    drop(client);
    let sent = (bytes.len() - less) as u64;
    let mut client = runner.session();
    let held = client.have(&package.content)["files"][0]["have_bytes"].as_u64().unwrap();
    assert_eq!(held % MIB as u64, 0);
    assert!(sent - held <= MIB as u64, "sent {sent}, held {held}");
    // The same after the process itself was killed within the put.
    client.put(&name, "weight.bin", held, &bytes[held as usize..], less / 2);
    drop(client);
    let mut client = runner.session();
    let cut = client.have(&package.content)["files"][0]["have_bytes"].as_u64().unwrap();
    drop(client);
    runner.kill_and_restart();
    let mut client = runner.session();
    let held = client.have(&package.content)["files"][0]["have_bytes"].as_u64().unwrap();
    assert_eq!(held, cut);
    assert_eq!(client.send_package(&package), bytes.len() as u64 - held);
    assert_eq!(client.packages(), std::slice::from_ref(&name));
    let place = runner.store.join("packages").join(&name).join("weight.bin");
    assert_eq!(&std::fs::read(place).unwrap(), bytes);
    assert!(files(&runner.store.join("incoming")).is_empty());
    drop(client);
    runner.still_works();
}

#[test]
fn files_that_were_whole_before_a_kill_are_not_sent_again() {
    let mut runner = Runner::start();
    let package = Package::new(vec![("b/one", vec![1; 2 * MIB]), ("a", vec![2; 10])]);
    let name = package.content.package();
    let mut client = runner.session();
    client.have(&package.content);
    client.put(&name, "b/one", 0, &package.bytes[0], 0);
    assert_eq!(client.next().unwrap()["type"], "done");
    runner.kill_and_restart();
    assert_eq!(runner.session().send_package(&package), 10);
    // One that was changed meanwhile is.
    let package = Package::new(vec![("b/one", vec![1; 2 * MIB]), ("c", vec![2; 10])]);
    let name = package.content.package();
    let mut client = runner.session();
    client.have(&package.content);
    client.put(&name, "b/one", 0, &package.bytes[0], 0);
    assert_eq!(client.next().unwrap()["type"], "done");
    drop(client);
    let whole = runner.store.join("incoming").join(&name).join("tree/b/one");
    std::fs::write(whole, vec![3; 2 * MIB]).unwrap();
    runner.kill_and_restart();
    assert_eq!(runner.session().send_package(&package), 2 * MIB as u64 + 10);
}

#[test]
fn a_wrong_hash_is_refused_and_the_right_bytes_are_not() {
    let runner = Runner::start();
    let (package, other) = (Package::of(1, 6 * MIB), Package::of(2, 6 * MIB));
    let name = package.content.package();
    let mut client = runner.session();
    client.have(&package.content);
    client.put(&name, "weight.bin", 0, &other.bytes[0], 0);
    assert_eq!(client.next().unwrap()["code"], "hash");
    client.fails(json!({"type": "commit", "package": name}), "incomplete");
    assert_eq!(client.send_package(&package), 6 * MIB as u64);
    drop(client);
    runner.still_works();
}

#[test]
fn no_bad_name_reaches_the_disk() {
    let runner = Runner::start();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("device-runner/fixtures/names.json");
    let names: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut client = runner.session();
    let before = files(runner.store.parent().unwrap());
    for name in names["bad"].as_array().unwrap() {
        let file = json!({"path": name, "size_bytes": 1, "sha256": "0".repeat(64)});
        client.fails(json!({"type": "have", "manifest": {"files": [file]}}), "bad_name");
        let file = json!({"type": "put", "package": demo().content.package(), "path": name,
            "offset_bytes": 0, "size_bytes": 1});
        client.fails(file, "bad_request");
    }
    assert_eq!(files(runner.store.parent().unwrap()), before);
    let good = names["good"].as_array().unwrap().iter();
    let good: Vec<&str> = good.map(|name| name.as_str().unwrap()).collect();
    for name in good {
        client.send_package(&Package::new(vec![(name, vec![7])]));
    }
    drop(client);
    runner.still_works();
}

#[test]
fn links_are_neither_followed_nor_kept() {
    let mut runner = Runner::start();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, vec![9; 2 * MIB]).unwrap();
    let package = Package::new(vec![("a/weight.bin", vec![1; MIB + 5]), ("b", vec![2; 3])]);
    let name = package.content.package();
    let aside = runner.store.join("incoming").join(&name);
    let plant = |path: &Path, to: &Path| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    };
    // A part, a folder within, the package's folder itself.
    plant(&aside.join("0.part"), &secret);
    plant(&aside.join("tree/a"), outside.path());
    plant(&aside.join("tree/extra"), &secret);
    plant(&runner.store.join("packages").join(&name), outside.path());
    let mut client = runner.session();
    assert!(client.packages().is_empty());
    assert_eq!(client.have(&package.content)["files"][0]["have_bytes"], 0);
    client.send_package(&package);
    assert_eq!(files(&runner.store.join("packages").join(&name)), ["a/weight.bin", "b"]);
    // In the place of `incoming/<H>` of another package.
    let other = Package::of(3, 100);
    plant(&runner.store.join("incoming").join(other.content.package()), outside.path());
    client.send_package(&other);
    // In a package that is in place.
    let demo = demo();
    client.send_package(demo);
    plant(&runner.store.join("packages").join(demo.content.package()).join("link"), &secret);
    let failed = client.fails(load(&demo.content.package(), &job(), 1), "engine");
    assert!(failed["message"].as_str().unwrap().contains("link"), "{failed}");
    drop(client);
    runner.kill_and_restart();
    runner.still_works();
    assert_eq!(std::fs::read(&secret).unwrap(), vec![9; 2 * MIB]);
    assert_eq!(files(outside.path()), ["secret"]);
    assert!(files(&runner.store).iter().all(|name| !name.ends_with(" link")));
}

#[test]
fn a_store_may_be_reached_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("real")).unwrap();
    symlink(folder.path().join("real"), folder.path().join("store")).unwrap();
    Runner::on(&folder.path().join("store"), &[]).still_works();
}

#[test]
fn what_was_not_used_for_longest_makes_room_and_the_loaded_package_never() {
    let folder = tempfile::tempdir().unwrap();
    let demo = demo();
    let limit = demo.content.size_bytes() as usize + 7 * MIB;
    let limit = limit.to_string();
    let runner = Runner::on(folder.path(), &["--store-limit", &limit]);
    let mut client = runner.session();
    client.send_package(demo);
    client.load(&demo.content.package(), &job());
    let pause = || std::thread::sleep(std::time::Duration::from_millis(30));
    let packages: Vec<Package> = (0..5).map(|seed| Package::of(seed, 2 * MIB)).collect();
    for package in &packages[..3] {
        pause();
        client.send_package(package);
    }
    // Being announced again is no use; only the oldest goes, and the demo, older still, stays.
    client.have(&packages[0].content);
    pause();
    client.send_package(&packages[3]);
    let names = |kept: &[&Package]| {
        let mut names: Vec<String> = kept.iter().map(|kept| kept.content.package()).collect();
        names.sort();
        names
    };
    assert_eq!(client.packages(), names(&[demo, &packages[1], &packages[2], &packages[3]]));
    let large = Package::of(9, 7 * MIB + MIB / 4);
    client.fails(json!({"type": "have", "manifest": large.content}), "no_space");
    assert_eq!(client.packages(), names(&[demo, &packages[1], &packages[2], &packages[3]]));
    let endless = ManifestFile { path: "x".into(), size_bytes: 1 << 52, sha256: "0".repeat(64) };
    let endless = Manifest { files: vec![endless] };
    client.fails(json!({"type": "have", "manifest": endless}), "no_space");
    client.done(json!({"type": "unload"}));
    client.send_package(&large);
    assert!(client.packages().contains(&large.content.package()));
    drop(client);
    runner.still_works();
}
