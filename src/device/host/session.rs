//! One session: requests come in, one after the other, and each is answered once.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::client_stream::{ClientReader, ClientWriter};
use super::journal::JobOutcome;
use super::locks::lock;
use super::progress::PROGRESS_INTERVAL;
use super::shared::Host;
use super::store::{Receiving, disk};
use crate::device::protocol::code::{Code, Refusal};
use crate::device::protocol::frame::{Frame, MAX_FRAME_BYTES, read_frame};
use crate::device::protocol::message;
use crate::device::protocol::message::{Answer, Ask, Job, Request};
use crate::device::protocol::result::{Listing, Scored};
use crate::error::Exit;

/// How many frames may wait between the reading thread and the session.
const WAITING: usize = 2;
/// Interval between two `alive` messages.
const ALIVE: Duration = Duration::from_secs(1);
/// The largest id: 2^53 - 1.
const MAX_ID: u64 = (1 << 53) - 1;

/// What comes from the connection.
enum SessionInput {
    /// A frame, and when it arrived.
    Frame(Frame, Instant),
    /// Bytes that are not a valid frame; nothing can be read after them.
    BadFrame(String),
    /// The client is gone.
    End,
}

/// Whether the session goes on after a frame.
enum AfterFrame {
    Continue,
    /// The connection is closed with this explanation.
    BadFrame(String),
    End,
}

/// The runner's side of a session.
struct HostSession {
    host: Arc<Host>,
    writer: Arc<ClientWriter>,
    input: Receiver<SessionInput>,
    /// Whether chunks of a `put` that failed may still come; they are dropped.
    is_dropping: bool,
}

/// Serves a client that was welcomed, until either side ends the session.
pub(super) fn serve(host: &Arc<Host>, writer: &Arc<ClientWriter>, mut input: ClientReader) {
    let (frames, received) = sync_channel(WAITING);
    let gone = Arc::clone(writer);
    let read = move || {
        loop {
            input.within_frame = false;
            let event = match read_frame(&mut input, MAX_FRAME_BYTES) {
                Ok(Some(frame)) => SessionInput::Frame(frame, Instant::now()),
                Err(error) if error.exit() == Exit::Input => SessionInput::BadFrame(error.cause()),
                Ok(None) | Err(_) => SessionInput::End,
            };
            let is_last = !matches!(event, SessionInput::Frame(..));
            if frames.send(event).is_err() || is_last {
                break;
            }
        }
        // Ends the wait for a job that is running.
        gone.set_left();
    };
    let alive = Arc::clone(writer);
    let (stop, stopped) = channel::<()>();
    let say_alive = move || {
        while stopped.recv_timeout(ALIVE) == Err(RecvTimeoutError::Timeout) {
            if !alive.answer(&Answer::Alive) {
                break;
            }
        }
    };
    let threads =
        [("read", Box::new(read) as Box<dyn FnOnce() + Send>), ("alive", Box::new(say_alive))];
    for (name, work) in threads {
        if std::thread::Builder::new().name(name.into()).spawn(work).is_err() {
            return;
        }
    }
    let (host, writer) = (Arc::clone(host), Arc::clone(writer));
    HostSession { host, writer, input: received, is_dropping: false }.run();
    drop(stop);
}

impl HostSession {
    fn run(mut self) {
        loop {
            let next = match self.input.recv() {
                Ok(SessionInput::Frame(frame, arrived)) => self.frame(frame, arrived),
                Ok(SessionInput::BadFrame(what)) => AfterFrame::BadFrame(what),
                Ok(SessionInput::End) | Err(_) => AfterFrame::End,
            };
            match next {
                AfterFrame::Continue => {}
                AfterFrame::BadFrame(what) => {
                    self.fail(0, Refusal::new(Code::BadFrame, what));
                    self.writer.drain();
                    break;
                }
                AfterFrame::End => break,
            }
        }
        self.writer.give_up();
        lock(&self.host.store).end_session();
    }

