//! The text that a model is scored or calibrated on. It is read twice: once to examine and hash all of
//! it, and once to tokenize as much as is needed. Neither holds more than a piece of it in memory.

use std::fs::Metadata;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::observer::Observer;
use super::text_scan::Scan;
use crate::checkpoint::tokenizer::{Pieces, TextTokenizer};
use crate::demo;
use crate::error::{At, Error, Result};
use crate::eval::{Cut, Tokens, Window};
use crate::files::open_regular;
use crate::units::counted;

/// What is read, for messages.
const DOING: &str = "read the text";
/// Bytes that are examined at a time.
const BLOCK_BYTES: usize = 1 << 20;
/// A byte-order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// A text that was examined.
#[derive(Debug)]
pub struct Text {
    /// A short name for tables.
    pub name: String,
    /// Its length in bytes, without a byte-order mark.
    pub size_bytes: u64,
    /// The blake3 hash of these bytes, in hexadecimal.
    pub hash: String,
    /// Whether it holds messages in gpt-oss's format.
    pub is_chat: bool,
    /// What about the text's bytes may surprise a reader of the scores.
    pub warnings: Vec<String>,
    /// Entropy of the text's source in nats per byte, if it is known.
    pub entropy_nats_per_byte: Option<f64>,
    source: Source,
    stop: Stop,
}

/// The flag that stops the reading of a text, if there is one.
#[derive(Debug)]
struct Stop(Option<Arc<AtomicBool>>);

impl Stop {
    fn check(&self) -> Result<()> {
        let is_set = self.0.as_ref().is_some_and(|stop| stop.load(Ordering::SeqCst));
        if is_set { Err(Error::interrupted()) } else { Ok(()) }
    }
}

#[derive(Debug)]
enum Source {
    Embedded(&'static str),
    File { path: PathBuf, len: u64, modified: Option<SystemTime>, has_mark: bool },
}

/// Examines a text: all of a file is read, and none of it is kept.
///
/// # Errors
/// Input errors: missing, no regular file, empty, not UTF-8. Surroundings errors of reading. Interruption,
/// here and wherever the text is tokenized.
pub fn read_text(text: &str, observer: &dyn Observer) -> Result<Text> {
    let stop = Stop(observer.stop_flag());
    if text == demo::NAME {
        let mut scan = Scan::default();
        scan.add(demo::TEXT.as_bytes())?;
        let source = Source::Embedded(demo::TEXT);
        let entropy_nats_per_byte = demo::entropy_nats_per_byte();
        return Ok(Text {
            entropy_nats_per_byte,
            ..Text::new("generated stories".into(), &scan, source, stop)
        });
    }
    let path = Path::new(text);
    let (mut file, meta) = open_regular(DOING, path)?;
    let mut scan = Scan::default();
    let mut block = vec![0; BLOCK_BYTES];
    let mut has_mark = false;
    loop {
        stop.check()?;
        let count = file.read(&mut block).map_err(|e| Error::io(DOING, path, e))?;
        let mut read = &block[..count];
        if scan.is_at_start()
            && !has_mark
            && let Some(rest) = read.strip_prefix(BYTE_ORDER_MARK)
        {
            (has_mark, read) = (true, rest);
        }
        scan.add(read).at(|| path.display())?;
        if count == 0 {
            break;
        }
    }
    scan.check_end().at(|| path.display())?;
    let name = path.file_name().map_or(text.into(), |name| name.to_string_lossy().into_owned());
    let (len, modified) = state(&meta);
    Ok(Text::new(name, &scan, Source::File { path: path.into(), len, modified, has_mark }, stop))
}

fn state(meta: &Metadata) -> (u64, Option<SystemTime>) {
    (meta.len(), meta.modified().ok())
}

impl Text {
    fn new(name: String, scan: &Scan, source: Source, stop: Stop) -> Text {
        let mut warnings = Vec::new();
        if matches!(source, Source::File { has_mark: true, .. }) {
            warnings.push(format!("{name} begins with a byte-order mark, which is left out"));
        }
        if scan.crlf_lines > 0 {
            warnings.push(format!(
                "{name} has {} of CRLF, and the carriage returns are scored too: remove them (with \
                 dos2unix) to compare with the same text with LF",
                counted(scan.crlf_lines, "line end")
            ));
        }
        Text {
            name,
            warnings,
            size_bytes: scan.size_bytes,
            hash: scan.hash(),
            is_chat: scan.is_chat,
            entropy_nats_per_byte: None,
            source,
            stop,
        }
    }

