//! One session: requests in, one after the other, each answered once.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::jobs::PROGRESS;
use super::journal::Outcome;
use super::store::{Receiving, disk};
use super::wire::{Patient, Wire};
use super::{Host, lock};
use crate::device::protocol::content::Refused;
use crate::device::protocol::frame::{Frame, MAX_FRAME_BYTES, read_frame};
use crate::device::protocol::message;
use crate::device::protocol::message::{Answer, Ask, Code, Request};
use crate::device::protocol::result::{Listing, Scored};
use crate::error::Exit;

/// Frames that wait for the session.
const WAITING: usize = 2;
/// Time between two signs of life.
const ALIVE: Duration = Duration::from_secs(1);
/// The largest id: 2^53 - 1.
const MAX_ID: u64 = (1 << 53) - 1;

/// What comes from the connection.
enum Event {
    Frame(Frame, Instant),
    /// Something that is no frame; nothing can be read after it.
    Bad(String),
    /// The other side is gone.
    End,
}

/// Whether the session goes on.
enum Next {
    On,
    /// The connection closes with these words.
    BadFrame(String),
    End,
}

/// The end of a session that was welcomed.
pub(super) struct Session {
    host: Arc<Host>,
    wire: Arc<Wire>,
    events: Receiver<Event>,
    /// Whether chunks of a put that failed may still come.
    dropping: bool,
}

/// Serves a client that was welcomed, until either side ends it.
pub(super) fn serve(host: &Arc<Host>, wire: &Arc<Wire>, mut input: Patient) {
    let (frames, events) = sync_channel(WAITING);
    let mut read = move || {
        loop {
            input.within = false;
            let event = match read_frame(&mut input, MAX_FRAME_BYTES) {
                Ok(Some(frame)) => Event::Frame(frame, Instant::now()),
                Err(error) if error.exit() == Exit::Input => Event::Bad(error.cause()),
                Ok(None) | Err(_) => Event::End,
            };
            let is_last = !matches!(event, Event::Frame(..));
            if frames.send(event).is_err() || is_last {
                break;
            }
        }
    };
    let gone = Arc::clone(wire);
    let read = move || {
        read();
        // Whoever waits for a job waits no longer.
        gone.left();
    };
    let alive = Arc::clone(wire);
    let (stop, stopped) = channel::<()>();
    let live = move || {
        while stopped.recv_timeout(ALIVE) == Err(RecvTimeoutError::Timeout) {
            if !alive.answer(&Answer::Alive) {
                break;
            }
        }
    };
    let threads = [("read", Box::new(read) as Box<dyn FnOnce() + Send>), ("alive", Box::new(live))];
    for (name, work) in threads {
        if std::thread::Builder::new().name(name.into()).spawn(work).is_err() {
            return;
        }
    }
    let (host, wire) = (Arc::clone(host), Arc::clone(wire));
    Session { host, wire, events, dropping: false }.run();
    drop(stop);
}

impl Session {
    fn run(mut self) {
        loop {
            let next = match self.events.recv() {
                Ok(Event::Frame(frame, arrived)) => self.frame(frame, arrived),
                Ok(Event::Bad(what)) => Next::BadFrame(what),
                Ok(Event::End) | Err(_) => Next::End,
            };
            match next {
                Next::On => {}
                Next::BadFrame(what) => {
                    self.fail(0, (Code::BadFrame, what));
                    self.wire.linger();
                    break;
                }
                Next::End => break,
            }
        }
        self.wire.give_up();
        lock(&self.host.store).end_session();
    }

    fn frame(&mut self, frame: Frame, arrived: Instant) -> Next {
        match &frame {
            Frame::Chunk(_) if self.dropping => return Next::On,
            Frame::Chunk(_) => return Next::BadFrame("a chunk without a put".into()),
            Frame::Logits { .. } => return Next::BadFrame("logits from a client".into()),
            Frame::Control(_) => self.dropping = false,
        }
        let fields: Map<String, Value> = match message(&frame) {
            Ok(fields) => fields,
            Err(error) => return Next::BadFrame(error.cause()),
        };
        let id = fields.get("id").and_then(Value::as_u64);
        let Some(id) = id.filter(|id| (1..=MAX_ID).contains(id)) else {
            let what = "id: expected a number from 1 to 2^53 - 1";
            return self.fail(0, (Code::BadRequest, what.into()));
        };
        let Some(kind) = fields.get("type").and_then(Value::as_str).map(str::to_owned) else {
            return self.fail(id, (Code::BadRequest, "type: expected a string".into()));
        };
        match serde_json::from_value::<Request>(Value::Object(fields)) {
            Ok(request) => self.request(id, request.ask, arrived),
            Err(_) if !is_known(&kind) => {
                let what = format!("{kind:.80?}: not a type of request that this runner knows");
                self.fail(id, (Code::UnknownType, what))
            }
            Err(error) => self.fail(id, (Code::BadRequest, format!("{kind}: {error}"))),
        }
    }

