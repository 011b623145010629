//! Fetches one file into the cache: continues what an earlier download left, counts and checks the
//! bytes, and gives the file its name only when all of them are right.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;

use super::cache::{Cache, length, remove};
use super::client::{Announced, Client, Reply};
use super::digest::{Digest, Hasher};
use super::failure::{Failure, Then};
use super::limits::{Patience, persist};
use super::names::{Commit, FileName, percent_encoded};
use super::watch::{Event, Watch};
use crate::error::{Error, Result};
use crate::files::sync_data;

/// Bytes that count as progress: after them, failed requests are forgotten.
const PROGRESS_BYTES: u64 = 16 << 20;
/// Longest file other than weights.
const MAX_OTHER_BYTES: u64 = 256 << 20;
const BLOCK_BYTES: usize = 1 << 20;

/// One file of a repository.
pub struct Wanted<'a> {
    /// `owner/name`.
    pub repo: &'a str,
    /// Its commit.
    pub commit: &'a Commit,
    /// Its name.
    pub name: &'a FileName,
    /// The digest that the list of files has, if it has one.
    pub digest: Option<&'a Digest>,
}

/// Fetches a file, unless the cache has all of it, and returns its path.
///
/// # Errors
/// Failed requests; a file that has twice not been what was announced; a full disk; interruption.
pub fn fetch(
    client: &Client,
    cache: &Cache,
    wanted: &Wanted<'_>,
    watch: Watch<'_>,
) -> Result<PathBuf> {
    let mut download = Download { client, cache, wanted, is_again: false };
    loop {
        match download.run(watch) {
            Err(Failure { error, then: Then::StartOver }) if !download.is_again => {
                download.is_again = true;
                let line = format!("{}: {}; fetching it once more", wanted.name, error.cause());
                watch(Event::Message(&line))?;
            }
            result => return result.map_err(|failure| failure.error),
        }
    }
}

struct Download<'a> {
    client: &'a Client,
    cache: &'a Cache,
    wanted: &'a Wanted<'a>,
    is_again: bool,
}

/// The part of a file that is on the disk.
struct Partial {
    file: File,
    path: PathBuf,
    done_bytes: u64,
    /// One for each digest that the content must have.
    hashers: Vec<Hasher>,
}

