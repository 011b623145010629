//! An append-only file of lines that survives being killed and a full disk.
//!
//! Appending either adds whole lines that have reached the disk, or leaves the file unchanged. A
//! process that is killed while writing can still leave half a line at the end; opening the file again
//! cuts it off. This file does not know what the lines mean.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::blocks::Extent;
use crate::error::{Error, Result};
use crate::files::{sync_data, try_lock};

/// How often a lock that another process holds is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// An open append-only file.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

impl Lines {
    /// Opens or creates the file and takes its lock.
    ///
    /// # Errors
    /// The file cannot be written, or another process holds it.
    pub fn open(path: &Path) -> Result<Lines> {
        Lines::open_within(path, Duration::ZERO)
    }

    /// As [`open`](Self::open), after waiting at most `patience` for another process to end.
    pub fn open_within(path: &Path, patience: Duration) -> Result<Lines> {
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(|e| Error::io("open", path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io("read", path, e))?;
        if !metadata.is_file() {
            let what = "expected a file to append to, found a device or pipe";
            return Err(Error::surroundings(what).at(path.display()));
        }
        let start = Instant::now();
        while !try_lock(&file, path)? {
            if start.elapsed() >= patience {
                return Err(Error::surroundings("another evalkit is writing this folder")
                    .at(path.display())
                    .hint("wait for it to end, or choose another folder"));
            }
            std::thread::sleep(ASK_AGAIN);
        }
        // Another process may have written it before the lock was taken.
        let metadata = file.metadata().map_err(|e| Error::io("read", path, e))?;
        let size_bytes = metadata.len();
        Ok(Lines { path: path.to_owned(), file, size_bytes })
    }

    /// Cuts off a half-written last line.
    ///
    /// # Errors
    /// The file cannot be written (surroundings).
    pub fn cut_torn(&mut self, extent: &Extent) -> Result<()> {
        if extent.torn_bytes == 0 {
            return Ok(());
        }
        self.file
            .set_len(extent.whole_bytes)
            .and_then(|()| sync_data(&self.file))
            .map_err(|e| Error::io("cut off a half-written line", &self.path, e))?;
        self.size_bytes = extent.whole_bytes;
        Ok(())
    }

    /// Appends `text`, whole lines, in one write, and waits until it has reached the disk.
    ///
    /// # Errors
    /// If writing fails, the file is cut back to what it was.
    pub fn append(&mut self, text: &str) -> Result<()> {
        let kept_bytes = self.size_bytes;
        write_or_undo(&mut &self.file, text.as_bytes(), || self.file.set_len(kept_bytes)).map_err(
            |cause| {
                Error::surroundings("cannot append")
                    .at(self.path.display())
                    .because(cause)
                    .hint("nothing measured before is lost; free disk space and run the same command again")
            },
        )?;
        self.size_bytes += text.len() as u64;
        Ok(())
    }
}

/// A writer whose bytes can be made durable; tests replace the file by a full disk.
trait Durable: Write {
    fn sync(&mut self) -> io::Result<()>;
}

impl Durable for &File {
    fn sync(&mut self) -> io::Result<()> {
        sync_data(self)
    }
}

fn write_or_undo(
    target: &mut impl Durable,
    bytes: &[u8],
    undo: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let written =
        target.write_all(bytes).and_then(|()| target.flush()).and_then(|()| target.sync());
    if written.is_err() {
        // If even this fails, the half line is found and cut off when the file is next opened.
        let _ = undo();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for `room_bytes` more bytes.
    struct Filling<'a> {
        file: &'a File,
        room_bytes: usize,
    }

    impl Write for Filling<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room_bytes == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let written = self.file.write(&bytes[..bytes.len().min(self.room_bytes)])?;
            self.room_bytes -= written;
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Durable for Filling<'_> {
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        std::fs::write(&path, "{1}\n").unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        let mut disk = Filling { file: &file, room_bytes: 5 };
        let failed = write_or_undo(&mut disk, b"{2}\n{3}\n", || file.set_len(4));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{1}\n");
    }
}