    /// The text from byte `range.start` on, up to `range.end`.
    fn reader(&self, range: Range<usize>) -> Result<Box<dyn Read>> {
        match &self.source {
            Source::Embedded(text) => Ok(Box::new(text.as_bytes().get(range).unwrap_or_default())),
            Source::File { path, len, modified, has_mark } => {
                let (mut file, meta) = open_regular(DOING, path)?;
                if state(&meta) != (*len, *modified) {
                    return Err(Error::input("the text changed while it was being read")
                        .at(path.display())
                        .hint("do not change it during a run, then start the run again"));
                }
                let mark = if *has_mark { BYTE_ORDER_MARK.len() } else { 0 };
                let first = SeekFrom::Start((range.start + mark) as u64);
                file.seek(first).map_err(|e| Error::io(DOING, path, e))?;
                Ok(Box::new(file.take(range.len() as u64)))
            }
        }
    }

    fn all(&self) -> Range<usize> {
        0..usize::try_from(self.size_bytes).unwrap_or(usize::MAX)
    }

    /// The text's windows, as many as `cut` allows. No more of the text is tokenized than they need.
    ///
    /// # Errors
    /// Input errors of tokenizer and text, surroundings errors of reading.
    pub fn windows(
        &self,
        cut: &Cut,
        tokenizer: &TextTokenizer,
        parse_special: bool,
    ) -> Result<Vec<Window>> {
        let place = || self.name.clone();
        let tokens = self.first_tokens(tokenizer, parse_special, cut.needed_tokens()).at(place)?;
        cut.windows(&tokens).at(place)
    }

    /// The first tokens of the text: all, or at least `count`.
    fn first_tokens(
        &self,
        tokenizer: &TextTokenizer,
        parse_special: bool,
        count: Option<usize>,
    ) -> Result<Tokens> {
        let mut pieces = Pieces::new(tokenizer, parse_special, self.reader(self.all())?, 0);
        let mut tokens = Tokens { text_bytes: self.size_bytes, ..Tokens::default() };
        while count.is_none_or(|count| tokens.ids.len() < count) {
            self.stop.check()?;
            let Some(piece) = pieces.next_piece()? else { break };
            tokens.ids.extend(piece.encoded.ids);
            tokens.starts.extend(piece.encoded.starts);
        }
        Ok(tokens)
    }

    /// The first `count` token ids of the text, names of special tokens read as plain text.
    ///
    /// # Errors
    /// Input errors of tokenizer and text: fewer tokens. Surroundings errors of reading.
    pub fn first_ids(&self, tokenizer: &TextTokenizer, count: usize) -> Result<Vec<u32>> {
        let place = || self.name.clone();
        let mut ids = self.first_tokens(tokenizer, false, Some(count)).at(place)?.ids;
        if ids.len() < count {
            let found = ids.len();
            return Err(Error::input(format!("expected a text of {count} tokens, found {found}"))
                .at(place())
                .hint("give a longer text, or ask for fewer tokens"));
        }
        ids.truncate(count);
        Ok(ids)
    }

