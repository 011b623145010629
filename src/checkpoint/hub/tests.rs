//! Downloads from a test server on 127.0.0.1 that can fail in the ways that hubs do.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SPEC: &str = "hf:owner/tiny";

/// How the server answers for one file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Honest,
    /// Redirects to another address, as the hub does for large files.
    Redirecting,
    /// Closes the connection after this number of bytes of a file.
    DropsAfter(usize),
    /// Announces this number of bytes, whatever it sends.
    Announces(usize),
    /// Sends the whole file even if a part is asked for.
    IgnoresRange,
}

#[derive(Debug, Clone)]
struct Served {
    bytes: Vec<u8>,
    mood: Mood,
    etag: String,
}

#[derive(Debug, Default)]
struct ServerState {
    files: BTreeMap<String, Served>,
    /// Answer every request with this status.
    status: Option<u16>,
    /// First line and range of each request.
    log: Vec<String>,
}

struct Server {
    hub: Hub,
    state: Arc<Mutex<ServerState>>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(ServerState::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up early is part of the tests.
                let _ = answer(stream, &shared);
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("hub");
        let hub = Hub { endpoint, cache, token: None, offline: false };
        let server = Server { hub, state, _folder: folder };
        server.serve("config.json", b"{}");
        server.serve("tokenizer.json", b"{\"model\": {}}");
        server.serve("tokenizer_config.json", b"{ }");
        server.serve("README.md", b"not wanted");
        server.serve("model.safetensors", &(0..=255).cycle().take(300_000).collect::<Vec<u8>>());
        server
    }

    fn serve(&self, name: &str, bytes: &[u8]) {
        let served = Served { bytes: bytes.to_vec(), mood: Mood::Honest, etag: etag(name) };
        self.state.lock().unwrap().files.insert(name.into(), served);
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Served)) {
        change(self.state.lock().unwrap().files.get_mut(name).unwrap());
    }

    fn mood(&self, name: &str, mood: Mood) {
        self.change(name, |served| served.mood = mood);
    }

    fn fetch(&self) -> Result<PathBuf> {
        self.hub.fetch(SPEC, &mut |_, _, _| {})
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    fn assert_complete(&self, folder: &Path, names: &[&str]) {
        for name in names {
            let expected = self.state.lock().unwrap().files[*name].bytes.clone();
            assert!(std::fs::read(folder.join(name)).unwrap() == expected, "{name} differs");
        }
    }
}

fn etag(name: &str) -> String {
    blake3::hash(name.as_bytes()).to_hex().to_string()
}

fn answer(mut stream: TcpStream, state: &Mutex<ServerState>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let range = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("range").then(|| value.to_owned())
    });
    let mut state = state.lock().unwrap();
    state.log.push(format!("{path} {}", range.clone().unwrap_or_default()));
    if let Some(status) = state.status {
        return respond(&mut stream, status, &[], b"refused", None);
    }
    if path == "/api/models/owner/tiny/revision/main" {
        let siblings: Vec<_> =
            state.files.keys().map(|name| format!("{{\"rfilename\": \"{name}\"}}")).collect();
        let body = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{}]}}", siblings.join(","));
        return respond(&mut stream, 200, &[], body.as_bytes(), None);
    }
    let resolve = format!("/owner/tiny/resolve/{COMMIT}/");
    let (name, redirected) = match path.strip_prefix("/elsewhere/") {
        Some(name) => (Some(name), true),
        None => (path.strip_prefix(&resolve), false),
    };
    match name.and_then(|name| state.files.get(name)) {
        Some(served) if served.mood == Mood::Redirecting && !redirected => {
            let host = stream.local_addr()?;
            let to = format!("http://{host}/elsewhere/{}", name.unwrap_or_default());
            let linked = format!("\"{}\"", served.etag);
            let size = served.bytes.len().to_string();
            let headers = [
                ("location", to.as_str()),
                ("x-repo-commit", COMMIT),
                ("x-linked-etag", &linked),
                ("x-linked-size", &size),
            ];
            respond(&mut stream, 302, &headers, b"", None)
        }
        Some(served) => send_file(&mut stream, served, range.as_deref()),
        None => respond(&mut stream, 404, &[], b"Entry not found", None),
    }
}

