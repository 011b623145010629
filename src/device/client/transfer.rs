//! Sending a package: chunks are read from the disk while earlier ones are sent, and a transfer that
//! was cut resumes with the first byte that the runner lacks.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::answer::Reply;
use super::limits::TimeLimit;
use super::outcome::{ConnectionLost, Finished, RefusedRequest, RequestOutcome};
use super::package::Package;
use super::runner::Runner;
use super::session::Session;
use crate::device::protocol::frame::MAX_CHUNK_BYTES;
use crate::device::protocol::manifest::ManifestFile;
use crate::device::protocol::message::Ask;
use crate::device::protocol::result::Held;
use crate::error::{Error, Result};
use crate::files::open_regular;

/// How many chunks are read ahead.
const READ_AHEAD: usize = 8;
/// The lowest speed at which a device is expected to read, hash and write, in bytes per second. It
/// sets how long a transfer may wait.
const SLOWEST_BYTES_PER_S: u64 = 20_000_000;

/// A package that was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransferReport {
    /// Size of the package.
    pub size_bytes: u64,
    /// Bytes that the runner had before the transfer began.
    pub held_bytes: u64,
    /// Bytes that were sent, including bytes that were sent twice.
    pub sent_bytes: u64,
    /// How often the connection was lost during the transfer.
    pub losses: u32,
    /// Duration of the transfer, commit included.
    pub elapsed: Duration,
}

/// What ended a transfer before its commit.
enum Interruption {
    /// The runner refused.
    Refused(RefusedRequest),
    /// The connection was lost.
    Lost(ConnectionLost),
    /// A file could not be read.
    Failed(Error),
}

impl From<ConnectionLost> for Interruption {
    fn from(lost: ConnectionLost) -> Self {
        Interruption::Lost(lost)
    }
}

impl From<Error> for Interruption {
    fn from(error: Error) -> Self {
        Interruption::Failed(error)
    }
}

impl Runner {
    /// Sends a package and commits it. `on_progress` is called with the bytes that the runner has,
    /// and with the size of the package.
    ///
    /// # Errors
    /// The stop flag was set, or a file cannot be read or has changed.
    pub fn send(
        &mut self,
        package: &Package,
        on_progress: &mut dyn FnMut(u64, u64),
    ) -> Result<RequestOutcome<TransferReport>> {
        let begun = Instant::now();
        let size_bytes = package.manifest.size_bytes();
        let report = TransferReport { size_bytes, ..TransferReport::default() };
        let mut upload =
            Upload { package, report, held_at_start: None, held_bytes: 0, on_progress };
        let mut lost_at = None;
        let mut losses = 0;
        loop {
            let held_before = upload.held_bytes;
            let session = self.session().map_err(Interruption::from);
            let sent = session.and_then(|session| upload.send(session));
            let is_unreached = self.session.is_none();
            let lost = match sent {
                Ok(()) => {
                    let held_bytes = upload.held_at_start.unwrap_or(0);
                    let elapsed = begun.elapsed();
                    let value = TransferReport { held_bytes, elapsed, ..upload.report };
                    let finished = Finished { value, attempt: 1, replayed: false };
                    return Ok(RequestOutcome::Finished(finished));
                }
                Err(Interruption::Refused(refused)) => return Ok(RequestOutcome::Refused(refused)),
                Err(Interruption::Failed(error)) => return Err(error),
                Err(Interruption::Lost(lost)) => lost,
            };
            // What was sent says nothing: a runner that keeps none of it would be sent it for ever.
            if upload.held_bytes > held_before {
                (lost_at, losses) = (None, 0);
            }
            let since = *lost_at.get_or_insert_with(Instant::now);
            self.lose(&lost);
            losses += 1;
            upload.report.losses += 1;
            if !lost.is_temporary() || is_unreached || losses > self.limits.losses {
                return self.gone(lost, since);
            }
        }
    }
}

/// The result of a reply, unless it is a refusal.
fn result_of(reply: Reply) -> Result<Value, Interruption> {
    match reply {
        Reply::Done { result, .. } => Ok(result),
        Reply::Failed(refused) => Err(Interruption::Refused(refused)),
    }
}

struct Upload<'a> {
    package: &'a Package,
    report: TransferReport,
    /// Bytes that the runner had when it was first asked.
    held_at_start: Option<u64>,
    /// The most bytes that the runner had when it was asked.
    held_bytes: u64,
    on_progress: &'a mut dyn FnMut(u64, u64),
}

