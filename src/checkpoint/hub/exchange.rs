//! One request and its reply, on a thread of their own, so that a download that waits for them can
//! be stopped at any time and keeps its own limits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::{HeaderMap, Response};

use super::failure::Failure;
use super::limits::{Limits, POLL};
use super::watch::{Event, Watch};
use crate::error::Error;

const BLOCK_BYTES: usize = 128 << 10;
/// How many blocks may wait to be written.
const BLOCKS_AHEAD: usize = 8;

/// What is asked.
pub struct Request {
    /// Where.
    pub address: String,
    /// The value of the header `range`.
    pub range: Option<String>,
    /// The value of the header `authorization`.
    pub authorization: Option<String>,
}

/// A reply whose headers have arrived.
pub struct Exchange {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    parts: Receiver<Part>,
    last: Instant,
    slow_since: Instant,
    slow_bytes: u64,
}

/// What the thread hands over.
enum Part {
    Head(u16, HeaderMap),
    Block(Vec<u8>),
    End,
    Failed(ureq::Error),
}

impl Exchange {
    /// Sends the request and waits for the headers of the reply.
    ///
    /// # Errors
    /// A connection that failed or is too slow; interruption.
    pub fn begin(
        agent: &ureq::Agent,
        request: Request,
        limits: &Limits,
        watch: Watch<'_>,
    ) -> Result<Self, Failure> {
        let (send, parts) = sync_channel(BLOCKS_AHEAD);
        let agent = agent.clone();
        std::thread::Builder::new()
            .name("hub".into())
            .spawn(move || exchange(&agent, request, &send))
            .map_err(|e| Error::surroundings("cannot start a thread").because(e))?;
        let most = limits.connect + limits.headers;
        match wait(&parts, Instant::now() + most, watch)? {
            Some(Part::Head(status, headers)) => {
                let now = Instant::now();
                Ok(Exchange { status, headers, parts, last: now, slow_since: now, slow_bytes: 0 })
            }
            Some(Part::Failed(cause)) => Err(Failure::of_request(cause)),
            Some(_) => Err(Error::bug("a reply began with its body").into()),
            None => Err(Failure::connection(format!("no reply within {}", seconds(most)))),
        }
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// A connection that failed, stalled or is too slow; interruption.
    pub fn next(&mut self, limits: &Limits, watch: Watch<'_>) -> Result<Option<Vec<u8>>, Failure> {
        match wait(&self.parts, self.last + limits.stall, watch)? {
            Some(Part::Block(block)) => {
                self.last = Instant::now();
                self.slow_bytes += block.len() as u64;
                if self.slow_bytes >= limits.slow_bytes {
                    (self.slow_bytes, self.slow_since) = (0, self.last);
                } else if self.last - self.slow_since > limits.slow {
                    let (found, time) = (self.slow_bytes, seconds(limits.slow));
                    let what = format!("the server is too slow: {found} bytes in {time}");
                    return Err(Failure::connection(what));
                }
                Ok(Some(block))
            }
            Some(Part::End) => Ok(None),
            Some(Part::Failed(cause)) => Err(Failure::of_request(cause)),
            Some(Part::Head(..)) => Err(Error::bug("a reply has two heads").into()),
            None => {
                let time = seconds(limits.stall);
                Err(Failure::connection(format!("the server sent nothing for {time}")))
            }
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// The next part; `None` if there is none at `end`.
fn wait(parts: &Receiver<Part>, end: Instant, watch: Watch<'_>) -> Result<Option<Part>, Failure> {
    loop {
        match parts.recv_timeout(POLL) {
            Ok(part) => return Ok(Some(part)),
            Err(RecvTimeoutError::Timeout) => {
                watch(Event::Waiting)?;
                if Instant::now() >= end {
                    return Ok(None);
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::bug("the thread of a request ended early").into());
            }
        }
    }
}

/// Sends the request and hands over the reply. Ends when nobody receives it any more.
fn exchange(agent: &ureq::Agent, request: Request, send: &SyncSender<Part>) {
    match call(agent, request) {
        // An error only means that nobody receives any more.
        Err(cause) => drop(send.send(Part::Failed(cause))),
        Ok(response) => {
            let (head, body) = response.into_parts();
            if send.send(Part::Head(head.status.as_u16(), head.headers)).is_ok() {
                hand_over(body, send);
            }
        }
    }
}

fn call(agent: &ureq::Agent, request: Request) -> Result<Response<Body>, ureq::Error> {
    // Tags and lengths are those of the file only if it is not compressed.
    let mut call = agent.get(&request.address).header("accept-encoding", "identity");
    if let Some(range) = request.range {
        call = call.header("range", range);
    }
    if let Some(authorization) = request.authorization {
        call = call.header("authorization", authorization);
    }
    call.call()
}

fn hand_over(body: Body, send: &SyncSender<Part>) {
    use std::io::Read;
    let mut reader = body.into_reader();
    loop {
        let mut block = vec![0; BLOCK_BYTES];
        let part = match reader.read(&mut block) {
            Ok(0) => Part::End,
            Ok(count) => {
                block.truncate(count);
                Part::Block(block)
            }
            Err(cause) => Part::Failed(cause.into()),
        };
        let is_last = !matches!(part, Part::Block(_));
        if send.send(part).is_err() || is_last {
            return;
        }
    }
}