    fn frame(&mut self, frame: Frame, arrived: Instant) -> AfterFrame {
        match &frame {
            Frame::Chunk(_) if self.is_dropping => return AfterFrame::Continue,
            Frame::Chunk(_) => return AfterFrame::BadFrame("a chunk came without a put".into()),
            Frame::Logits { .. } => {
                return AfterFrame::BadFrame("logits came from a client".into());
            }
            Frame::Control(_) => self.is_dropping = false,
        }
        let fields: Map<String, Value> = match message(&frame) {
            Ok(fields) => fields,
            Err(error) => return AfterFrame::BadFrame(error.cause()),
        };
        let id = fields.get("id").and_then(Value::as_u64);
        let Some(id) = id.filter(|id| (1..=MAX_ID).contains(id)) else {
            let what = "id: expected a number from 1 to 2^53 - 1";
            return self.fail(0, Refusal::new(Code::BadRequest, what));
        };
        let Some(kind) = fields.get("type").and_then(Value::as_str).map(str::to_owned) else {
            return self.fail(id, Refusal::new(Code::BadRequest, "type: expected a string"));
        };
        match serde_json::from_value::<Request>(Value::Object(fields)) {
            Ok(request) => self.request(id, request.ask, arrived),
            Err(_) if !is_known(&kind) => {
                let what = format!("this runner does not know requests of type {kind:.80?}");
                self.fail(id, Refusal::new(Code::UnknownType, what))
            }
            Err(error) => self.fail(id, Refusal::new(Code::BadRequest, format!("{kind}: {error}"))),
        }
    }

    fn request(&mut self, id: u64, ask: Ask, arrived: Instant) -> AfterFrame {
        if let Some(job) = ask.job().cloned() {
            return self.job(id, &ask, &job, arrived);
        }
        let host = Arc::clone(&self.host);
        let is_busy = lock(&host.jobs).running.is_some();
        if is_busy && !matches!(ask, Ask::Describe | Ask::Sample) {
            self.is_dropping = matches!(ask, Ask::Put { .. });
            return self.fail(id, Refusal::new(Code::Busy, "a job is running"));
        }
        let answer = match ask {
            Ask::Describe => Ok(json!(host.machine.describe(&host.kind, &host.root))),
            Ask::Sample => Ok(json!(host.machine.figures(0.0))),
            Ask::List => {
                let packages = lock(&host.store).list(host.loaded_package().as_deref());
                Ok(json!(Listing { packages }))
            }
            Ask::Have { manifest } => {
                let loaded = host.loaded_package();
                lock(&host.store).have(&manifest, loaded.as_deref()).map(|held| json!(held))
            }
            Ask::Put { package, path, offset_bytes, size_bytes } => {
                let begun = lock(&host.store).receive(&package, &path, offset_bytes, size_bytes);
                return self.put(id, &path, begun);
            }
            Ask::Commit { package } => {
                lock(&host.store).commit(&package).map(|()| json!({ "package": package }))
            }
            Ask::Evict { package } => {
                let loaded = host.loaded_package();
                let freed = lock(&host.store).evict(&package, loaded.as_deref());
                freed.map(|freed| json!({ "freed_bytes": freed }))
            }
            Ask::Unload => {
                *lock(&host.loaded) = None;
                lock(&host.engine).unload();
                Ok(json!({}))
            }
            Ask::Exit => {
                self.done(id, json!({}));
                host.exit();
                return AfterFrame::End;
            }
            Ask::Load { .. } | Ask::Generate { .. } | Ask::Score { .. } | Ask::Plan { .. } => {
                Err(Refusal::new(Code::BadRequest, "expected a job with an id"))
            }
        };
        match answer {
            Ok(result) => self.done(id, result),
            Err(refusal) => self.fail(id, refusal),
        }
    }

