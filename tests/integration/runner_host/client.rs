//! The smallest client that can test a runner: it sends what it is told to, right or wrong.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use evalkit::device::protocol::frame::{
    Frame, MAX_CHUNK_BYTES, MAX_FRAME_BYTES, read_frame, write_chunk, write_frame,
};
use evalkit::device::protocol::manifest::{Manifest, ManifestFile};
use evalkit::device::protocol::{control, message};
use evalkit::units::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Longer than any answer of a test takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runner's process and the store that it serves.
pub struct Runner {
    child: Child,
    pub address: SocketAddr,
    pub store: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("evalkit"));
    command.arg("runner").args(arguments).env("EVALKIT_RUNNER_TOKEN", TOKEN);
    command
}

impl Runner {
    /// A runner on an empty store.
    pub fn start() -> Runner {
        let folder = tempfile::tempdir().unwrap();
        let mut runner = Runner::on(&folder.path().join("store"), &[]);
        runner._folder = Some(folder);
        runner
    }

    /// A runner on this store.
    pub fn on(store: &Path, more: &[&str]) -> Runner {
        let place = store.to_str().unwrap();
        let mut command = command(&["--listen", "127.0.0.1:0", "--quiet", "--store", place]);
        let mut child = command.args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).expect("the line with the address");
        let address = line["listening"].as_str().unwrap().parse().unwrap();
        Runner { child, address, store: store.to_owned(), _folder: None }
    }

    /// Ends the process as the system would, and starts another on the same store.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let next = Runner::on(&self.store, &[]);
        let folder = self._folder.take();
        *self = next;
        self._folder = folder;
    }

    /// Waits for the process to end by itself.
    pub fn ends(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// A connection that has said nothing.
    pub fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, id: 0 }
    }

    /// A session; one that is about to end is waited for.
    pub fn session(&self) -> Client<TcpStream> {
        let start = Instant::now();
        loop {
            let mut client = self.connect();
            let greeting = client.greet(json!({}));
            if greeting["type"] == "welcome" {
                return client;
            }
            assert_eq!(greeting["code"], "busy", "{greeting}");
            assert!(start.elapsed() < PATIENCE, "the runner stays busy");
        }
    }

    /// What must hold after every fault: a session is welcomed and a job succeeds.
    pub fn still_works(&self) {
        let mut client = self.session();
        let package = demo();
        client.send_package(package);
        client.load(&package.content.package(), &job());
        let generated = client.done(generate(&job(), 1, 3));
        assert_eq!(generated["result"]["ids"].as_array().unwrap().len(), 3);
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One side of a connection.
pub struct Client<S> {
    pub stream: S,
    id: u64,
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Self {
        Client { stream, id: 0 }
    }

    pub fn send(&mut self, value: &Value) {
        write_frame(&mut self.stream, &control(value).unwrap()).unwrap();
        self.stream.flush().unwrap();
    }

    /// Sends what the runner may no longer read.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// The next frame but for `alive`; nothing where the stream ended.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            let frame = read_frame(&mut self.stream, MAX_FRAME_BYTES).ok()??;
            match &frame {
                Frame::Control(_) if self.json(&frame)["type"] == "alive" => {}
                _ => return Some(frame),
            }
        }
    }

    fn json(&self, frame: &Frame) -> Value {
        message(frame).unwrap()
    }

    /// The next control frame but for `alive` and `progress`; nothing where the stream ended.
    pub fn next(&mut self) -> Option<Value> {
        loop {
            let frame = self.frame()?;
            let value = self.json(&frame);
            if value["type"] != "progress" {
                return Some(value);
            }
        }
    }

    /// Says hello with these fields in the place of the right ones.
    pub fn greet(&mut self, fields: Value) -> Value {
        let mut hello = json!({"type": "hello", "protocol": 1, "token": TOKEN, "client": "test"});
        for (key, value) in fields.as_object().unwrap() {
            hello[key] = value.clone();
        }
        self.send(&hello);
        self.next().expect("a greeting")
    }

    /// Sends a request; gives its id.
    pub fn begin(&mut self, mut request: Value) -> u64 {
        self.id += 1;
        request["id"] = self.id.into();
        self.send(&request);
        self.id
    }

    /// The answer to a request.
    pub fn ask(&mut self, request: Value) -> Value {
        let id = self.begin(request);
        let answer = self.next().expect("an answer");
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    pub fn done(&mut self, request: Value) -> Value {
        let answer = self.ask(request);
        assert_eq!(answer["type"], "done", "{answer}");
        answer
    }

    /// The failure of a request that must have this code.
    pub fn fails(&mut self, request: Value, code: &str) -> Value {
        let answer = self.ask(request);
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&json!("failed"), &json!(code)),
            "{answer}"
        );
        assert!(!answer["message"].as_str().unwrap().is_empty());
        answer
    }

    /// Announces a package; how many bytes of each file are held.
    pub fn have(&mut self, content: &Manifest) -> Value {
        self.done(json!({"type": "have", "manifest": content}))["result"].take()
    }

    /// Announces a file's bytes and sends them, the last `less` not.
    pub fn put(
        &mut self,
        package: &str,
        path: &str,
        offset: u64,
        bytes: &[u8],
        less: usize,
    ) -> u64 {
        let id = self.begin(json!({"type": "put", "package": package, "path": path,
            "offset_bytes": offset, "size_bytes": bytes.len()}));
        for chunk in bytes[..bytes.len() - less].chunks(MAX_CHUNK_BYTES) {
            write_chunk(&mut self.stream, chunk).unwrap();
        }
        self.stream.flush().unwrap();
        id
    }

    /// Sends a package as far as it is not there, and puts it in place; gives the bytes sent.
    pub fn send_package(&mut self, package: &Package) -> u64 {
        let name = package.content.package();
        let held = self.have(&package.content);
        let mut sent = 0;
        for (file, bytes) in package.content.files.iter().zip(&package.bytes) {
            let held = held["files"].as_array().unwrap();
            let Some(held) = held.iter().find(|held| held["path"] == file.path) else { continue };
            let have = held["have_bytes"].as_u64().unwrap();
            if have < file.size_bytes {
                let rest = &bytes[have as usize..];
                self.put(&name, &file.path, have, rest, 0);
                let answer = self.next().unwrap();
                assert_eq!(answer["type"], "done", "{answer}");
                sent += rest.len() as u64;
            }
        }
        self.done(json!({"type": "commit", "package": name}));
        sent
    }

    pub fn load(&mut self, package: &str, job: &str) -> Value {
        self.done(load(package, job, 1))
    }

    pub fn packages(&mut self) -> Vec<String> {
        let list = self.done(json!({"type": "list"}));
        let packages = list["result"]["packages"].as_array().unwrap().iter();
        packages.map(|package| package["package"].as_str().unwrap().to_owned()).collect()
    }
}

