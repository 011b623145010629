//! A text that is read and tokenized piece by piece, so that memory does not grow with its length.

use std::io::Read;

use super::cuts::Cuts;
use super::{Encoded, TextTokenizer};
use crate::error::{Error, Result};

/// Bytes that are read at a time, and the usual length of a piece.
const STEP_BYTES: usize = 64 << 10;
/// The longest piece of a text that can be cut at other places. Tokenizing takes up to 200 bytes of
/// memory per byte: that of this piece stays below 100 MB.
const MAX_PIECE_BYTES: usize = 512 << 10;
/// The longest text of a tokenizer that has no place to cut in any text.
const MAX_WHOLE_BYTES: usize = 16 << 20;

/// The tokens of one piece.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// The byte of the text where the piece begins.
    pub first_byte: usize,
    /// The text's byte after the piece.
    pub end_byte: usize,
    /// Its tokens; their starts count from the start of the text.
    pub encoded: Encoded,
}

/// Tokenizes a text piece by piece: the ids and starts of all pieces are those of the whole text.
pub struct Pieces<'a, R> {
    tokenizer: &'a TextTokenizer,
    cuts: Cuts<'a>,
    parse_special: bool,
    reader: R,
    /// Text that was read and not tokenized, then bytes of a character that is not complete.
    buffer: Vec<u8>,
    /// The byte of the text where the buffer begins.
    first_byte: usize,
    is_at_end: bool,
}

impl<'a, R: Read> Pieces<'a, R> {
    /// The pieces of the text that `reader` gives, which begins at byte `first_byte` of a longer one
    /// or is the whole. `parse_special` is that of [`TextTokenizer::encode`].
    pub fn new(
        tokenizer: &'a TextTokenizer,
        parse_special: bool,
        reader: R,
        first_byte: usize,
    ) -> Self {
        let cuts = Cuts::new(&tokenizer.inner);
        let buffer = Vec::with_capacity(STEP_BYTES);
        Pieces { tokenizer, cuts, parse_special, reader, buffer, first_byte, is_at_end: false }
    }

    /// Goes on with another part of the text, which `reader` gives and which begins at byte
    /// `first_byte`: the start of a piece that was found before.
    pub fn go_to(&mut self, reader: R, first_byte: usize) {
        self.reader = reader;
        self.first_byte = first_byte;
        self.buffer.clear();
        self.is_at_end = false;
    }

    /// The next piece; `None` at the end of the text.
    ///
    /// # Errors
    /// Surroundings errors of the reader. Input errors: text that is not UTF-8, that has 4 GiB or
    /// more, that the vocabulary cannot express, or in which no place to cut was found.
    pub fn next_piece(&mut self) -> Result<Option<Piece>> {
        let mut target_bytes = STEP_BYTES;
        loop {
            self.fill(target_bytes)?;
            let text = self.text()?;
            let is_whole = self.is_at_end && text.len() == self.buffer.len();
            let end = match target_bytes {
                _ if is_whole => Some(text.len()),
                ..=MAX_PIECE_BYTES => self.cuts.last(text),
                _ => None,
            };
            match end {
                Some(0) => return Ok(None),
                Some(end) => return self.take(end).map(Some),
                None if target_bytes < MAX_PIECE_BYTES => target_bytes *= 2,
                None if self.cuts.are_possible() => return Err(self.uncut()),
                None if target_bytes < MAX_WHOLE_BYTES => target_bytes = MAX_WHOLE_BYTES,
                None => return Err(too_long()),
            }
        }
    }

    /// Reads until the buffer holds this many bytes, or the text ends.
    fn fill(&mut self, target_bytes: usize) -> Result<()> {
        let wanted = target_bytes.saturating_sub(self.buffer.len()) as u64;
        if wanted == 0 || self.is_at_end {
            return Ok(());
        }
        let read = self.reader.by_ref().take(wanted).read_to_end(&mut self.buffer);
        let read = read.map_err(|e| Error::surroundings("cannot read the text").because(e))?;
        self.is_at_end = (read as u64) < wanted;
        if u32::try_from(self.first_byte + self.buffer.len()).is_err() {
            return Err(Error::input("expected a text of less than 4 GiB, found more")
                .hint("give fewer windows with --limit, or a part of the text"));
        }
        Ok(())
    }

