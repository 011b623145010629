//! What the runner costs: bytes per second when a package is sent over loopback, and the time per
//! token that the runner adds to executing the packages directly.
//!
//! `put` is the time from announcing 256 MB of random bytes to the answer that their hash is right.
//! The time of `commit`, which waits for the disk, is printed as well, and so is the speed of SHA-256
//! on one core, which bounds that of `put`. For the time per token, the demo generates 250 tokens
//! from an empty cache after a prompt of three: once directly, and once through the runner, from the
//! request to the answer, journal included.

#![allow(clippy::print_stderr)]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evalkit::checkpoint::Checkpoint;
use evalkit::demo;
use evalkit::device::client::Token;
use evalkit::device::host::{Cpu, Host, HostOptions, serve_listener};
use evalkit::device::protocol::frame::{
    MAX_CHUNK_BYTES, MAX_FRAME_BYTES, read_frame, write_chunk, write_frame,
};
use evalkit::device::protocol::manifest::{Manifest, ManifestFile};
use evalkit::device::protocol::{control, message};
use evalkit::eval::{Coder, Variant};
use evalkit::files::Existing;
use evalkit::package::bundle::{self, Bundle, BundleRequest, PackageLimits};
use evalkit::package::chain::Chain;
use evalkit::package::execute::Precision;
use evalkit::package::mil::Opset;
use evalkit::package::program::{Compute, Design};
use evalkit::units::hex;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SENT_BYTES: usize = 256_000_000;
const TOKENS: u64 = 250;

struct Client {
    stream: TcpStream,
    id: u64,
}

impl Client {
    /// A session with a runner in this process, on a store in `folder`.
    fn start(folder: &Path) -> Client {
        let token = TOKEN.parse::<Token>().expect("a token");
        let options = HostOptions { store: folder.to_owned(), limit_bytes: None, token };
        let host = Host::open(options, Box::new(Cpu::new(false))).expect("a store");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || serve_listener(&host, listener));
        let mut client = Client { stream: TcpStream::connect(address).expect("a runner"), id: 0 };
        client.stream.set_nodelay(true).expect("a socket");
        client.send(&json!({"type": "hello", "protocol": 1, "token": TOKEN, "client": "bench"}));
        assert_eq!(client.answer()["type"], "welcome");
        client
    }

    fn send(&mut self, value: &Value) {
        write_frame(&mut self.stream, &control(value).expect("JSON")).expect("sent");
    }

    fn answer(&mut self) -> Value {
        loop {
            let frame = read_frame(&mut self.stream, MAX_FRAME_BYTES).expect("a frame");
            let value: Value = message(&frame.expect("an answer")).expect("JSON");
            if value["type"] != "alive" && value["type"] != "progress" {
                assert_ne!(value["type"], "failed", "{value}");
                return value;
            }
        }
    }

    fn ask(&mut self, mut request: Value) -> Value {
        self.id += 1;
        request["id"] = self.id.into();
        self.send(&request);
        self.answer()
    }

    /// Sends a file, and returns the time from `have` to the answer of `put`.
    fn put(&mut self, manifest: &Manifest, file: &ManifestFile, bytes: &[u8]) -> Duration {
        let start = Instant::now();
        self.ask(json!({"type": "have", "manifest": manifest}));
        self.id += 1;
        self.send(&json!({"type": "put", "id": self.id, "package": manifest.package(),
            "path": file.path, "offset_bytes": 0, "size_bytes": bytes.len()}));
        for chunk in bytes.chunks(MAX_CHUNK_BYTES) {
            write_chunk(&mut self.stream, chunk).expect("sent");
        }
        self.answer();
        start.elapsed()
    }

    fn job(&mut self, mut fields: Value) -> Value {
        fields["job"] = format!("{:032x}", self.id + 1).into();
        fields["attempt"] = 1.into();
        self.ask(fields)
    }
}

fn file(path: &str, bytes: &[u8]) -> ManifestFile {
    let sha256 = hex(&Sha256::digest(bytes));
    ManifestFile { path: path.into(), size_bytes: bytes.len() as u64, sha256 }
}

