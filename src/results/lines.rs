//! An append-only file of lines that survives being killed and a full disk.
//!
//! Appending either adds whole lines that have reached the disk, or leaves the file as it was. A
//! process killed while writing can still leave half a line at the very end; opening the file
//! again cuts it off. Knows nothing of what the lines mean.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::blocks::Extent;
use crate::error::{Error, Result};

/// What the name of a file ends in while it is written aside.
const PART: &str = ".part";

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
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(|e| Error::io("open", path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::surroundings("another evalkit is writing this folder")
                    .at(path.display())
                    .hint("wait for it to end, or choose another folder"));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(Error::io("lock", path, e)),
        }
        let metadata = file.metadata().map_err(|e| Error::io("read", path, e))?;
        if !metadata.is_file() {
            let what = "expected a file to append to, found a device or pipe";
            return Err(Error::surroundings(what).at(path.display()));
        }
        let size_bytes = metadata.len();
        Ok(Lines { path: path.to_owned(), file, size_bytes })
    }

    /// Cuts off what follows the file's whole lines.
    pub fn cut_torn(&mut self, extent: &Extent) -> Result<()> {
        if extent.torn_bytes == 0 {
            return Ok(());
        }
        self.file
            .set_len(extent.whole_bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| Error::io("cut a half-written line off", &self.path, e))?;
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
                    .hint("nothing measured before is lost; free some space, then resume")
            },
        )?;
        self.size_bytes += text.len() as u64;
        Ok(())
    }
}

/// What writing needs from a file.
trait Durable: Write {
    fn sync(&mut self) -> io::Result<()>;
}

impl Durable for &File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
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

/// Writes a file so that a reader sees the old content or the new, never a part: written aside,
/// synced, then renamed over `path`.
///
/// # Errors
/// Anything that stops the writing; `path` is then as it was.
pub fn write_aside(path: &Path, bytes: &[u8]) -> Result<()> {
    write_aside_with(path, |out| out.write_all(bytes).map_err(|e| Error::io("write", path, e)))
}

/// As [`write_aside`], for content that is too large to hold: `write` gives it piece by piece.
///
/// # Errors
/// Anything that stops the writing; `path` is then as it was.
pub fn write_aside_with(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::input("not the name of a file").at(path.display()))?
        .to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.{}{PART}", std::process::id()));
    let failed = |e| Error::io("write", path, e);
    let written = File::create(&aside).map_err(failed).and_then(|file| {
        let mut out = io::BufWriter::with_capacity(1 << 20, file);
        write(&mut out)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error).map_err(failed)?;
        file.sync_all().map_err(failed)
    });
    if let Err(error) = written.and_then(|()| std::fs::rename(&aside, path).map_err(failed)) {
        let _ = std::fs::remove_file(&aside);
        return Err(error);
    }
    sync_folder(path)
}

/// Writes several files of one folder, which is made if need be: first all of them aside, then each
/// to its place, so that whatever stops the writing stops it before any file changes.
///
/// # Errors
/// The folder cannot be made or written; its files are then as they were.
pub fn write_together(folder: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    let is_new = !folder.exists();
    if !is_new && !folder.is_dir() {
        return Err(Error::input("expected a folder, found a file").at(folder.display()));
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let stage = folder.join(format!(".pages.{}{PART}", std::process::id()));
    let staged = std::fs::create_dir(&stage)
        .map_err(|e| Error::io("write into", folder, e))
        .and_then(|()| {
            let mut each = files.iter();
            each.try_for_each(|(name, bytes)| write_aside(&stage.join(name), bytes))
        });
    let blocked = files.iter().map(|(name, _)| folder.join(name)).find(|path| path.is_dir());
    let is_free = blocked.map_or(Ok(()), |path| {
        Err(Error::surroundings("expected a file, found a folder").at(path.display()))
    });
    let moved = staged.and(is_free).and_then(|()| {
        files.iter().try_for_each(|(name, _)| {
            let path = folder.join(name);
            std::fs::rename(stage.join(name), &path).map_err(|e| Error::io("write", &path, e))
        })
    });
    let _ = std::fs::remove_dir_all(&stage);
    if moved.is_err() && is_new {
        let _ = std::fs::remove_dir(folder);
    }
    moved.and_then(|()| sync_folder(&stage))
}

/// Removes what kills left of writing `name` aside; only for who holds the folder.
pub fn remove_parts(folder: &Path, name: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        if found.starts_with(&format!(".{name}.")) && found.ends_with(PART) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Makes a rename or a new file in `path`'s folder durable.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many more bytes.
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

    #[test]
    fn a_file_written_aside_replaces_the_old_one_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.md");
        write_aside(&path, b"old").unwrap();
        write_aside(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write_aside(&folder.path().join("missing/report.md"), b"").unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_are_written_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let files = |text: &str| [("a", text.as_bytes().to_vec()), ("b", text.as_bytes().to_vec())];
        let new = folder.path().join("new");
        write_together(&new, &files("1")).unwrap();
        assert_eq!(std::fs::read(new.join("b")).unwrap(), b"1");
        assert_eq!(std::fs::read_dir(&new).unwrap().count(), 2);
        std::fs::remove_file(new.join("b")).unwrap();
        std::fs::create_dir(new.join("b")).unwrap();
        write_together(&new, &files("2")).unwrap_err();
        assert_eq!(std::fs::read(new.join("a")).unwrap(), b"1");
        assert_eq!(std::fs::read_dir(&new).unwrap().count(), 2);
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        write_together(&file, &files("3")).unwrap_err();
        assert_eq!(std::fs::read(&file).unwrap(), b"");
    }
}