    /// The complete characters in the buffer.
    fn text(&self) -> Result<&str> {
        match std::str::from_utf8(&self.buffer) {
            Ok(text) => Ok(text),
            Err(error) if error.error_len().is_none() && !self.is_at_end => {
                let complete = &self.buffer[..error.valid_up_to()];
                Ok(std::str::from_utf8(complete).unwrap_or_default())
            }
            Err(error) => {
                let at = self.first_byte + error.valid_up_to();
                Err(Error::input(format!("expected UTF-8, found invalid bytes from byte {at} on")))
            }
        }
    }

    /// Tokenizes the first `end` bytes of the buffer and removes them.
    fn take(&mut self, end: usize) -> Result<Piece> {
        let part = std::str::from_utf8(&self.buffer[..end])
            .map_err(|e| Error::bug("a piece ends inside of a character").because(e))?;
        let first_byte = self.first_byte;
        let dropped = usize::from(first_byte > 0 && self.cuts.drops_space());
        let encoded = self.tokenizer.encode_from(part, first_byte, dropped, self.parse_special)?;
        self.buffer.drain(..end);
        self.first_byte += end;
        Ok(Piece { first_byte, end_byte: self.first_byte, encoded })
    }

    fn uncut(&self) -> Error {
        let (from, len) = (self.first_byte, self.buffer.len());
        Error::input(format!(
            "the {len} bytes of the text from byte {from} on have no place where they can be cut without \
             changing their tokens, expected one at least every {MAX_PIECE_BYTES} bytes"
        ))
        .hint(
            "look there for a long run of spaces, line ends or marks, or of letters without a space, \
             and shorten it; or end before it with --limit",
        )
    }
}

fn too_long() -> Error {
    let most = MAX_WHOLE_BYTES >> 20;
    Error::input(format!(
        "the tokenizer has steps that are not known, so that texts have no place where they can be cut \
         without changing their tokens, and this one has more than {most} MiB"
    ))
    .hint(format!("give a text of at most {most} MiB"))
}

#[cfg(test)]
mod tests {
    const DEMO_TOKENIZER: &[u8] = include_bytes!("../../../datasets/demo/model/tokenizer.json");
    const DEMO_TEXT: &str = include_str!("../../../datasets/demo/text.txt");

    use proptest::prelude::*;
    use tokenizers::models::bpe::{BPE, Merges, Vocab};
    use tokenizers::{AddedToken, Tokenizer};

    use super::super::rules;
    use super::*;

    /// A random text goes through one of so many parts of the tokenizers.
    const SHARES: usize = 4;

    /// A byte-level vocabulary with some merges, and what its file says of all other steps.
    fn byte_level(steps: &str, ignore_merges: bool) -> TextTokenizer {
        let bytes = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut names: Vec<String> = bytes.into_iter().map(String::from).collect();
        names.sort();
        let mut vocab: Vocab = names.into_iter().zip(0..).collect();
        let mut merges = Merges::new();
        for (left, right) in
            [("h", "e"), ("Ġ", "he"), ("Ċ", "Ċ"), ("Ġ", "Ġ"), ("l", "l"), ("1", "2"), (".", "Ċ")]
        {
            vocab.insert(format!("{left}{right}"), vocab.len() as u32);
            merges.push((left.into(), right.into()));
        }
        let model = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(ignore_merges);
        with_steps(Tokenizer::new(model.build().unwrap()), steps)
    }

    /// The tokenizer with these steps, written as in `tokenizer.json`.
    fn with_steps(inner: Tokenizer, steps: &str) -> TextTokenizer {
        let mut file: serde_json::Value =
            serde_json::from_str(&inner.to_string(false).unwrap()).unwrap();
        let steps: serde_json::Value = serde_json::from_str(steps).unwrap();
        for (key, value) in steps.as_object().unwrap() {
            file[key] = value.clone();
        }
        let mut inner: Tokenizer = file.to_string().parse().unwrap();
        inner
            .add_tokens([
                AddedToken::from("<s>", true),
                AddedToken::from("<x y>", false).normalized(false),
                AddedToken::from("<eat>", false).lstrip(true).rstrip(true),
                AddedToken::from("word", false).single_word(true),
            ])
            .unwrap();
        TextTokenizer::new(inner, None, false).unwrap()
    }

