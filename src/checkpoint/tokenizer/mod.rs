//! Text to token ids, with the place in the text where each token starts.
//!
//! One wrapper over the `tokenizers` crate for both sources, `tokenizer.json` and GGUF metadata,
//! so that a text gives the same ids whichever file named the vocabulary. Nothing is ever added
//! to a text: who wants a BOS prepends [`TextTokenizer::bos`], and says so in the protocol.

mod gguf;
mod json;
mod pre;

use std::sync::OnceLock;

use tokenizers::{PostProcessorWrapper, Tokenizer};

use crate::error::{Error, Result};

/// No vocabulary in use has more entries; ids are also rows of the embedding.
const MAX_VOCABULARY: usize = 1 << 20;

/// A text tokenizer and its BOS rule.
#[derive(Debug)]
pub struct TextTokenizer {
    /// Encodes special tokens in the text as plain text.
    inner: Tokenizer,
    /// The same, but special tokens in the text become their ids; made when first asked for.
    parsing: OnceLock<Tokenizer>,
    /// The token that begins a sequence, where the model has one.
    pub bos: Option<u32>,
    /// Whether the model's own tokenizer puts [`TextTokenizer::bos`] before a text.
    pub add_bos: bool,
    /// blake3 of everything that decides the ids, in hexadecimal.
    pub hash: String,
    vocab_size: usize,
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// Token ids, in the order of the text.
    pub ids: Vec<u32>,
    /// For each token the byte of the text where it starts: never decreasing, the first is 0, and
    /// always at the start of a character. Where a character is spread over several tokens, they
    /// all start where it starts. The text between two starts belongs to the first of the two.
    pub starts: Vec<u32>,
}

impl TextTokenizer {
    /// Drops what does not decide the ids of a plain text, and fixes the rest.
    fn new(mut inner: Tokenizer, bos: Option<u32>, add_bos: bool) -> Result<Self> {
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

    /// Encodes a whole text in one call, adding nothing.
    ///
    /// With `parse_special` false, the names of special tokens in the text (`<s>`,
    /// `<|endoftext|>`) are text like any other, as llama.cpp has it by default; with true they
    /// become their tokens. Added tokens that are not special are always recognized.
    ///
    /// # Errors
    /// A text of 4 GiB or more, or one that the vocabulary cannot express.
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Encoded> {
        if u32::try_from(text.len()).is_err() {
            let len = text.len();
            return Err(Error::input(format!(
                "expected a text of less than 4 GiB, found {len} bytes"
            )));
        }
        let tokenizer = if parse_special { self.parsing() } else { &self.inner };
        let encoding = tokenizer
            .encode(text, false)
            .map_err(|e| Error::input("the text cannot be tokenized").because(e))?;
        let offsets = encoding.get_offsets();
        self.refuse_gaps(text, offsets)?;
        let mut reached = 0;
        let starts = offsets.iter().enumerate().map(|(index, &(start, _))| {
            // What a normalizer dropped before the first token is the first token's.
            reached = if index == 0 { 0 } else { start.clamp(reached, text.len()) };
            reached as u32
        });
        Ok(Encoded { starts: starts.collect(), ids: encoding.get_ids().to_vec() })
    }

    /// A vocabulary without a byte and without an unknown token drops that byte silently; scoring
    /// what is left would flatter the model. Normalizers may drop text rightly.
    fn refuse_gaps(&self, text: &str, offsets: &[(usize, usize)]) -> Result<()> {
        if self.inner.get_normalizer().is_some() {
            return Ok(());
        }
        let mut reached = 0;
        for &(start, end) in offsets.iter().chain([&(text.len(), text.len())]) {
            if start > reached {
                let dropped = start - reached;
                return Err(Error::input(format!(
                    "the vocabulary has no tokens for {dropped} bytes of the text before byte {start}"
                ))
                .hint("rare bytes, such as control characters, are missing from some vocabularies: take them out of the text"));
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
mod tests;