/// Files in memory.
pub struct Package {
    pub content: Manifest,
    pub bytes: Vec<Vec<u8>>,
}

impl Package {
    pub fn new(files: Vec<(&str, Vec<u8>)>) -> Package {
        let file = |(path, bytes): &(&str, Vec<u8>)| ManifestFile {
            path: (*path).to_owned(),
            size_bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(bytes)),
        };
        let content = Manifest { files: files.iter().map(file).collect() };
        Package { content, bytes: files.into_iter().map(|(_, bytes)| bytes).collect() }
    }

    /// One file of `size` bytes that differ with `seed`.
    pub fn of(seed: u8, size: usize) -> Package {
        let byte = |at: usize| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8) ^ seed;
        Package::new(vec![("weight.bin", (0..size).map(byte).collect())])
    }

    /// The files of a folder.
    pub fn read(folder: &Path) -> Package {
        let (mut files, mut open) = (Vec::new(), vec![folder.to_owned()]);
        while let Some(next) = open.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                    files.push((name, std::fs::read(&path).unwrap()));
                }
            }
        }
        Package::new(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect())
    }
}

/// The embedded demo, packaged with a cache of 256 tokens.
pub fn demo() -> &'static Package {
    static DEMO: OnceLock<Package> = OnceLock::new();
    DEMO.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("demo");
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("evalkit"));
        command.args(["package", "--quiet", "--recipe", "palette4-g16-s", "--model", "demo"]);
        command.args(["--max-sequence-length", "256", "--output"]).arg(&place);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Package::read(&place)
    })
}

/// A job's name that was never used.
pub fn job() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:032x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn load(package: &str, job: &str, attempt: u32) -> Value {
    json!({"type": "load", "job": job, "attempt": attempt, "package": package,
        "compute_units": "cpu", "sample_ms": 0})
}

pub fn generate(job: &str, attempt: u32, tokens: usize) -> Value {
    json!({"type": "generate", "job": job, "attempt": attempt, "prompt": [1, 2, 3],
        "tokens": tokens, "sample_ms": 0})
}