impl Download<'_> {
    fn path(&self) -> String {
        let Wanted { repo, commit, name, .. } = self.wanted;
        format!("{repo}/resolve/{}/{}", commit.as_str(), percent_encoded(name.as_str()))
    }

    /// Asks what the file is, and fetches it.
    fn run(&self, watch: Watch<'_>) -> Result<PathBuf, Failure> {
        let Wanted { commit, name, .. } = self.wanted;
        let ask = |watch: Watch<'_>| self.client.announced(&self.path(), commit, watch);
        let announced = persist(&self.client.limits, watch, ask)?;
        let Announced { etag, size_bytes } = &announced;
        if *size_bytes > MAX_OTHER_BYTES && !name.as_str().ends_with(".safetensors") {
            let most = MAX_OTHER_BYTES >> 20;
            let what =
                format!("expected at most {most} MB, but the server announces {size_bytes} bytes");
            return Err(Error::surroundings(what).into());
        }
        let pointer = self.cache.pointer(commit, name);
        if length(&pointer) == Some(*size_bytes) {
            return Ok(pointer);
        }
        let _lock = self.cache.lock(etag, name, watch)?;
        if length(&self.cache.blob(etag)) != Some(*size_bytes) {
            remove(&self.cache.blob(etag))?;
            self.receive(&announced, watch)?;
        }
        Ok(self.cache.link(etag, commit, name)?)
    }

    /// Fetches the content, over as many requests as it takes, and makes it a blob.
    fn receive(&self, announced: &Announced, watch: Watch<'_>) -> Result<(), Failure> {
        let Announced { etag, size_bytes } = announced;
        let digests = self.digests(announced, watch)?;
        let mut partial = self.open(announced, &digests, watch)?;
        let mut patience = Patience::new(&self.client.limits);
        while partial.done_bytes < *size_bytes {
            let before = partial.done_bytes;
            let Err(failure) = self.request(&mut partial, announced, &digests, watch) else {
                break;
            };
            if partial.done_bytes >= before + PROGRESS_BYTES {
                patience = Patience::new(&self.client.limits);
            }
            match failure.then {
                Then::Retry(_) => patience.wait(failure, watch)?,
                Then::StartOver => {
                    remove(&partial.path)?;
                    return Err(failure);
                }
                Then::GiveUp => return Err(failure),
            }
        }
        for (hasher, expected) in std::mem::take(&mut partial.hashers).into_iter().zip(&digests) {
            if let Some(found) = hasher.differs_from(expected) {
                remove(&partial.path)?;
                let (Digest::Sha256(expected) | Digest::Sha1(expected)) = expected;
                let what = format!("expected bytes with the digest {expected}, found {found}");
                return Err(Failure::damaged(what));
            }
        }
        sync_data(&partial.file).map_err(|e| Error::io("write", &partial.path, e))?;
        let blob = self.cache.blob(etag);
        std::fs::rename(&partial.path, &blob).map_err(|e| Error::io("rename", &blob, e))?;
        Ok(())
    }

    /// The digests that the content must have: that of the list of files and the file's tag, which
    /// becomes the name of the blob. Usually they are the same.
    fn digests(&self, announced: &Announced, watch: Watch<'_>) -> Result<Vec<Digest>> {
        let tagged = Digest::of_tag(&announced.etag);
        let mut digests: Vec<Digest> =
            self.wanted.digest.cloned().into_iter().chain(tagged).collect();
        digests.dedup();
        if digests.is_empty() {
            let name = self.wanted.name;
            let line = format!("{name}: the server names no digest, so only its length is checked");
            watch(Event::Message(&line))?;
        }
        Ok(digests)
    }

    /// Opens what an earlier download left, or an empty file.
    fn open(&self, announced: &Announced, digests: &[Digest], watch: Watch<'_>) -> Result<Partial> {
        let path = self.cache.incomplete(&announced.etag);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // A link here is none of ours. The system takes the flags as a signed `int`.
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&path).map_err(|e| Error::io("open", &path, e))?;
        let hashers = hashers(digests, announced);
        let mut partial = Partial { file, path, done_bytes: 0, hashers };
        partial.read(announced.size_bytes, self.wanted.name, watch)?;
        self.cache.need_free(announced.size_bytes - partial.done_bytes)?;
        Ok(partial)
    }

    /// One request for the bytes that are missing.
    fn request(
        &self,
        partial: &mut Partial,
        announced: &Announced,
        digests: &[Digest],
        watch: Watch<'_>,
    ) -> Result<(), Failure> {
        let size_bytes = announced.size_bytes;
        let range = (partial.done_bytes > 0).then(|| format!("bytes={}-", partial.done_bytes));
        let mut reply = self.client.get(&self.path(), range, false, watch)?;
        self.accept(&reply, partial, announced, digests)?;
        while let Some(block) = reply.next(&self.client.limits, watch)? {
            if block.len() as u64 > size_bytes - partial.done_bytes {
                let what = format!("expected {size_bytes} bytes, received more");
                return Err(Failure::damaged(what));
            }
            partial.write(&block)?;
            watch(self.progress(partial.done_bytes, size_bytes))?;
        }
        if partial.done_bytes < size_bytes {
            let found = partial.done_bytes;
            let what = format!(
                "the connection ended early: expected {size_bytes} bytes, received {found}"
            );
            return Err(Failure::connection(what));
        }
        Ok(())
    }

    /// Makes sure that the body of a reply belongs behind what is on the disk.
    fn accept(
        &self,
        reply: &Reply,
        partial: &mut Partial,
        announced: &Announced,
        digests: &[Digest],
    ) -> Result<(), Failure> {
        let Announced { etag, size_bytes } = announced;
        match reply.status {
            200 | 206 => {}
            416 => {
                let done = partial.done_bytes;
                let what =
                    format!("expected {size_bytes} bytes, but the server has none after {done}");
                return Err(Failure::damaged(what));
            }
            _ => return Err(reply.refused()),
        }
        reply.refuse_compressed()?;
        if let Some(found) = reply.etag(self.wanted.commit)?.filter(|found| found != etag) {
            let (expected, found) = (etag.as_str(), found.as_str());
            return Err(Failure::damaged(format!("expected the ETag {expected}, found {found}")));
        }
        if reply.status == 200 {
            // The server sends the whole file.
            return Ok(partial.restart(hashers(digests, announced))?);
        }
        let expected = (partial.done_bytes, *size_bytes);
        match reply.content_range() {
            Some(found) if found == expected => Ok(()),
            found => Err(Failure::damaged(format!(
                "expected bytes from {} of {}, found {}",
                expected.0,
                expected.1,
                found.map_or("others".into(), |(first, total)| format!("{first} of {total}"))
            ))),
        }
    }

    fn progress(&self, done_bytes: u64, total_bytes: u64) -> Event<'_> {
        Event::Progress { file: self.wanted.name.as_str(), done_bytes, total_bytes }
    }
}

/// What computes these digests of the announced content.
fn hashers(digests: &[Digest], announced: &Announced) -> Vec<Hasher> {
    digests.iter().map(|digest| digest.hasher(announced.size_bytes)).collect()
}

impl Partial {
    /// Reads what is on the disk. If it is too long, it cannot be of this file, and goes.
    fn read(&mut self, size_bytes: u64, name: &FileName, watch: Watch<'_>) -> Result<()> {
        let failed = |path: &PathBuf, e| Error::io("read", path, e);
        let found = self.file.metadata().map_err(|e| failed(&self.path, e))?.len();
        if found > size_bytes {
            return self.restart(self.hashers.clone());
        }
        let mut block = vec![0; BLOCK_BYTES];
        while self.done_bytes < found {
            let count = self.file.read(&mut block).map_err(|e| failed(&self.path, e))?;
            if count == 0 {
                break;
            }
            self.hashers.iter_mut().for_each(|hasher| hasher.update(&block[..count]));
            self.done_bytes += count as u64;
            let done_bytes = self.done_bytes;
            watch(Event::Progress { file: name.as_str(), done_bytes, total_bytes: size_bytes })?;
        }
        Ok(())
    }

    /// Forgets what is on the disk.
    fn restart(&mut self, hashers: Vec<Hasher>) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|e| Error::io("write", &self.path, e))?;
        (self.done_bytes, self.hashers) = (0, hashers);
        Ok(())
    }

    fn write(&mut self, block: &[u8]) -> Result<()> {
        let written = self.file.write_all(block);
        written.map_err(|e| Error::io("write", &self.path, e))?;
        self.hashers.iter_mut().for_each(|hasher| hasher.update(block));
        self.done_bytes += block.len() as u64;
        Ok(())
    }
}