fn sending(criterion: &mut Criterion) {
    let mut bytes = vec![0; SENT_BYTES];
    rand_chacha::ChaCha8Rng::seed_from_u64(1).fill(&mut bytes[..]);
    let start = Instant::now();
    let file = file("weight.bin", &bytes);
    let speed = |time: Duration| SENT_BYTES as f64 / 1e6 / time.as_secs_f64();
    eprintln!("SHA-256 on one core: {:.0} MB/s", speed(start.elapsed()));
    let manifest = Manifest { files: vec![file.clone()] };
    let folder = tempfile::tempdir().expect("a folder");
    let mut client = Client::start(folder.path());
    let mut commits = Vec::new();
    let mut group = criterion.benchmark_group("send");
    group.throughput(Throughput::BytesDecimal(SENT_BYTES as u64)).sample_size(10);
    group.bench_function("put", |bencher| {
        bencher.iter_custom(|times| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..times {
                elapsed += client.put(&manifest, &file, &bytes);
                let start = Instant::now();
                client.ask(json!({"type": "commit", "package": manifest.package()}));
                commits.push(start.elapsed());
                client.ask(json!({"type": "evict", "package": manifest.package()}));
            }
            elapsed
        });
    });
    group.finish();
    commits.sort();
    eprintln!("commit: median {:?}", commits[commits.len() / 2]);
}

/// Packages of the demo at 4 bits.
fn package(folder: &Path) {
    let checkpoint = Checkpoint::open_embedded(&demo::MODEL).expect("the demo");
    let variant: Variant = "palette4-g16-s".parse().expect("a recipe");
    let order = BundleRequest {
        coder: Coder { checkpoint: &checkpoint, variant: &variant, file: None, scales: None },
        design: Design {
            target: Opset::Ios18,
            compute: Compute::Gpu,
            context_tokens: 256,
            prefill_tokens: 64,
        },
        limits: PackageLimits::of(Compute::Gpu),
        license: "",
        existing: Existing::Replace,
    };
    bundle::write(folder, &order, &mut |_, _| Ok(())).expect("packages");
}

/// Sends every file of a folder and commits the package.
fn send(client: &mut Client, folder: &Path) -> String {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("a file");
                let name = path.strip_prefix(folder).expect("inside").to_string_lossy();
                files.push((file(&name, &bytes), bytes));
            }
        }
    }
    let manifest = Manifest { files: files.iter().map(|(file, _)| file.clone()).collect() };
    for (file, bytes) in &files {
        client.put(&manifest, file, bytes);
    }
    client.ask(json!({"type": "commit", "package": manifest.package()}));
    manifest.package()
}

fn tokens(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    package(&folder.path().join("demo"));
    let bundle = Bundle::open(&folder.path().join("demo")).expect("packages");
    let mut chain = Chain::load(&bundle, Precision::Single).expect("packages");
    let mut client = Client::start(&folder.path().join("store"));
    let package = send(&mut client, &folder.path().join("demo"));
    client.job(json!({"type": "load", "package": package, "compute_units": "cpu"}));
    let mut group = criterion.benchmark_group("token");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.measurement_time(Duration::from_secs(20));
    // The number of tokens is fixed, because the cost of a token depends on those before it.
    let rounds = |rounds: u64, round: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..rounds).for_each(|_| round());
        start.elapsed() / TOKENS as u32
    };
    group.bench_function("directly", |bencher| {
        bencher.iter_custom(|times| {
            rounds(times, &mut || {
                chain.reset();
                let mut logits = chain.prefill(&[1, 2, 3]).expect("logits").pop().expect("three");
                for _ in 1..TOKENS {
                    let mut best = 0;
                    for (id, logit) in logits.iter().enumerate() {
                        best = if *logit > logits[best] { id } else { best };
                    }
                    logits = chain.decode(best as u32).expect("logits");
                }
            })
        });
    });
    group.bench_function("through the runner", |bencher| {
        bencher.iter_custom(|times| {
            rounds(times, &mut || {
                let ask = json!({"type": "generate", "prompt": [1, 2, 3], "tokens": TOKENS});
                client.job(ask);
            })
        });
    });
}

criterion_group!(benches, sending, tokens);
criterion_main!(benches);
