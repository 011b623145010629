//! Receiving a file: its bytes are written to disk by one thread while another hashes them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use super::disk::{self, io_refusal};
use crate::device::protocol::code::{Code, Refusal};
use crate::units::hex;

/// From this size on, hashing has a thread of its own.
const THREAD_BYTES: u64 = 4 << 20;
/// How many chunks may wait to be hashed.
const WAITING: usize = 4;

/// A `put` that is under way.
#[derive(Debug)]
pub(in crate::device::host) struct Receiving {
    pub(super) package: String,
    pub(super) path: String,
    file: File,
    offset_bytes: u64,
    size_bytes: u64,
    /// Bytes written by this `put`.
    written: u64,
    hash: Hashing,
    refusal: Option<Refusal>,
}

/// What a `put` announced, and where its bytes go.
pub(super) struct ReceiveStart {
    pub package: String,
    pub path: String,
    pub part: PathBuf,
    pub offset_bytes: u64,
    pub size_bytes: u64,
}

/// How receiving ended.
pub(super) struct ReceiveEnd {
    /// How many bytes of the file are there.
    pub have_bytes: u64,
    /// The hash of the complete file, or why receiving failed.
    pub sha256: Result<String, Refusal>,
}

#[derive(Debug)]
enum Hashing {
    Here(Sha256),
    There(SyncSender<Arc<Vec<u8>>>, JoinHandle<Sha256>),
}

impl Receiving {
    /// Opens the part and, unless `hash` is that of its bytes, hashes what is there.
    pub(super) fn new(start: ReceiveStart, hash: Option<Sha256>) -> io::Result<Receiving> {
        let ReceiveStart { package, path, part, offset_bytes, size_bytes } = start;
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
        let is_large = size_bytes >= THREAD_BYTES;
        let hash = if is_large { Hashing::thread(hash)? } else { Hashing::Here(hash) };
        let (written, refusal) = (0, None);
        Ok(Receiving { package, path, file, offset_bytes, size_bytes, written, hash, refusal })
    }

    /// The bytes that this `put` has received, and those that it announced.
    pub fn progress(&self) -> (u64, u64) {
        (self.written, self.size_bytes)
    }

    /// Whether all bytes have come, or the transfer has failed.
    pub fn is_over(&self) -> bool {
        self.refusal.is_some() || self.written == self.size_bytes
    }

    /// Takes the next chunk.
    pub fn chunk(&mut self, bytes: Vec<u8>) {
        let count = bytes.len() as u64;
        if count > self.size_bytes - self.written {
            let (announced, path) = (self.size_bytes, &self.path);
            let what =
                format!("{path:?}: expected chunks of {announced} bytes in total, found more");
            self.refusal = Some(Refusal::new(Code::BadRequest, what));
            return;
        }
        let bytes = Arc::new(bytes);
        self.hash.update(Arc::clone(&bytes));
        match self.file.write_all(&bytes) {
            Ok(()) => self.written += count,
            Err(e) => self.refusal = Some(io_refusal("write", self.path.as_ref(), &e)),
        }
    }

    /// Ends receiving with a refusal, unless it has failed already.
    pub fn stop(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// Closes the file and finishes the hash.
    pub(super) fn end(self) -> ReceiveEnd {
        let have_bytes = self.offset_bytes + self.written;
        let sha256 = match (self.refusal, self.hash.end()) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(hash)) => Ok(hex(&hash.finalize())),
            (None, None) => Err(Refusal::new(Code::Io, "the thread that hashes has failed")),
        };
        ReceiveEnd { have_bytes, sha256 }
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
            // The thread ends only after this end of the channel is dropped.
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