    fn request(&mut self, id: u64, ask: Ask, arrived: Instant) -> Next {
        if let Some(job) = ask.job().cloned() {
            return self.job(id, &ask, &job, arrived);
        }
        let host = Arc::clone(&self.host);
        let is_busy = lock(&host.jobs).is_busy();
        if is_busy && !matches!(ask, Ask::Describe | Ask::Sample) {
            self.dropping = matches!(ask, Ask::Put { .. });
            return self.fail(id, (Code::Busy, "a job is running".into()));
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
                host.end();
                return Next::End;
            }
            Ask::Load { .. } | Ask::Generate { .. } | Ask::Score { .. } | Ask::Plan { .. } => {
                Err((Code::BadRequest, "a job without its name".into()))
            }
        };
        match answer {
            Ok(result) => self.done(id, result),
            Err(refused) => self.fail(id, refused),
        }
    }

    /// Receives what a `put` announced.
    fn put(&mut self, id: u64, path: &str, begun: Result<Option<Receiving>, Refused>) -> Next {
        let mut receiving = match begun {
            Ok(Some(receiving)) => receiving,
            Ok(None) => return self.done(id, json!({ "path": path, "size_bytes": 0 })),
            Err(refused) => {
                self.dropping = true;
                return self.fail(id, refused);
            }
        };
        self.wire.owe(true);
        let mut told = Instant::now();
        let mut next = Next::On;
        while !receiving.is_over() {
            match self.events.recv() {
                Ok(Event::Frame(Frame::Chunk(bytes), _)) => receiving.chunk(bytes),
                Ok(Event::Frame(..)) => next = Next::BadFrame("another frame within a put".into()),
                Ok(Event::Bad(what)) => next = Next::BadFrame(what),
                Ok(Event::End) | Err(_) => next = Next::End,
            }
            if !matches!(next, Next::On) {
                receiving.stop((Code::BadFrame, "the put did not come to its end".into()));
            } else if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let (done, of) = receiving.progress();
                let unit = "bytes".to_owned();
                self.wire.answer(&Answer::Progress { id, done, of, unit });
            }
        }
        self.wire.owe(false);
        let received = lock(&self.host.store).received(receiving);
        match (next, received) {
            (Next::On, Ok(size)) => self.done(id, json!({ "path": path, "size_bytes": size })),
            (Next::On, Err(refused)) => {
                self.dropping = true;
                self.fail(id, refused)
            }
            (next, _) => next,
        }
    }

    fn job(
        &mut self,
        id: u64,
        ask: &Ask,
        job: &crate::device::protocol::message::Job,
        arrived: Instant,
    ) -> Next {
        let wire = Arc::clone(&self.wire);
        let mut tell = |done: u64, of: u64| {
            if of > 0 {
                wire.answer(&Answer::Progress { id, done, of, unit: "tokens".into() });
            }
            !wire.is_left()
        };
        let Some(answered) = self.host.answer(ask, job, arrived, &mut tell) else {
            return Next::End;
        };
        let (replayed, attempt) = (answered.replayed, answered.attempt);
        let failed = |(code, message)| Answer::Failed { id, code, message, replayed, attempt };
        let answer = match answered.outcome {
            Outcome::Failed { code, message } => failed((code, message)),
            Outcome::Done(result) => {
                let sent = match ask {
                    Ask::Score { .. } => self.logits(&job.job, &result),
                    _ => Ok(()),
                };
                match sent {
                    Ok(()) => Answer::Done { id, result, replayed, attempt },
                    Err(refused) => failed(refused),
                }
            }
        };
        self.wire.answer(&answer);
        Next::On
    }

    /// Sends the logits that a job kept.
    fn logits(&self, job: &str, result: &Value) -> Result<(), Refused> {
        use std::io::Read;
        let bug = |e: serde_json::Error| (Code::Io, format!("a result that cannot be read: {e}"));
        let scored: Scored = serde_json::from_value(result.clone()).map_err(bug)?;
        if scored.positions.is_empty() {
            return Ok(());
        }
        let path = lock(&self.host.jobs).journal().logits(job);
        let failed = |e| disk::fault("read", &path, &e);
        let mut file = disk::open(&path, File::options().read(true)).map_err(failed)?;
        let mut bytes = vec![0; scored.vocab_size.min(MAX_FRAME_BYTES / 4) * 4];
        for position in scored.positions {
            file.read_exact(&mut bytes).map_err(failed)?;
            let (values, _) = bytes.as_chunks::<4>();
            let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            self.wire.send(&Frame::Logits { position, values });
        }
        Ok(())
    }

    fn done(&self, id: u64, result: Value) -> Next {
        self.wire.answer(&Answer::Done { id, result, replayed: false, attempt: 1 });
        Next::On
    }

    fn fail(&self, id: u64, (code, message): Refused) -> Next {
        self.wire.answer(&Answer::Failed { id, code, message, replayed: false, attempt: 1 });
        Next::On
    }
}

/// Whether this version has requests of such a type.
fn is_known(kind: &str) -> bool {
    const KNOWN: [&str; 13] = [
        "describe", "list", "have", "put", "commit", "evict", "load", "generate", "score", "plan",
        "sample", "unload", "exit",
    ];
    KNOWN.contains(&kind)
}
