//! A runner for tests: it speaks the protocol over TCP, keeps files in memory, and misbehaves as it
//! is told, one fault per connection.
#![allow(dead_code, reason = "every test file uses another part")]

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evalkit::device::protocol::content::Content;
use evalkit::device::protocol::frame::{Frame, MAX_FRAME_BYTES, read_frame, write_frame};
use evalkit::device::protocol::message::{Answer, Ask, Code, Greeting, Hello, Job, Request};
use evalkit::device::protocol::{control, message};
use evalkit::units::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const MIB: usize = 1 << 20;

/// How one connection goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    Version,
    Busy,
    CloseAtOnce,
    SilentGreeting,
    GarbageGreeting,
    LongFrame,
    GarbageAnswer,
    OtherId,
    /// Nothing more, not even `alive`, once a job is asked for.
    SilentJob,
    /// `alive` for ever.
    EndlessJob,
    /// Cut while the job runs, which finishes.
    CutJob,
    /// The process ends while the job runs.
    Interrupt,
    /// Cut once so many bytes of files have come.
    CutAfter(usize),
    /// The disk is full after so many.
    FullAfter(usize),
}

#[derive(Default)]
pub struct State {
    pub faults: VecDeque<Fault>,
    /// Bytes of files that have come in all.
    pub received: usize,
    pub files: HashMap<String, Vec<u8>>,
    pub placed: Option<String>,
    pub sessions: usize,
    /// Takes every token, as of a child that was given it.
    pub is_open: bool,
    /// How often each job ran.
    pub runs: usize,
    journal: HashMap<String, (u32, Option<Value>)>,
    manifest: Option<Content>,
}

#[derive(Clone)]
pub struct FakeRunner {
    pub port: u16,
    pub state: Arc<Mutex<State>>,
}

impl FakeRunner {
    pub fn start(faults: &[Fault]) -> FakeRunner {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().unwrap().faults.extend(faults);
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let fault = shared.lock().unwrap().faults.pop_front().unwrap_or(Fault::None);
                shared.lock().unwrap().sessions += 1;
                let stream = stream.unwrap();
                let mut connection = Connection {
                    stream: &stream,
                    fault,
                    state: &shared,
                    taken: 0,
                    is_dropping: false,
                };
                // A client that has gone is the end of its session, however it went.
                let _ = connection.serve();
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        FakeRunner { port, state }
    }
}

struct Connection<'a> {
    stream: &'a TcpStream,
    fault: Fault,
    state: &'a Mutex<State>,
    taken: usize,
    is_dropping: bool,
}

type Served = Result<(), Box<dyn std::error::Error>>;