    /// Those of the text's windows whose indices `choose` returns, in ascending order, given the number
    /// of all windows. All of the text is tokenized to count them, and only the chosen ones are held.
    ///
    /// # Errors
    /// As [`windows`](Self::windows).
    pub fn chosen_windows(
        &self,
        cut: &Cut,
        tokenizer: &TextTokenizer,
        parse_special: bool,
        choose: impl FnOnce(usize) -> Vec<usize>,
    ) -> Result<Vec<Window>> {
        let place = || self.name.clone();
        let mut pieces = Pieces::new(tokenizer, parse_special, self.reader(self.all())?, 0);
        let (mut spans, mut count): (Vec<(usize, Range<usize>)>, usize) = (Vec::new(), 0);
        while let Some(piece) = pieces.next_piece().at(place)? {
            self.stop.check()?;
            spans.push((count, piece.first_byte..piece.end_byte));
            count += piece.encoded.ids.len();
        }
        let mut windows = Vec::new();
        for index in choose(cut.count(count).at(place)?) {
            let needed = cut.text_tokens(index);
            let from = spans.partition_point(|(first, _)| *first <= needed.start).max(1) - 1;
            let to = spans.partition_point(|(first, _)| *first < needed.end).max(from + 1);
            let Some(covering) = spans.get(from..to) else { continue };
            let (Some((first_token, first)), Some((_, last))) = (covering.first(), covering.last())
            else {
                continue;
            };
            pieces.go_to(self.reader(first.start..last.end)?, first.start);
            let mut tokens = Tokens { text_bytes: self.size_bytes, ..Tokens::default() };
            while let Some(piece) = pieces.next_piece().at(place)? {
                tokens.ids.extend(piece.encoded.ids);
                tokens.starts.extend(piece.encoded.starts);
            }
            windows.push(cut.window_of(&tokens, *first_token, index));
        }
        Ok(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{BosMode, Protocol};
    use crate::run::inputs;
    use crate::run::observer::Silent;

    fn examine(text: &str) -> Result<Text> {
        read_text(text, &Silent)
    }

    /// Asks the run to stop.
    struct Stopping(Arc<AtomicBool>);

    impl Observer for Stopping {
        fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
            Some(Arc::clone(&self.0))
        }
    }

    #[test]
    fn reading_and_tokenizing_stop_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "one two three").unwrap();
        let stop = Stopping(Arc::default());
        let text = read_text(path.to_str().unwrap(), &stop).unwrap();
        stop.0.store(true, Ordering::SeqCst);
        let tokenizer = demo_tokenizer();
        let of_reading = read_text(path.to_str().unwrap(), &stop).unwrap_err();
        let of_the_first = text.first_ids(&tokenizer, 2).unwrap_err();
        let of_all = text.chosen_windows(&cut(None, None), &tokenizer, false, |_| vec![0]);
        for error in [of_reading, of_the_first, of_all.unwrap_err()] {
            assert_eq!(error.exit().code(), 130, "{error}");
        }
    }

    fn demo_tokenizer() -> TextTokenizer {
        inputs::open_checkpoint(demo::NAME, None, &Silent).unwrap().tokenizer().unwrap()
    }

    fn cut(limit: Option<usize>, bos: Option<(BosMode, u32)>) -> Cut {
        Cut { protocol: Protocol::Full, bos, window_tokens: 16, limit }
    }

    /// The windows of the whole text at once.
    fn all_at_once(cut: &Cut, tokenizer: &TextTokenizer, text: &str) -> Vec<Window> {
        let encoded = tokenizer.encode(text, false).unwrap();
        let text_bytes = text.len() as u64;
        cut.windows(&Tokens { ids: encoded.ids, starts: encoded.starts, text_bytes }).unwrap()
    }