    /// A vocabulary as SentencePiece makes them: characters, bytes for all others, and some merges.
    fn sentence_piece(steps: &str) -> TextTokenizer {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let characters = "▁ abcdefghilmnoprstuvwxy12.,'<>é中".chars().map(String::from);
        let names = std::iter::once("<unk>".to_owned()).chain(bytes).chain(characters);
        let mut vocab: Vocab = names.zip(0..).collect();
        let mut merges = Merges::new();
        for (left, right) in
            [("h", "e"), ("▁", "he"), ("t", "he"), ("l", "l"), ("1", "2"), ("▁", "▁"), (".", "▁")]
        {
            vocab.insert(format!("{left}{right}"), vocab.len() as u32);
            merges.push((left.into(), right.into()));
        }
        let model = BPE::builder().vocab_and_merges(vocab, merges);
        let model = model.unk_token("<unk>".into()).fuse_unk(true).byte_fallback(true);
        with_steps(Tokenizer::new(model.build().unwrap()), steps)
    }

    const LLAMA3: &str = r#"{"type": "Split", "pattern": {"Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": false}"#;
    const BYTES: &str = r#"{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}"#;

    fn tokenizers() -> Vec<TextTokenizer> {
        let byte_steps = [
            r#"{"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}}"#.to_owned(),
            r#"{"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}}"#.to_owned(),
            r#"{"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]}}"#.to_owned(),
            format!(r#"{{"pre_tokenizer": {{"type": "Sequence", "pretokenizers": [{LLAMA3}, {BYTES}]}}}}"#),
        ];
        let word_steps = [
            r#"{"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}, "pre_tokenizer": null}"#,
            r#"{"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, "pre_tokenizer": null}"#,
            // As Gemma's: no space is left to split by.
            r#"{"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false}}"#,
            r#"{"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false}}"#,
            r#"{"normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}}"#,
        ];
        let falcon = r#"{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Punctuation", "behavior": "Contiguous"}, {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]}}"#;
        let bytes = byte_steps
            .iter()
            .flat_map(|steps| [false, true].map(|ignore_merges| byte_level(steps, ignore_merges)));
        let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/models"));
        let stories = TextTokenizer::from_folder(&folder.join("stories260k"));
        if stories.is_err() {
            eprintln!("skipped: ../shared is not here");
        }
        let embedded = TextTokenizer::from_bytes(DEMO_TOKENIZER, None, None).unwrap();
        let gemma4 = TextTokenizer::from_gguf(&rules::gemma4(&[])).unwrap();
        let by_rules = rules::steps().into_iter().map(|steps| byte_level(&steps, false));
        let words = word_steps.map(sentence_piece).into_iter().chain(stories.ok());
        bytes
            .chain(words)
            .chain([embedded, gemma4, byte_level(falcon, false)])
            .chain(by_rules)
            .collect()
    }

    fn tokenizers_once() -> &'static [TextTokenizer] {
        static ALL: std::sync::OnceLock<Vec<TextTokenizer>> = std::sync::OnceLock::new();
        ALL.get_or_init(tokenizers)
    }

    /// The tokens of `text` if it is cut at every good place, the number of its parts, and the text's
    /// tokens as a whole.
    fn both(tokenizer: &TextTokenizer, text: &str, special: bool) -> (Encoded, usize, Encoded) {
        let whole = tokenizer.encode(text, special).unwrap_or_default();
        let cuts = Cuts::new(&tokenizer.inner);
        let (mut parts, mut end) = (Vec::new(), text.len());
        while let Some(place) = cuts.last(&text[..end]) {
            parts.push(place..end);
            end = place;
        }
        parts.push(0..end);
        let mut joined = Encoded::default();
        for part in parts.iter().rev() {
            let dropped = usize::from(part.start > 0 && cuts.drops_space());
            let text = &text[part.clone()];
            let encoded = tokenizer.encode_from(text, part.start, dropped, special);
            let encoded = encoded.unwrap_or_default();
            joined.ids.extend(encoded.ids);
            joined.starts.extend(encoded.starts);
        }
        (joined, parts.len(), whole)
    }

    #[test]
    fn every_known_tokenizer_has_places_to_cut() {
        let text = "he said hello. he he he, and then the end of it";
        for tokenizer in tokenizers_once() {
            let (joined, parts, whole) = both(tokenizer, text, false);
            assert!(parts > 2, "{parts} parts: {:?}", tokenizer.inner.get_pre_tokenizer());
            assert_eq!(joined, whole);
        }
    }

    #[test]
    fn an_unknown_step_leaves_the_text_whole() {
        let unknown = [
            r#"{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(?<=x) "}, "behavior": "Isolated", "invert": false}}"#,
            r#"{"pre_tokenizer": {"type": "BertPreTokenizer"}}"#,
            r#"{"normalizer": {"type": "Strip", "strip_left": true, "strip_right": true}}"#,
        ];
        for steps in unknown {
            let tokenizer = byte_level(steps, false);
            assert_eq!(Cuts::new(&tokenizer.inner).last("he said hello. he he"), None, "{steps}");
        }
    }