fn send_file(stream: &mut TcpStream, served: &Served, range: Option<&str>) -> std::io::Result<()> {
    let size = match served.mood {
        Mood::Announces(size) => size,
        _ => served.bytes.len(),
    };
    let (first, last) = range
        .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        .map(|(first, last)| (first.parse().unwrap(), last.parse::<usize>().ok()))
        .unwrap_or((0, None));
    let probe = last.is_some();
    let first = if served.mood == Mood::IgnoresRange && !probe { 0 } else { first };
    let end = last.map_or(served.bytes.len(), |last| last + 1).min(served.bytes.len());
    if first >= served.bytes.len() {
        return respond(stream, 416, &[], b"", None);
    }
    let quoted = format!("\"{}\"", served.etag);
    let of = format!("bytes {first}-{}/{size}", end - 1);
    let headers = [("etag", quoted.as_str()), ("x-repo-commit", COMMIT), ("content-range", &of)];
    let cut = match served.mood {
        Mood::DropsAfter(bytes) if !probe => Some(bytes),
        _ => None,
    };
    respond(stream, 206, &headers, &served.bytes[first..end], cut)
}

/// Sends a response, or only the first `cut` bytes of its body.
fn respond(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
    cut: Option<usize>,
) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} Answer\r\nconnection: close\r\n")?;
    write!(stream, "content-length: {}\r\n", body.len())?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())])?;
    stream.flush()
}

#[test]
fn a_checkpoint_is_fetched_once_and_only_what_makes_it() {
    let server = Server::start();
    server.mood("model.safetensors", Mood::Redirecting);
    let mut told: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let folder = server
        .hub
        .fetch(SPEC, &mut |name, done, total| {
            let before = told.insert(name.to_owned(), (done, total)).unwrap_or_default();
            assert!(before.0 <= done && done <= total, "{name}: {done} of {total}");
        })
        .unwrap();
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    server.assert_complete(&folder, &names);
    assert_eq!(told["model.safetensors"], (300_000, 300_000));
    assert!(!folder.join("README.md").exists() && !folder.join("generation_config.json").exists());
    assert!(folder.ends_with(format!("models--owner--tiny/snapshots/{COMMIT}")));
    server.log();
    assert_eq!(server.fetch().unwrap(), folder);
    let log = server.log();
    assert!(log.iter().all(|l| l.starts_with("/api/") || l.ends_with("bytes=0-0")), "{log:?}");
}

#[test]
fn shards_are_fetched_by_the_index() {
    let server = Server::start();
    server.state.lock().unwrap().files.remove("model.safetensors");
    server.serve("a-00001-of-00002.safetensors", b"first");
    server.serve("a-00002-of-00002.safetensors", b"second");
    let index = br#"{"weight_map": {"x": "a-00001-of-00002.safetensors", "y": "a-00002-of-00002.safetensors"}}"#;
    server.serve("model.safetensors.index.json", index);
    let outline = server.hub.fetch_outline(SPEC, &mut |_, _, _| {}).unwrap();
    server.assert_complete(&outline, &["config.json", INDEX]);
    assert_eq!(std::fs::read_dir(&outline).unwrap().count(), 2, "more than the outline");
    let offline = Hub { offline: true, ..server.hub.clone() };
    assert_eq!(offline.fetch_outline(SPEC, &mut |_, _, _| {}).unwrap(), outline);
    let folder = server.fetch().unwrap();
    let names = ["a-00001-of-00002.safetensors", "a-00002-of-00002.safetensors", INDEX];
    server.assert_complete(&folder, &names);
}

#[test]
fn an_index_may_not_point_out_of_the_folder() {
    for name in ["../evil.safetensors", "/etc/evil.safetensors", "a/b.safetensors", "model.bin"] {
        let server = Server::start();
        server.state.lock().unwrap().files.remove("model.safetensors");
        let index = format!("{{\"weight_map\": {{\"x\": \"{name}\"}}}}");
        server.serve("model.safetensors.index.json", index.as_bytes());
        let error = server.fetch().unwrap_err();
        assert_eq!(error.exit(), Exit::Input);
        assert!(
            error.to_string().contains("expected a file name")
                || error.to_string().contains("expected plain names of .safetensors files"),
            "{error}"
        );
    }
}

#[test]
fn a_dropped_connection_is_reported_and_continued_by_the_next_run() {
    let server = Server::start();
    server.mood("model.safetensors", Mood::DropsAfter(100_000));
    let error = server.fetch().unwrap_err();
    assert_eq!(error.exit(), Exit::Surroundings);
    let text = error.to_string();
    assert!(text.starts_with("hf:owner/tiny: model.safetensors: cannot fetch the file"), "{text}");
    assert!(text.contains("run the same command again"), "{text}");
    server.log();
    server.mood("model.safetensors", Mood::Honest);
    let folder = server.fetch().unwrap();
    server.assert_complete(&folder, &["model.safetensors"]);
    let log = server.log();
    let resumed = log.iter().any(|line| line.ends_with("model.safetensors bytes=100000-"));
    assert!(resumed, "{log:?}");
}

