//! A file of lines, read in large blocks: the file is never in memory as a whole, and the lines of a
//! block are parsed on all cores. Of the lines this file only knows that each is JSON.

use std::io::Read;
use std::path::Path;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::files::open_regular;

/// Bytes read at a time: much more than a line, much less than a file of records.
const BLOCK_BYTES: usize = 4 << 20;
/// A longer line is refused. The longest, of a variant of a condensed run, have some megabytes.
const MAX_LINE_BYTES: usize = 1 << 28;
/// Lines that one core takes at a time; the line of a window has a few kilobytes.
const LINES_PER_TASK: usize = 64;

/// Size and hash of a file of lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Extent {
    /// Bytes of its whole lines.
    pub whole_bytes: u64,
    /// Bytes of a half-written line at the end.
    pub torn_bytes: u64,
    /// blake3 of the whole lines.
    pub hasher: blake3::Hasher,
}

/// Whether a line is valid JSON, which half a line is not.
pub(super) fn is_json(line: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok()
}

/// Calls `parse` on every line, in any order, and `take` on the results, in the order of the lines.
/// Neither locks nor changes the file. A last line that has no line feed or is not JSON is half
/// written, because the program was killed, and is ignored.
///
/// # Errors
/// The file cannot be read, or `parse` or `take` fails; the error has the line's number and the path.
pub(super) fn read_lines<T: Send>(
    path: &Path,
    parse: impl Fn(&str) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<Extent> {
    let failed = |e| Error::io("read", path, e);
    let (mut file, _) = open_regular("read", path)?;
    let mut extent = Extent::default();
    let (mut block, mut lines_before) = (Vec::new(), 0);
    loop {
        let read =
            file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block).map_err(failed)?;
        let is_last = read < BLOCK_BYTES;
        let end = if is_last { whole_end(&block) } else { line_end(&block) };
        let whole = &block[..end];
        extent.hasher.update(whole);
        extent.whole_bytes += end as u64;
        let lines: Vec<&[u8]> = whole.split_inclusive(|&byte| byte == b'\n').collect();
        let parsed: Vec<Result<T>> = lines
            .par_iter()
            .with_min_len(LINES_PER_TASK)
            .map(|line| parse(text_of(line)?))
            .collect();
        for (at, parsed) in parsed.into_iter().enumerate() {
            let number = lines_before + at + 1;
            parsed
                .and_then(&mut take)
                .map_err(|e| e.at(format!("line {number}")).at(path.display()))?;
        }
        lines_before += lines.len();
        if is_last {
            extent.torn_bytes = (block.len() - end) as u64;
            return Ok(extent);
        }
        block.drain(..end);
        if block.len() > MAX_LINE_BYTES {
            let what =
                format!("expected lines of at most {MAX_LINE_BYTES} bytes, found a longer one");
            let number = lines_before + 1;
            return Err(Error::input(what).at(format!("line {number}")).at(path.display()));
        }
    }
}

fn text_of(line: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(line).map_err(|_| Error::input("not UTF-8"))?;
    Ok(text.trim_end_matches(['\n', '\r']))
}

/// The position after the last line feed.
fn line_end(block: &[u8]) -> usize {
    block.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
}

/// The same at the end of a file, where even a line with a line feed may be half written.
fn whole_end(block: &[u8]) -> usize {
    let end = line_end(block);
    if end == 0 || end < block.len() {
        return end;
    }
    let start = line_end(&block[..end - 1]);
    match std::str::from_utf8(&block[start..end - 1]) {
        Ok(line) if is_json(line) => end,
        _ => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole lines of a file, and the bytes after them.
    fn read(path: &Path) -> Result<(String, u64)> {
        let mut text = String::new();
        let extent = read_lines(
            path,
            |line| Ok(line.to_owned()),
            |line| {
                text.push_str(&line);
                text.push('\n');
                Ok(())
            },
        )?;
        assert_eq!(extent.whole_bytes, text.len() as u64);
        assert_eq!(extent.hasher.finalize(), blake3::hash(text.as_bytes()));
        Ok((text, extent.torn_bytes))
    }

    #[test]
    fn a_torn_end_is_told_from_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let cases: [(&[u8], &str, u64); 7] = [
            (b"", "", 0),
            (b"[1]\n", "[1]\n", 0),
            (b"[1]\n[2", "[1]\n", 2),
            (b"[1]\n[2]", "[1]\n", 3),
            (b"[1]\n[2\n", "[1]\n", 3),
            (b"[1]\n\0\0\0", "[1]\n", 3),
            (b"[1]\n\xff\xfe\n", "[1]\n", 3),
        ];
        for (bytes, text, torn_bytes) in cases {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap(), (text.to_owned(), torn_bytes), "{bytes:?}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_named_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        std::fs::write(&path, b"[1]\n[\xff]\n[3]\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.ends_with("lines: line 2: not UTF-8"), "{error}");
    }

    #[test]
    fn lines_come_in_order_and_are_counted_across_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let long = "7".repeat(BLOCK_BYTES / 3 - 5);
        let lines = [&format!("[{long}]"), "[2]", &format!("[{long},3]"), &format!("[4,{long}]")];
        let text = lines.join("\n") + "\n[5]\n";
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read(&path).unwrap(), (text, 0));
        let refuse = |line: &str| match line {
            "[5]" => Err(Error::input("five")),
            _ => Ok(()),
        };
        let error = read_lines(&path, refuse, |()| Ok(())).unwrap_err().to_string();
        assert!(error.ends_with("line 5: five"), "{error}");
        let huge = format!("[{}]\n", "1".repeat(3 * BLOCK_BYTES));
        std::fs::write(&path, &huge).unwrap();
        assert_eq!(read(&path).unwrap(), (huge, 0));
    }
}