    #[test]
    fn a_long_text_is_read_in_many_pieces_and_one_without_a_place_in_one() {
        let tokenizer = TextTokenizer::from_bytes(DEMO_TOKENIZER, None, None).unwrap();
        let text = DEMO_TEXT.repeat(2);
        let read = |text: &str| {
            let mut pieces = Pieces::new(&tokenizer, false, text.as_bytes(), 0);
            let (mut joined, mut count) = (Encoded::default(), 0);
            while let Some(piece) = pieces.next_piece().unwrap() {
                assert!(piece.end_byte > piece.first_byte);
                joined.ids.extend(piece.encoded.ids);
                joined.starts.extend(piece.encoded.starts);
                count += 1;
            }
            (joined, count)
        };
        let (joined, count) = read(&text);
        assert_eq!(joined, tokenizer.encode(&text, false).unwrap());
        assert!(count >= text.len() / STEP_BYTES, "{count}");
        let spaces = " ".repeat(3 * STEP_BYTES);
        assert_eq!(read(&spaces), (tokenizer.encode(&spaces, false).unwrap(), 1));
        assert_eq!(read(""), (Encoded::default(), 0));
    }

    /// The pieces of `text` up to its end or an error, and the error.
    fn pieces_of(tokenizer: &TextTokenizer, text: &str) -> (usize, Option<String>) {
        let mut pieces = Pieces::new(tokenizer, false, text.as_bytes(), 0);
        let mut count = 0;
        loop {
            match pieces.next_piece() {
                Ok(None) => return (count, None),
                Ok(Some(_)) => count += 1,
                Err(error) => return (count, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn a_long_run_without_a_place_to_cut_is_refused_with_where_it_begins() {
        let tokenizer = TextTokenizer::from_bytes(DEMO_TOKENIZER, None, None).unwrap();
        for run in [" ", "\n", "\u{301}", "a"] {
            let run = run.repeat(MAX_PIECE_BYTES + 8);
            let (count, error) = pieces_of(&tokenizer, &format!("the end. The {run} end"));
            let error = error.unwrap();
            // What stands before the run is given: whoever needs no more never meets it.
            assert!(count == 1 && error.contains("bytes of the text from byte "), "{error}");
            assert!(error.contains("a long run of spaces"), "{error}");
        }
        // A run at the end of the text is bounded too, and one of fewer bytes is read.
        assert!(pieces_of(&tokenizer, &" ".repeat(2 * MAX_PIECE_BYTES)).1.is_some());
        assert_eq!(pieces_of(&tokenizer, &" ".repeat(MAX_PIECE_BYTES - 1)), (1, None));
    }

    #[test]
    fn a_tokenizer_without_places_takes_a_longer_text_as_a_whole() {
        let tokenizer = byte_level(r#"{"pre_tokenizer": {"type": "BertPreTokenizer"}}"#, false);
        assert!(!Cuts::new(&tokenizer.inner).are_possible());
        assert_eq!(pieces_of(&tokenizer, &"hehe.".repeat(MAX_PIECE_BYTES / 4)), (1, None));
        let long = "hehe.".repeat(MAX_WHOLE_BYTES / 4);
        let (count, error) = pieces_of(&tokenizer, &long);
        assert_eq!(count, 0);
        assert!(error.unwrap().contains("this one has more than 16 MiB"));
        for tokenizer in tokenizers_once() {
            let cuts = Cuts::new(&tokenizer.inner);
            assert!(cuts.are_possible(), "{:?}", tokenizer.inner.get_pre_tokenizer());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200 * SHARES as u32))]

        #[test]
        fn parts_give_the_tokens_of_the_whole(
            text in "(he|the|HE|aB|l|x|word| word |<s>|<x y>|<eat>| <eat>|12|3|1234|½|\\.|,|`|\\$|'s|'ll|\n|\r\n|\t|é|e\u{301}|ж|中|。|ひ|한|\u{3000}|\u{1f600}|ا|ש|क|।|ก| |  | x| y){0,40}",
            special: bool,
            first in 0..SHARES,
        ) {
            for tokenizer in tokenizers_once().iter().skip(first).step_by(SHARES) {
                let (joined, _, whole) = both(tokenizer, &text, special);
                prop_assert_eq!(joined, whole, "{:?}", tokenizer.inner.get_pre_tokenizer());
            }
        }
    }
}
