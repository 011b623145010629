//! Starting, greeting, silence, a second client, the end.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Client, Package, Runner, TOKEN, command, demo, generate, job, load};

/// The protocol's ten seconds, with what a busy machine may add.
const SILENCE: std::ops::Range<Duration> = Duration::from_secs(9)..Duration::from_secs(30);
/// How long a client may take to greet, and what a busy machine adds to it.
const GREETING: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(9);

#[test]
fn without_a_token_or_with_another_address_it_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().to_str().unwrap();
    let fails = |arguments: &[&str], token: Option<&str>, says: &[&str]| {
        let mut command = command(arguments);
        match token {
            Some(token) => command.env("EVALKIT_RUNNER_TOKEN", token),
            None => command.env_remove("EVALKIT_RUNNER_TOKEN"),
        };
        let output = command.args(["--store", store]).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(output.stdout.is_empty());
        assert!(says.iter().all(|says| text.contains(says)), "{text}");
    };
    let listen = ["--listen", "127.0.0.1:0"];
    fails(&listen, None, &["EVALKIT_RUNNER_TOKEN", "hint: ", "openssl"]);
    fails(&listen, Some("0123"), &["32 hexadecimal digits", "hint: "]);
    fails(&["--stdio"], Some(&"g".repeat(32)), &["32 hexadecimal digits", "hint: "]);
    fails(&["--listen", "0.0.0.0:0"], Some(TOKEN), &["127.0.0.1", "hint: "]);
    fails(&["--listen", "192.0.2.1:7"], Some(TOKEN), &["127.0.0.1", "hint: "]);
    fails(&[], Some(TOKEN), &["--stdio", "--listen"]);
    fails(&["--stdio", "--store-limit", "0"], Some(TOKEN), &["--store-limit", "0 bytes"]);
}

#[test]
fn a_store_has_one_process() {
    let runner = Runner::start();
    let store = runner.store.to_str().unwrap();
    let output = command(&["--stdio", "--store", store]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains(store) && text.contains("another runner"), "{text}");
    assert!(output.stdout.is_empty());
    runner.still_works();
}

/// Both pipes of a child.
struct Pipes(std::process::ChildStdin, std::process::ChildStdout);

impl Read for Pipes {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.1.read(out)
    }
}

impl Write for Pipes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn over_pipes_it_does_the_same_and_ends_with_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["--stdio", "--store"]);
    let command = command.arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pipes = Pipes(child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut client = Client::new(pipes);
    assert_eq!(client.greet(json!({}))["type"], "welcome");
    client.send_package(demo());
    client.load(&demo().content.package(), &job());
    let generated = client.done(generate(&job(), 1, 2));
    assert_eq!(generated["result"]["token_ms"].as_array().unwrap().len(), 1);
    let Pipes(input, mut output) = client.stream;
    drop(input);
    assert!(child.wait().unwrap().success());
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
}

#[test]
fn it_ends_when_it_is_asked_to() {
    let mut runner = Runner::start();
    let mut client = runner.session();
    client.done(json!({"type": "exit"}));
    assert!(runner.ends());
}

#[test]
fn it_says_that_it_lives_and_what_it_is() {
    let runner = Runner::start();
    let mut client = runner.session();
    let description = client.done(json!({"type": "describe"}))["result"].take();
    assert_eq!(description["engine"], "evalkit-cpu");
    assert_eq!(description["simulated"], false);
    assert_eq!(description["compute_units"], json!(["cpu", "all"]));
    assert!(description["free_bytes"].as_u64().unwrap() > 0);
    assert!(description["device"]["processors"].as_u64().unwrap() > 0);
    assert_eq!(description["figures"]["thermal"], Value::Null);
    let mut bytes = [0; 21];
    client.stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes[5..], br#"{"type":"alive"}"#);
}

/// How long the runner waits until it closes a connection.
fn silence(client: &mut Client<std::net::TcpStream>) -> Duration {
    let start = Instant::now();
    while client.frame().is_some() {}
    start.elapsed()
}

