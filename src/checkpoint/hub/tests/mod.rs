//! Downloads from a test server on 127.0.0.1 that fails in the ways that hubs do, and lies in the ways
//! that they could.

mod honest;
mod hostile;
mod offline;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::limits::Limits;
use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SPEC: &str = "hf:owner/tiny";

/// How the server answers for one file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Honest,
    /// Redirects to another address of this server, as the hub does for large files.
    Redirecting,
    /// Redirects to this place.
    RedirectsTo(&'static str),
    /// Redirects without a place.
    RedirectsNowhere,
    /// Closes the connection after this number of bytes of a file.
    DropsAfter(usize),
    /// Announces this number of bytes, whatever it sends.
    Announces(u64),
    /// Sends the whole file even if a part is asked for.
    IgnoresRange,
    /// Has nothing behind the first byte.
    RefusesRange,
    /// Sends bytes of another place than asked for.
    Misplaces,
    /// Changes a byte of this many of the replies.
    Flips(usize),
    /// Has another tag in this many of the replies with the file itself.
    Retags(&'static str, usize),
    /// Has another commit in the reply with the file itself.
    Recommits(&'static str),
    /// Sends a part and then nothing.
    Stalls,
    /// Sends a byte now and then.
    Trickles,
    /// Sends more bytes without end.
    Endless,
    /// Sends the file as if compressed.
    Compresses,
    /// Answers this many requests with this status and `Retry-After`.
    Fails(usize, u16, &'static str),
}

#[derive(Debug, Clone)]
struct Served {
    bytes: Vec<u8>,
    mood: Mood,
    etag: String,
    /// How many replies were not honest.
    lies: usize,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Served>,
    /// Answer every request with this status.
    status: Option<u16>,
    /// The body of the reply about the repository, if it is not an honest one.
    about: Option<Vec<u8>>,
    /// Redirect everything to this server.
    elsewhere: Option<String>,
    /// First line, range and token of each request.
    log: Vec<String>,
}

struct Server {
    hub: Hub,
    state: Arc<Mutex<State>>,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that hangs up early is part of the tests.
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let first_wait = Duration::from_millis(1);
        let hub = Hub {
            endpoint,
            cache: folder.path().join("hub"),
            token: None,
            offline: false,
            certificates: None,
            limits: Limits { first_wait, ..Limits::default() },
        };
        let server = Server { hub, state, folder };
        server.serve("config.json", b"{}");
        server.serve("tokenizer.json", b"{\"model\": {}}");
        server.serve("tokenizer_config.json", b"{ }");
        server.serve("README.md", b"not wanted");
        server.serve("model.safetensors", &(0..=255).cycle().take(300_000).collect::<Vec<u8>>());
        server
    }

    fn serve(&self, name: &str, bytes: &[u8]) {
        let etag = format!("{:x}", Sha256::digest(bytes));
        let served = Served { bytes: bytes.to_vec(), mood: Mood::Honest, etag, lies: 0 };
        self.state.lock().unwrap().files.insert(name.into(), served);
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Served)) {
        change(self.state.lock().unwrap().files.get_mut(name).unwrap());
    }

    fn mood(&self, name: &str, mood: Mood) {
        self.change(name, |served| (served.mood, served.lies) = (mood, 0));
    }

    fn fetch(&self) -> Result<PathBuf> {
        self.hub.fetch(SPEC, &mut |_| Ok(()))
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

    /// Fails if anything but the cache was written, or if it has these weights.
    fn assert_nothing_got_in(&self, what: &str) {
        let entries =
            std::fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name());
        assert!(entries.into_iter().all(|name| name == "hub"), "{what}");
        let weights = self.repository().join("snapshots").join(COMMIT).join("model.safetensors");
        assert!(std::fs::symlink_metadata(weights).is_err(), "{what}");
    }

    fn repository(&self) -> PathBuf {
        self.hub.cache.join("models--owner--tiny")
    }

    fn incomplete(&self) -> Vec<PathBuf> {
        let blobs = std::fs::read_dir(self.repository().join("blobs")).into_iter().flatten();
        let paths = blobs.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|e| e == "incomplete")).collect()
    }
}

