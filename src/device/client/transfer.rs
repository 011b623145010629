//! Sending a package: files are read while their predecessors are sent, and a cut connection goes
//! on where the runner's files end.

use std::collections::HashMap;
use std::fs::File as Disk;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::outcome::{Finished, Lost, Outcome, Refused};
use super::package::Package;
use super::session::{Reply, Session};
use super::{Runner, hearing};
use crate::device::protocol::content::File;
use crate::device::protocol::frame::MAX_CHUNK_BYTES;
use crate::device::protocol::message::Ask;
use crate::device::protocol::result::Held;
use crate::error::{Error, Result};

/// Chunks that are read ahead.
const READ_AHEAD: usize = 8;
/// The slowest that a device may read, hash or write, in bytes per second: what bounds waiting.
const SLOWEST: u64 = 20_000_000;

/// A package that was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Its bytes.
    pub size_bytes: u64,
    /// Those that the runner held before the first was sent.
    pub held_bytes: u64,
    /// Those that were sent, bytes that were sent again included.
    pub sent_bytes: u64,
    /// How often the connection was lost on the way.
    pub losses: u32,
    /// How long it took, commit included.
    pub elapsed: Duration,
}

/// How one try ended.
enum Try {
    InPlace,
    Refused(Refused),
    Lost(Lost),
}

impl Runner {
    /// Sends a package and puts it in place; `hear` is told of bytes that are there, of all.
    ///
    /// # Errors
    /// The stop flag; files that cannot be read or have changed.
    pub fn send(
        &mut self,
        package: &Package,
        hear: &mut dyn FnMut(u64, u64),
    ) -> Result<Outcome<Sent>> {
        let begun = Instant::now();
        let mut sending = Sending {
            package,
            sent: Sent { size_bytes: package.content.size_bytes(), ..Sent::default() },
            is_begun: false,
            hear,
        };
        let mut lost_at = None;
        let mut losses = 0;
        loop {
            let sent_before = sending.sent.sent_bytes;
            let tried = match self.session() {
                Ok(session) => sending.go(session)?,
                Err(lost) => Try::Lost(lost),
            };
            let is_unreached = self.session.is_none();
            let lost = match tried {
                Try::Refused(refused) => return Ok(Outcome::Refused(refused)),
                Try::Lost(lost) => lost,
                Try::InPlace => {
                    let value = Sent { elapsed: begun.elapsed(), ..sending.sent };
                    return Ok(Outcome::Finished(Finished { value, attempt: 1, replayed: false }));
                }
            };
            if sending.sent.sent_bytes > sent_before {
                (lost_at, losses) = (None, 0);
            }
            let since = *lost_at.get_or_insert_with(Instant::now);
            self.lose(&lost);
            losses += 1;
            sending.sent.losses += 1;
            if !lost.is_passing() || is_unreached || losses > self.limits.losses {
                return self.gone(lost, since);
            }
        }
    }
}

struct Sending<'a> {
    package: &'a Package,
    sent: Sent,
    is_begun: bool,
    hear: &'a mut dyn FnMut(u64, u64),
}

impl Sending<'_> {
    /// Over one session: what is missing, then the commit.
    fn go(&mut self, session: &mut Session) -> Result<Try> {
        let patience = session.request_limit() + self.work_limit();
        let have = Ask::Have { manifest: self.package.content.clone() };
        let held: Held = match session.ask(&have, patience, &mut |_| ()) {
            Ok(Reply::Done { result, .. }) => match serde_json::from_value(result) {
                Ok(held) => held,
                Err(error) => return Ok(Try::Lost(hearing::garbled(error.to_string()))),
            },
            Ok(Reply::Failed(refused)) => return Ok(Try::Refused(refused)),
            Err(lost) => return Ok(Try::Lost(lost)),
        };
        let size_bytes = self.sent.size_bytes;
        if held.complete {
            self.begin(size_bytes);
            (self.hear)(size_bytes, size_bytes);
            return Ok(Try::InPlace);
        }
        let offsets = match self.offsets(&held) {
            Ok(offsets) => offsets,
            Err(what) => return Ok(Try::Lost(hearing::garbled(what))),
        };
        let mut there = offsets.iter().sum();
        self.begin(there);
        for (file, offset) in self.package.content.files.iter().zip(offsets) {
            (self.hear)(there, size_bytes);
            if offset == file.size_bytes {
                continue;
            }
            match self.put(session, file, offset, &mut there)? {
                Ok(Reply::Done { .. }) => {}
                Ok(Reply::Failed(refused)) => return Ok(Try::Refused(refused)),
                Err(lost) => return Ok(Try::Lost(lost)),
            }
        }
        let commit = Ask::Commit { package: self.package.name.clone() };
        Ok(match session.ask(&commit, patience, &mut |_| ()) {
            Ok(Reply::Done { .. }) => Try::InPlace,
            Ok(Reply::Failed(refused)) => Try::Refused(refused),
            Err(lost) => Try::Lost(lost),
        })
    }

    fn begin(&mut self, held_bytes: u64) {
        if !self.is_begun {
            self.is_begun = true;
            self.sent.held_bytes = held_bytes;
        }
    }

    fn work_limit(&self) -> Duration {
        Duration::from_secs(self.sent.size_bytes / SLOWEST)
    }

    /// Where each file goes on.
    fn offsets(&self, held: &Held) -> Result<Vec<u64>, String> {
        let held: HashMap<&str, u64> =
            held.files.iter().map(|file| (file.path.as_str(), file.have_bytes)).collect();
        let offset = |file: &File| {
            let have = held.get(file.path.as_str()).copied().unwrap_or(0);
            let is_whole = have.is_multiple_of(MAX_CHUNK_BYTES as u64);
            if have > file.size_bytes || (have < file.size_bytes && !is_whole) {
                let (path, size) = (&file.path, file.size_bytes);
                return Err(format!("it holds {have} bytes of {path:?}, which has {size}"));
            }
            Ok(have)
        };
        self.package.content.files.iter().map(offset).collect()
    }

    fn put(
        &mut self,
        session: &mut Session,
        file: &File,
        offset_bytes: u64,
        there: &mut u64,
    ) -> Result<Result<Reply, Lost>> {
        let place = self.package.folder.join(&file.path);
        let size_bytes = file.size_bytes - offset_bytes;
        let ask = Ask::Put {
            package: self.package.name.clone(),
            path: file.path.clone(),
            offset_bytes,
            size_bytes,
        };
        let (give, take) = sync_channel(READ_AHEAD);
        let all = self.sent.size_bytes;
        let (sent, hear) = (&mut self.sent.sent_bytes, &mut self.hear);
        std::thread::scope(|scope| {
            let place = &place;
            scope.spawn(move || {
                if let Err(error) = read(place, offset_bytes, size_bytes, &give) {
                    // Whoever does not listen any more has failed already.
                    let _ = give.send(Err(error));
                }
            });
            // Moved in, so that it is dropped before the reading thread is waited for.
            let mut next = move || take.recv().map_or(Ok(None), |chunk| chunk.map(Some));
            session.put(&ask, &mut next, &mut |bytes| {
                *sent += bytes;
                *there += bytes;
                hear(*there, all);
            })
        })
    }
}

/// Gives chunks of a file to a channel until it is read, or nobody takes them.
fn read(place: &Path, offset: u64, size: u64, give: &SyncSender<Result<Vec<u8>>>) -> Result<()> {
    let failed = |error| Error::io("read", place, error);
    let changed = || {
        Error::input("the file changed while it was sent")
            .at(place.display())
            .hint("leave the package alone and send it again")
    };
    let mut file = Disk::open(place).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() != offset + size {
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
