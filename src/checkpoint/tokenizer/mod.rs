//! Text to token ids, with the position in the text where each token starts.
//!
//! One wrapper around the `tokenizers` crate for both sources, `tokenizer.json` and GGUF metadata,
//! so that a text gives the same ids from either. Nothing is added to a text: a protocol with a BOS
//! token prepends [`TextTokenizer::bos`] itself.

mod cuts;
mod expression;
mod gguf;
mod growth;
mod guard;
mod json;
mod limited;
mod pieces;
mod pre;
mod steps;

use std::sync::OnceLock;

use tokenizers::{PostProcessorWrapper, Tokenizer};

use crate::error::{Error, Result};

use guard::guarded;

pub use gguf::{BYTE_LEVEL, MODEL as TOKENIZER_MODEL};
pub use pieces::Pieces;
pub use pre::{PRETOKENIZER, is_known as is_known_pretokenizer};

/// Largest vocabulary. No vocabulary in use has more entries.
const MAX_VOCABULARY: usize = 1 << 20;

/// A text tokenizer and its rule for BOS.
#[derive(Debug)]
pub struct TextTokenizer {
    /// Encodes the names of special tokens in a text as plain text.
    inner: Tokenizer,
    /// The same tokenizer, but names of special tokens become their ids. Built when first used.
    parsing: OnceLock<Tokenizer>,
    /// The token that begins a sequence, if the model has one.
    pub bos: Option<u32>,
    /// Whether the model's own tokenizer puts [`TextTokenizer::bos`] before a text.
    pub add_bos: bool,
    /// A blake3 hash of everything that affects the ids, in hexadecimal.
    pub hash: String,
    vocab_size: usize,
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// Token ids, in the order of the text.
    pub ids: Vec<u32>,
    /// For each token the byte of the text where it starts. The first is 0, they never decrease,
    /// and each is the start of a character. If several tokens make one character, all of them
    /// start where it starts. The text between two starts belongs to the first of them.
    pub starts: Vec<u32>,
}

impl TextTokenizer {
    /// Removes the parts of a tokenizer that do not affect the ids of a plain text.
    fn new(inner: Tokenizer, bos: Option<u32>, add_bos: bool) -> Result<Self> {
        guarded(|| Self::reduced(inner, bos, add_bos))
    }

    fn reduced(mut inner: Tokenizer, bos: Option<u32>, add_bos: bool) -> Result<Self> {
        let failed = |e| Error::input("the tokenizer cannot be used").because(e);
        inner.with_truncation(None).map_err(failed)?;
        inner.with_padding(None);
        inner.with_post_processor(None::<PostProcessorWrapper>);
        inner.with_decoder(None::<tokenizers::DecoderWrapper>);
        inner.set_encode_special_tokens(true);
        let vocab = inner.get_vocab(true);
        let vocab_size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        if vocab_size == 0 || vocab_size > MAX_VOCABULARY {
            return Err(Error::input(format!(
                "expected token ids from 0 to below {MAX_VOCABULARY}, found a vocabulary of {vocab_size}"
            )));
        }
        if let Some(bos) = bos.filter(|&bos| bos as usize >= vocab_size) {
            return Err(Error::input(format!(
                "expected a BOS token below {vocab_size}, found {bos}"
            )));
        }
        if add_bos && bos.is_none() {
            return Err(Error::input(
                "the tokenizer begins texts with BOS, but names no BOS token",
            )
            .hint("set bos_token in tokenizer_config.json, or bos_token_id in config.json"));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(inner.to_string(false).map_err(failed)?.as_bytes());
        hasher.update(format!("\nbos {bos:?} {add_bos}").as_bytes());
        let hash = hasher.finalize().to_hex().to_string();
        Ok(TextTokenizer { inner, parsing: OnceLock::new(), bos, add_bos, hash, vocab_size })
    }

    /// The largest token id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Encodes a whole text in one call, and adds nothing. [`Pieces`] gives the same for long texts.
    ///
    /// If `parse_special` is false, the names of special tokens in the text (`<s>`,
    /// `<|endoftext|>`) are plain text, as in llama.cpp by default; if true, they become these
    /// tokens. Added tokens that are not special are always recognized.
    ///
    /// # Errors
    /// An input error if the text has 4 GiB or more, or the vocabulary cannot express it.
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Encoded> {
        if u32::try_from(text.len()).is_err() {
            let len = text.len();
            return Err(Error::input(format!(
                "expected a text of less than 4 GiB, found {len} bytes"
            )));
        }
        self.encode_from(text, 0, 0, parse_special)
    }

    /// Encodes the part of a text that begins at byte `first`, without its first `dropped` bytes,
    /// which the tokenizer itself puts before every text.
    fn encode_from(
        &self,
        part: &str,
        first: usize,
        dropped: usize,
        parse_special: bool,
    ) -> Result<Encoded> {
        let tokenizer = if parse_special { self.parsing() } else { &self.inner };
        let text = part.get(dropped..).unwrap_or_default();
        let failed = |e| Error::input("the text cannot be tokenized").because(e);
        let encoding = guarded(|| tokenizer.encode(text, false).map_err(failed))?;
        let offsets = encoding.get_offsets();
        self.refuse_gaps(text, first + dropped, offsets)?;
        let mut reached = 0;
        let starts = offsets.iter().enumerate().map(|(index, &(start, _))| {
            // Text that a normalizer dropped before the first token belongs to the first token.
            let start = start + dropped;
            reached = if index == 0 { 0 } else { start.clamp(reached, part.len()) };
            (first + reached) as u32
        });
        Ok(Encoded { starts: starts.collect(), ids: encoding.get_ids().to_vec() })
    }

    /// Fails (input) if the vocabulary dropped bytes of the text, as one without a byte and without
    /// an unknown token does silently: the model would then be scored on an easier text. A
    /// tokenizer with a normalizer is not checked, since that may drop text on purpose.
    fn refuse_gaps(&self, text: &str, first: usize, offsets: &[(usize, usize)]) -> Result<()> {
        if self.inner.get_normalizer().is_some() {
            return Ok(());
        }
        let mut reached = 0;
        for &(start, end) in offsets.iter().chain([&(text.len(), text.len())]) {
            if start > reached {
                let dropped = match start - reached {
                    1 => "1 byte".to_owned(),
                    several => format!("{several} bytes"),
                };
                return Err(Error::input(format!(
                    "the vocabulary has no token for {dropped} before byte {} of the text",
                    first + start
                ))
                .hint("rare bytes, such as control characters, are missing from some vocabularies: remove them from the text"));
            }
            reached = reached.max(end);
        }
        Ok(())
    }

    fn parsing(&self) -> &Tokenizer {
        self.parsing.get_or_init(|| {
            let mut parsing = self.inner.clone();
            parsing.set_encode_special_tokens(false);
            parsing
        })
    }
}

#[cfg(test)]
mod peers;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scores;
#[cfg(test)]
mod tests;