/// Reads a request: its path, its range and its token.
fn read_request(stream: &mut TcpStream) -> std::io::Result<(String, Option<String>, String)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let header = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
        })
    };
    Ok((path, header("range"), header("authorization").unwrap_or_default()))
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (path, range, token) = read_request(&mut stream)?;
    let mut state = state.lock().unwrap();
    let line = format!("{path} {} {token}", range.clone().unwrap_or_default());
    state.log.push(line.trim_end().to_owned());
    if let Some(status) = state.status {
        return respond(&mut stream, status, &[], b"refused", None);
    }
    if let Some(host) = &state.elsewhere {
        return respond(&mut stream, 302, &[("location", &format!("{host}{path}"))], b"", None);
    }
    if path.starts_with("/api/models/owner/tiny/revision/") && path.ends_with("?blobs=true") {
        let siblings: Vec<_> =
            state.files.keys().map(|name| format!("{{\"rfilename\": \"{name}\"}}")).collect();
        let body = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{}]}}", siblings.join(","));
        let body = state.about.clone().unwrap_or(body.into_bytes());
        return respond(&mut stream, 200, &[], &body, None);
    }
    let path = path.split('?').next().unwrap_or_default();
    let resolve = format!("/owner/tiny/resolve/{COMMIT}/");
    let (name, is_redirected) = match path.strip_prefix("/elsewhere/") {
        Some(name) => (Some(name.to_owned()), true),
        None => (path.strip_prefix(&resolve).map(str::to_owned), false),
    };
    let Some(served) = name.as_ref().and_then(|name| state.files.get_mut(name)) else {
        return respond(&mut stream, 404, &[], b"Entry not found", None);
    };
    let is_probe = range.as_deref() == Some("bytes=0-0");
    let before = served.clone();
    served.lies += usize::from(!is_probe || matches!(served.mood, Mood::Fails(..)));
    drop(state);
    let location = match before.mood {
        Mood::Redirecting if !is_redirected => {
            format!("http://{}/elsewhere/{}", stream.local_addr()?, name.unwrap_or_default())
        }
        Mood::RedirectsTo(place) => place.to_owned(),
        Mood::RedirectsNowhere => return respond(&mut stream, 302, &[], b"", None),
        Mood::Fails(times, status, wait) if before.lies < times => {
            return respond(&mut stream, status, &[("retry-after", wait)], b"", None);
        }
        _ => return send_file(&mut stream, &before, range.as_deref()),
    };
    let linked = format!("\"{}\"", before.etag);
    let size = before.bytes.len().to_string();
    let mut headers = vec![("location", location.as_str()), ("x-repo-commit", COMMIT)];
    headers.push(("x-linked-etag", &linked));
    if before.mood == Mood::Redirecting {
        headers.push(("x-linked-size", &size));
    }
    respond(&mut stream, 302, &headers, b"", None)
}

fn send_file(stream: &mut TcpStream, served: &Served, range: Option<&str>) -> std::io::Result<()> {
    let (mood, lies) = (served.mood, served.lies);
    let size = match mood {
        Mood::Announces(size) => size,
        _ => served.bytes.len() as u64,
    };
    let (first, last) = range
        .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        .map(|(first, last)| (first.parse().unwrap(), last.parse::<usize>().ok()))
        .unwrap_or((0, None));
    let is_probe = last.is_some();
    let is_whole = !is_probe && (mood == Mood::IgnoresRange || first == 0);
    let first = if is_whole { 0 } else { first };
    let end = last.map_or(served.bytes.len(), |last| last + 1).min(served.bytes.len());
    if first >= end || (mood == Mood::RefusesRange && first > 0) {
        return respond(stream, 416, &[], b"", None);
    }
    let (mut etag, mut commit) = (served.etag.as_str(), COMMIT);
    let mut body = served.bytes[first..end].to_vec();
    match mood {
        Mood::Retags(other, times) if !is_probe && lies < times => etag = other,
        Mood::Recommits(other) if !is_probe => commit = other,
        Mood::Flips(times) if !is_probe && lies < times => body[100_000] ^= 64,
        _ => {}
    }
    let quoted = format!("\"{etag}\"");
    let told = if mood == Mood::Misplaces && first > 0 { first - 1 } else { first };
    let of = format!("bytes {told}-{}/{size}", end - 1);
    let mut headers = vec![("etag", quoted.as_str()), ("x-repo-commit", commit)];
    if !is_whole {
        headers.push(("content-range", &of));
    }
    if mood == Mood::Compresses && !is_probe {
        headers.push(("content-encoding", "gzip"));
    }
    let status = if is_whole { 200 } else { 206 };
    match mood {
        _ if is_probe => respond(stream, status, &headers, &body, None),
        Mood::DropsAfter(bytes) => respond(stream, status, &headers, &body, Some(bytes)),
        Mood::Stalls | Mood::Trickles => {
            respond(stream, status, &headers, &body, Some(1000))?;
            if mood == Mood::Trickles {
                loop {
                    std::thread::sleep(Duration::from_millis(20));
                    stream.write_all(b"x")?;
                }
            }
            std::thread::sleep(Duration::from_secs(5));
            Ok(())
        }
        Mood::Endless => {
            headers.push(("transfer-encoding", "chunked"));
            write_head(stream, status, &headers)?;
            loop {
                write!(stream, "10000\r\n")?;
                stream.write_all(&[b'x'; 0x10000])?;
                write!(stream, "\r\n")?;
            }
        }
        _ => respond(stream, status, &headers, &body, None),
    }
}

fn write_head(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, &str)],
) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} Answer\r\nconnection: close\r\n")?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")
}

/// Sends a response, or only the first `cut` bytes of its body.
fn respond(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
    cut: Option<usize>,
) -> std::io::Result<()> {
    let length = body.len().to_string();
    write_head(stream, status, &[headers, &[("content-length", &length)]].concat())?;
    stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())])?;
    stream.flush()
}