#[test]
fn a_file_of_another_length_than_announced_is_thrown_away() {
    for announced in [300_001, 299_999] {
        let server = Server::start();
        server.mood("model.safetensors", Mood::Announces(announced));
        let error = server.fetch().unwrap_err();
        assert_eq!(error.exit(), Exit::Surroundings);
        let expected = format!("expected {announced} bytes, received 300000");
        assert!(error.to_string().contains(&expected), "{error}");
        server.mood("model.safetensors", Mood::Honest);
        let folder = server.fetch().unwrap();
        server.assert_complete(&folder, &["model.safetensors"]);
    }
}

#[test]
fn a_server_that_cannot_continue_does_not_damage_the_file() {
    let server = Server::start();
    server.mood("model.safetensors", Mood::DropsAfter(100_000));
    server.fetch().unwrap_err();
    server.mood("model.safetensors", Mood::IgnoresRange);
    let error = server.fetch().unwrap_err();
    assert!(error.to_string().contains("expected 300000 bytes, received 400000"), "{error}");
    let folder = server.fetch().unwrap();
    server.assert_complete(&folder, &["model.safetensors"]);
}

#[test]
fn a_damaged_cache_is_repaired() {
    let server = Server::start();
    let folder = server.fetch().unwrap();
    let weights = std::fs::canonicalize(folder.join("model.safetensors")).unwrap();
    std::fs::write(&weights, b"short").unwrap();
    server.fetch().unwrap();
    server.assert_complete(&folder, &["model.safetensors"]);
    std::fs::remove_file(&weights).unwrap();
    std::fs::write(weights.with_extension("part"), vec![0; 300_000]).unwrap();
    server.fetch().unwrap();
    server.assert_complete(&folder, &["model.safetensors"]);
}

#[test]
fn a_missing_and_a_gated_repository_give_different_errors() {
    let server = Server::start();
    for (status, exit, meaning) in [
        (404, Exit::Input, "there is no such repository"),
        (401, Exit::Surroundings, "set HF_TOKEN"),
        (403, Exit::Surroundings, "accept a licence"),
        (500, Exit::Surroundings, "the connection failed"),
    ] {
        server.state.lock().unwrap().status = Some(status);
        let error = server.fetch().unwrap_err();
        assert_eq!(error.exit(), exit, "{status}");
        assert!(error.to_string().contains(meaning), "{error}");
    }
    let nobody = Hub { endpoint: "http://127.0.0.1:9".into(), ..server.hub.clone() };
    let error = nobody.fetch(SPEC, &mut |_, _, _| {}).unwrap_err();
    assert_eq!(error.exit(), Exit::Surroundings);
}

#[test]
fn a_repository_without_readable_weights_is_refused_with_what_is_missing() {
    let server = Server::start();
    server.state.lock().unwrap().files.remove("model.safetensors");
    let error = server.fetch().unwrap_err();
    assert!(error.to_string().contains("has neither model.safetensors nor"), "{error}");
    server.state.lock().unwrap().files.remove("config.json");
    let error = server.fetch().unwrap_err();
    assert!(error.to_string().contains("the repository has no config.json"), "{error}");
}

#[test]
fn a_server_cannot_name_paths_outside_the_cache() {
    let server = Server::start();
    server.change("config.json", |served| served.etag = "../../../escaped".into());
    let error = server.fetch().unwrap_err();
    assert!(error.to_string().contains("expected commit"), "{error}");
}

#[test]
fn without_the_network_the_cache_is_used_or_the_missing_file_is_named() {
    let server = Server::start();
    let offline = Hub { offline: true, ..server.hub.clone() };
    let fetch = |spec: &str| offline.fetch(spec, &mut |_, _, _| {});
    let error = fetch(SPEC).unwrap_err();
    assert_eq!(error.exit(), Exit::Surroundings);
    assert!(error.to_string().contains("config.json is not in the cache"), "{error}");
    let folder = server.fetch().unwrap();
    server.log();
    assert_eq!(fetch(SPEC).unwrap(), folder);
    assert_eq!(fetch(&format!("{SPEC}@{COMMIT}")).unwrap(), folder);
    assert!(fetch("hf:owner/tiny@other").is_err());
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    assert!(fetch(SPEC).unwrap_err().to_string().contains("model.safetensors is not in the cache"));
    assert!(server.log().is_empty());
}

#[test]
fn names_that_are_no_repository_are_refused() {
    for bad in [
        "owner/tiny",
        "hf:tiny",
        "hf:a/b/c",
        "hf:../x",
        "hf:a/..",
        "hf:a/b@",
        "hf:a/b@../c",
        "hf:a/b c",
    ] {
        let error =
            Hub { endpoint: String::new(), cache: "unused".into(), token: None, offline: true }
                .fetch(bad, &mut |_, _, _| {})
                .unwrap_err();
        assert_eq!(error.exit(), Exit::Input, "{bad}");
        assert!(error.to_string().contains("expected hf:owner/name"), "{error}");
    }
}
