//! A file's bytes on their way to the disk: written by one thread while another hashes them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::disk::{self, fault};
use crate::device::protocol::content::Refused;
use crate::device::protocol::message::Code;
use crate::units::hex;

/// From this size on hashing has a thread of its own.
const THREAD_BYTES: u64 = 4 << 20;
/// Chunks that wait to be hashed.
const WAITING: usize = 4;

/// A `put` that is under way.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(super) package: String,
    pub(super) path: String,
    file: File,
    offset_bytes: u64,
    size_bytes: u64,
    /// Bytes that were written since the start.
    written: u64,
    hash: Hashing,
    refused: Option<Refused>,
}

/// Where a file begins to be received.
pub(super) struct Start {
    pub path: String,
    pub part: PathBuf,
    pub offset_bytes: u64,
    pub size_bytes: u64,
}

/// How receiving ended.
pub(super) struct End {
    /// Why it failed.
    pub refused: Option<Refused>,
    /// Bytes of the file that are there.
    pub have_bytes: u64,
    /// Of all of them; empty where it failed.
    pub sha256: String,
}

#[derive(Debug)]
enum Hashing {
    Here(Sha256),
    There(SyncSender<Arc<Vec<u8>>>, JoinHandle<Sha256>),
}

impl Receiving {
    pub(super) fn new(
        package: String,
        start: Start,
        hash: Option<Sha256>,
    ) -> io::Result<Receiving> {
        let Start { path, part, offset_bytes, size_bytes } = start;
        if disk::size_of(&part).is_none() {
            disk::remove(&part)?;
        }
        let options = &mut File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = disk::open(&part, options)?;
        file.set_len(offset_bytes)?;
        let hash = match hash {
            Some(hash) => hash,
            None => disk::hash(&mut file, offset_bytes)?,
        };
        file.seek(SeekFrom::Start(offset_bytes))?;
        let hash = match size_bytes {
            THREAD_BYTES.. => Hashing::thread(hash)?,
            _ => Hashing::Here(hash),
        };
        let (written, refused) = (0, None);
        Ok(Receiving { package, path, file, offset_bytes, size_bytes, written, hash, refused })
    }

    /// Bytes that have come, and that are to come.
    pub fn progress(&self) -> (u64, u64) {
        (self.written, self.size_bytes)
    }

    /// Whether nothing more is to come.
    pub fn is_over(&self) -> bool {
        self.refused.is_some() || self.written == self.size_bytes
    }

    /// Takes a chunk.
    pub fn chunk(&mut self, bytes: Vec<u8>) {
        let count = bytes.len() as u64;
        if count > self.size_bytes - self.written {
            let (announced, path) = (self.size_bytes, &self.path);
            let what = format!("{path:?}: more chunks than the {announced} bytes announced");
            self.refused = Some((Code::BadRequest, what));
            return;
        }
        let bytes = Arc::new(bytes);
        self.hash.update(Arc::clone(&bytes));
        match self.file.write_all(&bytes) {
            Ok(()) => self.written += count,
            Err(e) => self.refused = Some(fault("write", self.path.as_ref(), &e)),
        }
    }

    /// Refuses what may still come.
    pub fn stop(&mut self, refused: Refused) {
        self.refused.get_or_insert(refused);
    }

    pub(super) fn end(self) -> End {
        let have_bytes = self.offset_bytes + self.written;
        let sha256 = match (&self.refused, self.hash.end()) {
            (None, Some(hash)) => hex(&hash.finalize()),
            _ => String::new(),
        };
        End { refused: self.refused, have_bytes, sha256 }
    }
}

impl Hashing {
    fn thread(mut hash: Sha256) -> io::Result<Hashing> {
        let (chunks, waiting) = sync_channel::<Arc<Vec<u8>>>(WAITING);
        let work = move || {
            waiting.iter().for_each(|chunk| hash.update(&**chunk));
            hash
        };
        let thread = std::thread::Builder::new().name("hash".into()).spawn(work)?;
        Ok(Hashing::There(chunks, thread))
    }

    fn update(&mut self, bytes: Arc<Vec<u8>>) {
        match self {
            Hashing::Here(hash) => hash.update(&*bytes),
            // The thread ends only when this end of the channel is gone.
            Hashing::There(chunks, _) => drop(chunks.send(bytes)),
        }
    }

    fn end(self) -> Option<Sha256> {
        match self {
            Hashing::Here(hash) => Some(hash),
            Hashing::There(chunks, thread) => {
                drop(chunks);
                thread.join().ok()
            }
        }
    }
}
