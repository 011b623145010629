//! Opening files that others name: only regular files, never a device or a pipe.
//!
//! A device such as `/dev/zero` never ends, and opening a pipe waits for its writer.

use std::fs::{File, FileType, Metadata};
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a regular file, or a link to one, for reading. `doing` says for what, as in `read the text`.
///
/// # Errors
/// An input error for a folder, a pipe, a socket or a device; errors of opening the file.
pub fn open_regular(doing: &str, path: &Path) -> Result<(File, Metadata)> {
    let failed = |e| Error::io(doing, path, e);
    let meta = std::fs::metadata(path).map_err(failed)?;
    refuse_special(meta.file_type(), doing, path)?;
    let file = File::open(path).map_err(failed)?;
    // The file may have been replaced since.
    let meta = file.metadata().map_err(failed)?;
    refuse_special(meta.file_type(), doing, path)?;
    Ok((file, meta))
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
    let found = if of.is_dir() { "a folder" } else { special(of) };
    let error =
        Error::input(format!("cannot {doing}: expected a file, found {found}")).at(path.display());
    if of.is_dir() {
        return Err(error);
    }
    Err(error.hint("give a regular file; what comes from a pipe must be written to one first"))
}

#[cfg(unix)]
fn special(of: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if of.is_fifo() {
        "a pipe"
    } else if of.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "something else"
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
}