#[test]
fn whoever_falls_silent_is_left() {
    let runner = Runner::start();
    let mut mute = runner.connect();
    let mut slow = runner.connect();
    slow.try_send(&[100, 0, 0, 0, 1, b'{']);
    let (mute, slow) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| silence(&mut slow));
        (silence(&mut mute), slow.join().unwrap())
    });
    assert!(GREETING.contains(&mute) && GREETING.contains(&slow), "{mute:?} {slow:?}");
    let package = Package::of(1, 3000);
    let mut client = runner.session();
    client.have(&package.content);
    client.put(&package.content.package(), "weight.bin", 0, &package.bytes[0], 1000);
    let waited = silence(&mut client);
    assert!(SILENCE.contains(&waited), "within a put: {waited:?}");
    runner.still_works();
}

#[test]
fn whoever_sends_a_byte_a_second_is_left() {
    let runner = Runner::start();
    let mut client = runner.session();
    let mut trickle = client.stream.try_clone().unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = trickle.write_all(&[0, 0, 2, 0, 1, b'{']);
            while trickle.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        while client.frame().is_some() {}
    });
    assert!(SILENCE.contains(&start.elapsed()), "{:?}", start.elapsed());
    runner.still_works();
}

#[test]
fn connections_that_do_not_greet_keep_nobody_out() {
    let runner = Runner::start();
    let mute: Vec<_> = (0..100).map(|_| runner.connect()).collect();
    let start = Instant::now();
    runner.session().done(json!({"type": "list"}));
    assert!(start.elapsed() < GREETING.start, "{:?}", start.elapsed());
    drop(mute);
}

#[test]
fn a_store_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let runner = Runner::start();
    let mut client = runner.session();
    client.send_package(&Package::of(1, 3000));
    let package = runner.store.join("packages").join(Package::of(1, 3000).content.package());
    for folder in [&runner.store, &runner.store.join("jobs"), &package] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    for file in ["journal.jsonl", "lock"] {
        assert_eq!(mode(&runner.store.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&package.join("weight.bin")), 0o600);
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("letter"), "dear").unwrap();
    std::fs::set_permissions(other.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = other.path().to_str().unwrap();
    let output = command(&["--stdio", "--store", store]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no runner's store") && text.contains("hint: "), "{text}");
}

#[test]
fn an_idle_client_is_not_left() {
    let runner = Runner::start();
    let mut client = runner.session();
    std::thread::sleep(SILENCE.start + Duration::from_secs(3));
    client.done(json!({"type": "list"}));
}

#[test]
fn a_second_client_is_refused_and_changes_nothing() {
    let runner = Runner::start();
    let mut first = runner.session();
    let mut second = runner.connect();
    assert_eq!(second.greet(json!({}))["code"], "busy");
    assert_eq!(second.next(), None);
    let mut third = runner.connect();
    assert_eq!(third.greet(json!({"token": "f".repeat(32)}))["code"], "token");
    let mut fourth = runner.connect();
    assert_eq!(fourth.greet(json!({"protocol": 2}))["code"], "version");
    first.done(json!({"type": "list"}));
    drop(first);
    runner.still_works();
}

#[test]
fn requests_out_of_order_are_answered_and_leave_the_session_as_it_was() {
    let runner = Runner::start();
    let mut client = runner.session();
    let package = demo().content.package();
    client.fails(generate(&job(), 1, 1), "not_loaded");
    client.fails(load(&package, &job(), 1), "not_found");
    client.fails(json!({"type": "commit", "package": package}), "bad_request");
    client.fails(json!({"type": "dance"}), "unknown_type");
    client.send_package(demo());
    client.fails(generate(&job(), 1, 1), "not_loaded");
    client.load(&package, &job());
    client.fails(json!({"type": "evict", "package": package}), "busy");
    client.done(json!({"type": "unload"}));
    client.fails(generate(&job(), 1, 1), "not_loaded");
    client.done(json!({"type": "evict", "package": package}));
    drop(client);
    runner.still_works();
}

#[test]
fn requests_that_are_sent_all_at_once_are_answered_in_order() {
    let runner = Runner::start();
    let mut client = runner.session();
    let ids: Vec<u64> = (0..20).map(|_| client.begin(json!({"type": "list"}))).collect();
    for id in ids {
        assert_eq!(client.next().unwrap()["id"], id);
    }
}
