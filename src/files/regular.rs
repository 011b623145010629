//! Opening files that others name: only regular files, never a device or a pipe, and the file itself
//! rather than a pointer to it.
//!
//! A device such as `/dev/zero` never ends, and opening a pipe waits for its writer.

use std::fs::{File, FileType, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::Path;

use super::pointer::{MAX_POINTER_BYTES, refuse_pointer};
use crate::error::{At, Error, Result};

/// Opens a regular file, or a link to one, for reading. `doing` says for what, as in `read the text`.
///
/// # Errors
/// An input error for a folder, a pipe, a socket or a device, and for a pointer to the file that is meant
/// (Git LFS); errors of opening the file.
pub fn open_regular(doing: &str, path: &Path) -> Result<(File, Metadata)> {
    let failed = |e| Error::io(doing, path, e);
    let meta = std::fs::metadata(path).map_err(failed)?;
    refuse_special(meta.file_type(), doing, path)?;
    let file = File::open(path).map_err(failed)?;
    // The file may have been replaced since.
    let meta = file.metadata().map_err(failed)?;
    refuse_special(meta.file_type(), doing, path)?;
    if meta.len() <= MAX_POINTER_BYTES as u64 {
        let mut start = [0; MAX_POINTER_BYTES];
        let count = file.read_at(&mut start, 0).map_err(failed)?;
        refuse_pointer(&start[..count]).at(|| path.display())?;
    }
    Ok((file, meta))
}

/// Copies a regular file to a new one.
///
/// # Errors
/// As [`open_regular`]; errors of writing the copy.
pub fn copy_regular(from: &Path, to: &Path) -> Result<()> {
    let (mut file, _) = open_regular("copy", from)?;
    let mut copied = File::create(to).map_err(|e| Error::io("write", to, e))?;
    std::io::copy(&mut file, &mut copied).map_err(|e| Error::io("write", to, e))?;
    Ok(())
}

/// The bytes of a regular file of at most `max_bytes`.
///
/// # Errors
/// As [`open_regular`]; an input error for a longer file.
pub fn read_regular(doing: &str, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let (file, meta) = open_regular(doing, path)?;
    let mut bytes = Vec::new();
    if meta.len() <= max_bytes {
        let read = file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|e| Error::io(doing, path, e))?;
    }
    let found_bytes = meta.len().max(bytes.len() as u64);
    if found_bytes > max_bytes {
        return Err(Error::input(format!(
            "cannot {doing}: expected at most {max_bytes} bytes, found {found_bytes}"
        ))
        .at(path.display()));
    }
    Ok(bytes)
}

/// The text of a regular file of at most `max_bytes`.
///
/// # Errors
/// As [`read_regular`]; an input error for a file that is not UTF-8.
pub fn read_regular_text(doing: &str, path: &Path, max_bytes: u64) -> Result<String> {
    String::from_utf8(read_regular(doing, path, max_bytes)?).map_err(|e| {
        Error::input(format!("cannot {doing}: expected UTF-8")).because(e).at(path.display())
    })
}

fn refuse_special(of: FileType, doing: &str, path: &Path) -> Result<()> {
    if of.is_file() {
        return Ok(());
    }
    let error = Error::input(format!("cannot {doing}: expected a file, found {}", kind(of)))
        .at(path.display());
    if of.is_dir() {
        return Err(error);
    }
    Err(error.hint("give a regular file; what comes from a pipe must be written to one first"))
}

/// What messages call a file of this type.
pub(super) fn kind(of: FileType) -> &'static str {
    if of.is_file() {
        "a file"
    } else if of.is_dir() {
        "a folder"
    } else if of.is_fifo() {
        "a pipe"
    } else if of.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_pipes_sockets_and_devices_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let fifo = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(fifo.success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
        let cases = [
            (folder.path().to_path_buf(), "a folder"),
            (at("pipe"), "a pipe"),
            (at("socket"), "a socket"),
            (at("link"), "a device"),
            ("/dev/zero".into(), "a device"),
        ];
        for (path, expected) in cases {
            let error = read_regular("read the text", &path, 10).unwrap_err();
            assert_eq!(error.exit().code(), 2);
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(open_regular("read", &at("none")).unwrap_err().exit().code(), 2);
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 5]).unwrap();
        assert_eq!(read_regular("read", &path, 5).unwrap(), [7; 5]);
        let error = read_regular("read", &path, 4).unwrap_err();
        assert!(error.to_string().contains("at most 4 bytes, found 5"), "{error}");
    }

    #[test]
    fn pointers_are_refused_and_a_refused_file_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 71424\n";
        std::fs::write(at("records"), pointer).unwrap();
        let error = copy_regular(&at("records"), &at("copy")).unwrap_err();
        let expected = "records: it is a Git LFS pointer, not the file of 71424 bytes itself";
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit().code(), 2);
        assert!(!at("copy").exists());
        std::fs::write(at("records"), format!("{pointer}{}", " ".repeat(1 << 10))).unwrap();
        copy_regular(&at("records"), &at("copy")).unwrap();
        let (mut file, _) = open_regular("read", &at("copy")).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert!(text.starts_with(pointer));
    }
}