    /// Receives the chunks that a `put` announced.
    fn put(
        &mut self,
        id: u64,
        path: &str,
        begun: Result<Option<Receiving>, Refusal>,
    ) -> AfterFrame {
        let mut receiving = match begun {
            Ok(Some(receiving)) => receiving,
            Ok(None) => return self.done(id, json!({ "path": path, "size_bytes": 0 })),
            Err(refusal) => {
                self.is_dropping = true;
                return self.fail(id, refusal);
            }
        };
        self.writer.set_owed(true);
        let mut reported = Instant::now();
        let mut next = AfterFrame::Continue;
        while !receiving.is_over() {
            match self.input.recv() {
                Ok(SessionInput::Frame(Frame::Chunk(bytes), _)) => receiving.chunk(bytes),
                Ok(SessionInput::Frame(..)) => {
                    next = AfterFrame::BadFrame("another frame came within a put".into());
                }
                Ok(SessionInput::BadFrame(what)) => next = AfterFrame::BadFrame(what),
                Ok(SessionInput::End) | Err(_) => next = AfterFrame::End,
            }
            if !matches!(next, AfterFrame::Continue) {
                receiving.stop(Refusal::new(Code::BadFrame, "the put was cut off"));
            } else if reported.elapsed() >= PROGRESS_INTERVAL {
                reported = Instant::now();
                let (done, of) = receiving.progress();
                let unit = "bytes".to_owned();
                self.writer.answer(&Answer::Progress { id, done, of, unit });
            }
        }
        self.writer.set_owed(false);
        let received = lock(&self.host.store).received(receiving);
        match (next, received) {
            (AfterFrame::Continue, Ok(size)) => {
                self.done(id, json!({ "path": path, "size_bytes": size }))
            }
            (AfterFrame::Continue, Err(refusal)) => {
                self.is_dropping = true;
                self.fail(id, refusal)
            }
            (next, _) => next,
        }
    }

    fn job(&mut self, id: u64, ask: &Ask, job: &Job, arrived: Instant) -> AfterFrame {
        let writer = Arc::clone(&self.writer);
        let mut on_progress = |done: u64, of: u64| {
            if of > 0 {
                writer.answer(&Answer::Progress { id, done, of, unit: "tokens".into() });
            }
            !writer.is_left()
        };
        let Some(job_answer) = self.host.answer(ask, job, arrived, &mut on_progress) else {
            return AfterFrame::End;
        };
        let (replayed, attempt) = (job_answer.replayed, job_answer.attempt);
        let result = match job_answer.outcome {
            JobOutcome::Failed(refusal) => Err(refusal),
            JobOutcome::Done(result) => match ask {
                Ask::Score { .. } => self.logits(&job.job, &result).map(|()| result),
                _ => Ok(result),
            },
        };
        self.writer.answer(&match result {
            Ok(result) => Answer::Done { id, result, replayed, attempt },
            Err(Refusal { code, message }) => {
                Answer::Failed { id, code, message, replayed, attempt }
            }
        });
        AfterFrame::Continue
    }

    /// Sends the logits that a job wrote to its file.
    fn logits(&self, job: &str, result: &Value) -> Result<(), Refusal> {
        let invalid = |error: serde_json::Error| {
            Refusal::new(Code::Io, format!("the result in the journal is invalid: {error}"))
        };
        let scored: Scored = serde_json::from_value(result.clone()).map_err(invalid)?;
        if scored.positions.is_empty() {
            return Ok(());
        }
        let path = lock(&self.host.jobs).journal.logits(job);
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                let what = "the logits of this job were removed to make room; ask under a new job";
                Refusal::new(Code::Io, what)
            }
            _ => disk::io_refusal("read", &path, &error),
        };
        let mut file = disk::open(&path, File::options().read(true)).map_err(failed)?;
        let mut bytes = vec![0; scored.vocab_size.min(MAX_FRAME_BYTES / 4) * 4];
        for position in scored.positions {
            file.read_exact(&mut bytes).map_err(failed)?;
            let (values, _) = bytes.as_chunks::<4>();
            let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            self.writer.send(&Frame::Logits { position, values });
        }
        Ok(())
    }

    fn done(&self, id: u64, result: Value) -> AfterFrame {
        self.writer.answer(&Answer::Done { id, result, replayed: false, attempt: 1 });
        AfterFrame::Continue
    }

    fn fail(&self, id: u64, refusal: Refusal) -> AfterFrame {
        let Refusal { code, message } = refusal;
        self.writer.answer(&Answer::Failed { id, code, message, replayed: false, attempt: 1 });
        AfterFrame::Continue
    }
}

/// Whether this version knows requests of this type.
fn is_known(kind: &str) -> bool {
    const KNOWN: [&str; 13] = [
        "describe", "list", "have", "put", "commit", "evict", "load", "generate", "score", "plan",
        "sample", "unload", "exit",
    ];
    KNOWN.contains(&kind)
}