    #[test]
    fn windows_of_a_text_in_pieces_are_those_of_the_whole_text() {
        let tokenizer = demo_tokenizer();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        let long = demo::TEXT.repeat(3);
        std::fs::write(&path, &long).unwrap();
        let text = examine(path.to_str().unwrap()).unwrap();
        assert_eq!(text.hash, blake3::hash(long.as_bytes()).to_hex().to_string());
        assert_eq!((text.size_bytes, text.is_chat), (long.len() as u64, false));
        for bos in [None, Some((BosMode::Prepend, 1)), Some((BosMode::Replace, 1))] {
            let whole = all_at_once(&cut(None, bos), &tokenizer, &long);
            assert!(long.len() > 4 * (64 << 10), "several pieces");
            for limit in [None, Some(1), Some(5), Some(whole.len()), Some(whole.len() + 1)] {
                let found = text.windows(&cut(limit, bos), &tokenizer, false).unwrap();
                assert_eq!(found, whole[..limit.unwrap_or(whole.len()).min(whole.len())]);
            }
            let indices = vec![0, 1, whole.len() / 2, whole.len() - 1];
            let expected: Vec<Window> = indices.iter().map(|&at| whole[at].clone()).collect();
            let choose = |count: usize| {
                assert_eq!(count, whole.len());
                indices
            };
            let chosen = text.chosen_windows(&cut(None, bos), &tokenizer, false, choose).unwrap();
            assert_eq!(chosen, expected);
        }
        let ids = tokenizer.encode(&long, false).unwrap().ids;
        assert_eq!(text.first_ids(&tokenizer, 100).unwrap(), ids[..100]);
        let error = text.first_ids(&tokenizer, ids.len() + 1).unwrap_err();
        assert!(error.to_string().contains(&format!("found {}", ids.len())), "{error}");
    }

    #[test]
    fn marks_are_found_and_a_byte_order_mark_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            examine(path.to_str().unwrap())
        };
        let marked = read(b"\xef\xbb\xbfone\r\ntwo").unwrap();
        assert_eq!(marked.warnings.len(), 2, "{:?}", marked.warnings);
        assert!(marked.warnings[0].contains("byte-order mark") && !marked.is_chat);
        assert!(marked.warnings[1].starts_with("text has 1 line end of CRLF"));
        assert_eq!(marked.hash, blake3::hash(b"one\r\ntwo").to_hex().to_string());
        let tokenizer = demo_tokenizer();
        let ids = tokenizer.encode("one\r\ntwo", false).unwrap().ids;
        assert_eq!(marked.first_ids(&tokenizer, ids.len()).unwrap(), ids);
        // The marks and a character stand across the end of a block.
        for (filled, mark) in [(BLOCK_BYTES - 4, "<|start|>"), (BLOCK_BYTES - 1, "\r\n")] {
            let text = ["x".repeat(filled).as_str(), mark, "\u{1f600}"].concat();
            let text = read(text.as_bytes()).unwrap();
            let has_crlf = !text.warnings.is_empty();
            assert_eq!((text.is_chat, has_crlf), (mark != "\r\n", mark == "\r\n"));
        }
        read(["x".repeat(BLOCK_BYTES - 1).as_str(), "\u{1f600}"].concat().as_bytes()).unwrap();
        for (bytes, expected) in [
            (&b"ab\xffcd"[..], "invalid bytes from byte 2 on"),
            (b"ab\xf0\x9f", "invalid bytes from byte 2 on"),
            (b"\xff\xfea\0", "it is UTF-16"),
            (b"", "the text is empty"),
            (b"\xef\xbb\xbf", "the text is empty"),
        ] {
            let error = read(bytes).unwrap_err();
            assert_eq!(error.exit().code(), 2);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_text_that_changes_and_a_device_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "one two three").unwrap();
        let text = examine(path.to_str().unwrap()).unwrap();
        std::fs::write(&path, "one two three four").unwrap();
        let error = text.first_ids(&demo_tokenizer(), 1).unwrap_err();
        assert!(error.to_string().contains("changed while it was being read"), "{error}");
        assert_eq!(examine("/dev/zero").unwrap_err().exit().code(), 2);
    }
}