impl Upload<'_> {
    /// Sends over one session what the runner lacks, and commits.
    fn send(&mut self, session: &mut Session) -> Result<(), Interruption> {
        let size_bytes = self.report.size_bytes;
        let work_limit = Duration::from_secs(size_bytes / SLOWEST_BYTES_PER_S);
        let limit = session.request_limit() + work_limit;
        let have = Ask::Have { manifest: self.package.manifest.clone() };
        let held = result_of(session.ask(&have, TimeLimit::from_now(limit))?)?;
        let held: Held = serde_json::from_value(held).map_err(ConnectionLost::violation)?;
        if held.complete {
            self.held_at_start.get_or_insert(size_bytes);
            (self.on_progress)(size_bytes, size_bytes);
            return Ok(());
        }
        let offsets = self.offsets(&held).map_err(ConnectionLost::violation)?;
        let mut there = offsets.iter().sum();
        self.held_at_start.get_or_insert(there);
        self.held_bytes = self.held_bytes.max(there);
        for (file, offset) in self.package.manifest.files.iter().zip(offsets) {
            (self.on_progress)(there, size_bytes);
            if offset < file.size_bytes {
                result_of(self.put(session, file, offset, &mut there)??)?;
            }
        }
        let commit = Ask::Commit { package: self.package.name.clone() };
        result_of(session.ask(&commit, TimeLimit::from_now(limit))?).map(|_| ())
    }

    /// Where in each file the transfer resumes, in the manifest's order.
    fn offsets(&self, held: &Held) -> Result<Vec<u64>, String> {
        let held: HashMap<&str, u64> =
            held.files.iter().map(|file| (file.path.as_str(), file.have_bytes)).collect();
        let offset = |file: &ManifestFile| {
            let have = held.get(file.path.as_str()).copied().unwrap_or(0);
            let is_whole_chunks = have.is_multiple_of(MAX_CHUNK_BYTES as u64);
            if have > file.size_bytes || (have < file.size_bytes && !is_whole_chunks) {
                let (path, size) = (&file.path, file.size_bytes);
                return Err(format!("it claims to have {have} of the {size} bytes of {path:?}"));
            }
            Ok(have)
        };
        self.package.manifest.files.iter().map(offset).collect()
    }

    /// Sends a file from `offset_bytes` on, and adds to `there` what was sent.
    fn put(
        &mut self,
        session: &mut Session,
        file: &ManifestFile,
        offset_bytes: u64,
        there: &mut u64,
    ) -> Result<Result<Reply, ConnectionLost>> {
        let place = self.package.folder.join(&file.path);
        let size_bytes = file.size_bytes - offset_bytes;
        let ask = Ask::Put {
            package: self.package.name.clone(),
            path: file.path.clone(),
            offset_bytes,
            size_bytes,
        };
        let (give, take) = sync_channel(READ_AHEAD);
        let all = self.report.size_bytes;
        let (sent, on_progress) = (&mut self.report.sent_bytes, &mut self.on_progress);
        std::thread::scope(|scope| {
            let place = &place;
            scope.spawn(move || {
                if let Err(error) = read_chunks(place, offset_bytes, size_bytes, &give) {
                    // If the receiver is gone, the transfer has failed already.
                    let _ = give.send(Err(error));
                }
            });
            // `take` is moved into the closure, so that it is dropped before the scope waits for
            // the reading thread.
            let mut next = move || take.recv().map_or(Ok(None), |chunk| chunk.map(Some));
            session.put(&ask, &mut next, &mut |bytes| {
                *sent += bytes;
                *there += bytes;
                on_progress(*there, all);
            })
        })
    }
}

/// Reads a file in chunks, and gives them to a channel until the file ends or nobody takes them.
fn read_chunks(
    place: &Path,
    offset: u64,
    size: u64,
    give: &SyncSender<Result<Vec<u8>>>,
) -> Result<()> {
    let failed = |error| Error::io("read", place, error);
    let changed = || {
        Error::input("the file changed while it was sent")
            .at(place.display())
            .hint("send the package again, and do not change it meanwhile")
    };
    let (mut file, found) = open_regular("read", place)?;
    if found.len() != offset + size {
        return Err(changed());
    }
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    let mut left = size;
    while left > 0 {
        let mut chunk = vec![0; left.min(MAX_CHUNK_BYTES as u64) as usize];
        file.read_exact(&mut chunk).map_err(|_| changed())?;
        left -= chunk.len() as u64;
        if give.send(Ok(chunk)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