impl Connection<'_> {
    fn say(&mut self, message: &impl serde::Serialize) -> Served {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &control(message)?)?;
        Ok(self.stream.write_all(&bytes)?)
    }

    fn serve(&mut self) -> Served {
        if self.fault == Fault::CloseAtOnce {
            return Ok(());
        }
        let Some(frame) = read_frame(&mut self.stream, 4096)? else { return Ok(()) };
        let hello: Hello = message(&frame)?;
        let refused = |code| Greeting::Refused { protocol: 1, code, message: "no".into() };
        match self.fault {
            Fault::Version => {
                self.say(
                    &json!({"type": "refused", "protocol": 2, "code": "version", "message": ""}),
                )?;
                return Ok(());
            }
            Fault::Busy => return self.say(&refused(Code::Busy)),
            Fault::SilentGreeting => return self.hang(),
            Fault::GarbageGreeting => {
                return Ok(self.stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")?);
            }
            _ if hello.token != TOKEN && !self.state.lock().unwrap().is_open => {
                return self.say(&refused(Code::Token));
            }
            _ => self.say(&Greeting::Welcome { protocol: 1, runner: "fake 1".into() })?,
        }
        while let Some(frame) = read_frame(&mut self.stream, MAX_FRAME_BYTES)? {
            if self.is_dropping && matches!(frame, Frame::Chunk(_)) {
                continue;
            }
            let Request { id, ask } = message(&frame)?;
            match self.fault {
                Fault::LongFrame => self.stream.write_all(&[255, 255, 255, 255, 1])?,
                Fault::GarbageAnswer => {
                    self.stream.write_all(&[5, 0, 0, 0, 1, b'{', b'x', 0, 0])?
                }
                Fault::OtherId => self.done(id + 7, json!({}), false, 1)?,
                _ => {}
            }
            self.answer(id, ask)?;
        }
        Ok(())
    }

    /// Until the client goes.
    fn hang(&mut self) -> Served {
        while read_frame(&mut self.stream, MAX_FRAME_BYTES)?.is_some() {}
        Ok(())
    }

    fn done(&mut self, id: u64, result: Value, replayed: bool, attempt: u32) -> Served {
        self.say(&Answer::Done { id, result, replayed, attempt })
    }

    fn failed(&mut self, id: u64, code: Code, replayed: bool, attempt: u32) -> Served {
        let message = format!("{code:?}");
        self.say(&Answer::Failed { id, code, message, replayed, attempt })
    }

    fn answer(&mut self, id: u64, ask: Ask) -> Served {
        if let Some(job) = ask.job().cloned() {
            return self.job(id, &job, &ask);
        }
        match ask {
            Ask::Have { manifest } => self.have(id, manifest),
            Ask::Put { path, offset_bytes, size_bytes, .. } => {
                self.put(id, path, offset_bytes as usize, size_bytes as usize)
            }
            Ask::Commit { package } => {
                self.state.lock().unwrap().placed = Some(package.clone());
                self.done(id, json!({ "package": package }), false, 1)
            }
            Ask::Exit => {
                self.done(id, json!({}), false, 1)?;
                Err("the end".into())
            }
            Ask::List => self.done(id, json!({ "packages": [] }), false, 1),
            Ask::Describe => {
                let figures = json!({ "at_ms": 0.0 });
                let device = json!({ "model_identifier": "iPhone14,2", "os": "iOS 26.1" });
                let found = json!({ "runner": "fake 1", "engine": "simulated", "runtime": "none",
                    "simulated": true, "device": device, "compute_units": ["cpu"], "figures": figures });
                self.done(id, found, false, 1)
            }
            _ => self.done(id, json!({}), false, 1),
        }
    }

    fn job(&mut self, id: u64, job: &Job, ask: &Ask) -> Served {
        let known = self.state.lock().unwrap().journal.get(&job.job).cloned();
        match known {
            Some((attempt, Some(result))) => return self.done(id, result, true, attempt),
            Some((attempt, None)) if attempt >= job.attempt => {
                return self.failed(id, Code::Interrupted, true, attempt);
            }
            _ => {}
        }
        let result = match ask {
            Ask::Generate { tokens, prompt, .. } => {
                json!({ "prompt_tokens": prompt.len(), "ids": vec![1; *tokens], "ttft_ms": 1.0,
                    "token_ms": vec![1.0; tokens - 1], "before": {"at_ms": 0.0}, "after": {"at_ms": 1.0} })
            }
            Ask::Score { ids, logits_at, .. } => {
                for position in logits_at {
                    let frame = Frame::Logits { position: *position, values: vec![0.5; 3] };
                    write_frame(&mut self.stream, &frame)?;
                }
                json!({ "nll_nats": vec![1.0; ids.len() - 1], "positions": logits_at, "vocab_size": 3 })
            }
            _ => json!({ "operations": [] }),
        };
        let finished = (self.fault != Fault::Interrupt).then(|| result.clone());
        {
            let mut state = self.state.lock().unwrap();
            state.runs += 1;
            state.journal.insert(job.job.clone(), (job.attempt, finished));
        }
        self.say(&Answer::Progress { id, done: 1, of: 2, unit: "tokens".into() })?;
        match self.fault {
            Fault::CutJob | Fault::Interrupt => Err("cut".into()),
            Fault::SilentJob => self.hang(),
            Fault::EndlessJob => loop {
                self.say(&Answer::Alive)?;
                std::thread::sleep(Duration::from_millis(50));
            },
            _ => self.done(id, result, false, job.attempt),
        }
    }

    fn have(&mut self, id: u64, manifest: Content) -> Served {
        manifest.check().map_err(|(_, what)| what)?;
        let held = {
            let mut state = self.state.lock().unwrap();
            let complete = state.placed.as_deref() == Some(&manifest.package());
            let files = manifest.files.iter().map(|file| {
                let bytes = state.files.entry(file.path.clone()).or_default();
                if bytes.len() < file.size_bytes as usize {
                    bytes.truncate(bytes.len() / MIB * MIB);
                }
                json!({ "path": file.path, "have_bytes": bytes.len() })
            });
            let files: Vec<Value> = files.collect();
            json!({ "complete": complete, "files": if complete { vec![] } else { files } })
        };
        self.state.lock().unwrap().manifest = Some(manifest);
        self.done(id, held, false, 1)
    }

    fn put(&mut self, id: u64, path: String, offset: usize, size: usize) -> Served {
        let mut left = size;
        let mut bytes = self.state.lock().unwrap().files.remove(&path).unwrap_or_default();
        if bytes.len() != offset {
            return self.failed(id, Code::BadRequest, false, 1);
        }
        while left > 0 {
            let read = read_frame(&mut self.stream, MAX_FRAME_BYTES);
            let Ok(Some(Frame::Chunk(chunk))) = read else {
                self.state.lock().unwrap().files.insert(path, bytes);
                return Err("cut".into());
            };
            left -= chunk.len();
            self.taken += chunk.len();
            self.state.lock().unwrap().received += chunk.len();
            bytes.extend(chunk);
            match self.fault {
                Fault::CutAfter(most) if self.taken >= most => {
                    self.state.lock().unwrap().files.insert(path, bytes);
                    return Err("cut".into());
                }
                Fault::FullAfter(most) if self.taken >= most => {
                    self.is_dropping = true;
                    return self.failed(id, Code::NoSpace, false, 1);
                }
                _ => {}
            }
        }
        let mut state = self.state.lock().unwrap();
        let files = &state.manifest.as_ref().unwrap().files;
        let file = files.iter().find(|file| file.path == path).unwrap();
        let is_right = hex(&Sha256::digest(&bytes)) == file.sha256;
        if is_right {
            state.files.insert(path.clone(), bytes);
        }
        drop(state);
        match is_right {
            true => self.done(id, json!({ "path": path, "size_bytes": offset + size }), false, 1),
            false => self.failed(id, Code::Hash, false, 1),
        }
    }
}
