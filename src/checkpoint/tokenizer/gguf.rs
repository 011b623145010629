//! Tokenizers from GGUF metadata: byte-level BPE (`gpt2`), SentencePiece BPE (`llama`), and listed
//! merges of characters (`gemma4`).
//!
//! GGUF stores tokens, their types, and merges or scores. Everything else that `tokenizer.json`
//! contains (normalizer, pre-tokenizer, added tokens) follows from names and flags here.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};
use tokenizers::{AddedToken, Tokenizer};

use crate::checkpoint::families;
use crate::checkpoint::gguf::Metadata;
use crate::error::{At, Error, Result};

use super::guard::guarded;
use super::pre::{PRETOKENIZER, Rule};
use super::{MAX_VOCABULARY, TextTokenizer};

const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
/// The key of the tokenizer's model.
pub const MODEL: &str = "tokenizer.ggml.model";
/// The model whose text is first split into words, by a rule that the file should name.
pub const BYTE_LEVEL: &str = "gpt2";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
/// Longest token, since the search for its merges is quadratic in its length.
const MAX_PIECE_CHARS: usize = 256;

/// The character for a space in SentencePiece vocabularies.
const SPACE: &str = "\u{2581}";

impl TextTokenizer {
    /// The tokenizer in a GGUF file's metadata.
    ///
    /// # Errors
    /// Input errors with the key: an unknown tokenizer model, pre-tokenizer or token type, or lists of
    /// different lengths.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let tokens = TokenTable::read(metadata)?;
        match metadata.required(MODEL, metadata.text(MODEL))? {
            BYTE_LEVEL => guarded(|| byte_level(metadata, &tokens)),
            "llama" => guarded(|| sentence_piece(metadata, &tokens)),
            "gemma4" => guarded(|| characters(metadata, &tokens)),
            other => Err(Error::input(format!("the tokenizer model {other} is not supported"))
                .at(format!("key {MODEL}"))
                .hint("evalkit supports gpt2, llama and gemma4, the byte-pair encodings of causal models")),
        }
    }
}

fn byte_level(metadata: &Metadata, tokens: &TokenTable<'_>) -> Result<TextTokenizer> {
    let rule = Rule::named(metadata.text(PRETOKENIZER)?)?;
    let vocab = tokens.vocabulary()?;
    let lines = metadata.required(MERGES, metadata.texts(MERGES))?;
    let merges = listed_merges(lines, &vocab).at(|| format!("key {MERGES}"))?;
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(rule.ignore_merges)
        .build()
        .map_err(unusable)?;
    let mut inner = Tokenizer::new(model);
    inner.with_pre_tokenizer(Some(rule.pre_tokenizer()?));
    tokens.add_special(&mut inner, &[])?;
    let bos = bos(metadata, None)?;
    let add_bos = metadata.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(rule.add_bos);
    TextTokenizer::new(inner, bos, add_bos)
}

fn sentence_piece(metadata: &Metadata, tokens: &TokenTable<'_>) -> Result<TextTokenizer> {
    let vocab = tokens.vocabulary()?;
    let scores = metadata.required(SCORES, metadata.floats(SCORES))?;
    let merges = scored_merges(tokens, scores, &vocab).at(|| format!("key {SCORES}"))?;
    let mut inner = Tokenizer::new(tokens.with_bytes(metadata, vocab, merges)?);
    let mut steps = Vec::new();
    if metadata.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true) {
        steps.push(NormalizerWrapper::Prepend(Prepend::new(SPACE.into())));
    }
    steps.push(NormalizerWrapper::Replace(Replace::new(" ", SPACE).map_err(unusable)?));
    inner.with_normalizer(Some(Sequence::new(steps))).map_err(unusable)?;
    let family = metadata.text("general.architecture")?.and_then(families::named);
    tokens.add_special(&mut inner, family.map_or(&[], |family| family.keeps_space_after))?;
    let bos = bos(metadata, Some(1))?;
    let add_bos = metadata.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(true);
    TextTokenizer::new(inner, bos, add_bos)
}

/// Listed merges over the characters of a whole text, in which spaces are [`SPACE`]; nothing is split.
fn characters(metadata: &Metadata, tokens: &TokenTable<'_>) -> Result<TextTokenizer> {
    let vocab = tokens.vocabulary()?;
    let lines = metadata.required(MERGES, metadata.texts(MERGES))?;
    let merges = listed_merges(lines, &vocab).at(|| format!("key {MERGES}"))?;
    let mut inner = Tokenizer::new(tokens.with_bytes(metadata, vocab, merges)?);
    let spaces = Replace::new(" ", SPACE).map_err(unusable)?;
    inner.with_normalizer(Some(spaces)).map_err(unusable)?;
    tokens.add_special(&mut inner, &[])?;
    // llama.cpp begins texts with BOS even if the file says not to: early files say so wrongly.
    TextTokenizer::new(inner, bos(metadata, None)?, true)
}

fn unusable(cause: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::input("the tokenizer's metadata cannot be used").because(cause)
}

/// The BOS token, or llama.cpp's default for the model.
fn bos(metadata: &Metadata, default: Option<u32>) -> Result<Option<u32>> {
    let key = "tokenizer.ggml.bos_token_id";
    match metadata.integer(key)? {
        None => Ok(default),
        Some(found) => u32::try_from(found).map(Some).map_err(|_| {
            Error::input(format!("expected a token id, found {found}")).at(format!("key {key}"))
        }),
    }
}

/// llama.cpp's `enum llama_token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Normal,
    /// Unknown and control tokens: never the result of encoding plain text.
    Special,
    UserDefined,
    Unused,
    Byte,
}

struct TokenTable<'a> {
    texts: &'a [String],
    kinds: Vec<TokenKind>,
}

impl<'a> TokenTable<'a> {
    fn read(metadata: &'a Metadata) -> Result<Self> {
        let texts = metadata.required(TOKENS, metadata.texts(TOKENS))?;
        if texts.is_empty() || texts.len() > MAX_VOCABULARY {
            let found = texts.len();
            return Err(Error::input(format!(
                "expected 1 to {MAX_VOCABULARY} tokens, found {found}"
            ))
            .at(format!("key {TOKENS}")));
        }
        let kinds = match metadata.integers(TYPES)? {
            None => vec![TokenKind::Normal; texts.len()],
            Some(types) => {
                same_length(TYPES, types.len(), texts.len())?;
                types.iter().map(|&id| kind(id)).collect::<Result<_>>()?
            }
        };
        Ok(TokenTable { texts, kinds })
    }

    /// Ids by text. An empty text marks an unused id.
    fn vocabulary(&self) -> Result<Vocab> {
        let mut vocab = Vocab::default();
        for (id, text) in self.texts.iter().enumerate() {
            if text.is_empty() {
                continue;
            }
            if let Some(first) = vocab.insert(text.clone(), id as u32) {
                return Err(Error::input(format!("tokens {first} and {id} are both {text:?}"))
                    .at(format!("key {TOKENS}")));
            }
        }
        Ok(vocab)
    }

    /// A model that writes characters without a token as bytes, or as the unknown token.
    fn with_bytes(&self, metadata: &Metadata, vocab: Vocab, merges: Merges) -> Result<BPE> {
        let mut model = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .fuse_unk(true)
            .byte_fallback(self.kinds.contains(&TokenKind::Byte));
        let unknown = metadata.integer(UNKNOWN)?.unwrap_or(0);
        if let Some(token) = usize::try_from(unknown).ok().and_then(|id| self.texts.get(id)) {
            model = model.unk_token(token.clone());
        }
        model.build().map_err(unusable)
    }

    /// Adds special and user-defined tokens. White space after one is dropped if `keep_space` names
    /// others, and not this one.
    fn add_special(&self, inner: &mut Tokenizer, keep_space: &[&str]) -> Result<()> {
        let mut added = Vec::new();
        for (text, kind) in self.texts.iter().zip(&self.kinds) {
            let drops_space = !keep_space.is_empty() && !keep_space.contains(&text.as_str());
            let token = match kind {
                TokenKind::Special => AddedToken::from(text.as_str(), true),
                TokenKind::UserDefined => AddedToken::from(text.as_str(), false).normalized(false),
                TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => continue,
            };
            added.push(token.rstrip(drops_space));
        }
        inner.add_tokens(added).map(|_| ()).map_err(unusable)
    }
}

fn kind(id: i64) -> Result<TokenKind> {
    match id {
        1 => Ok(TokenKind::Normal),
        2 | 3 => Ok(TokenKind::Special),
        4 => Ok(TokenKind::UserDefined),
        5 => Ok(TokenKind::Unused),
        6 => Ok(TokenKind::Byte),
        other => Err(Error::input(format!("expected a token type from 1 to 6, found {other}"))
            .at(format!("key {TYPES}"))),
    }
}

fn same_length(key: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::input(format!("expected {expected} entries, one for each token, found {found}"))
        .at(format!("key {key}")))
}

/// Merges as the file lists them, `left right`, best first. Repetitions are ignored. The left token may
/// begin with the space that other merges are divided by.
fn listed_merges(lines: &[String], vocab: &Vocab) -> Result<Merges> {
    let mut seen = HashSet::new();
    let mut merges = Merges::new();
    for line in lines {
        let space = line.char_indices().skip(1).find(|(_, character)| *character == ' ');
        let Some((left, right)) = space.map(|(at, _)| (&line[..at], &line[at + 1..])) else {
            return Err(Error::input(format!(
                "expected two tokens with a space between, found {line:?}"
            )));
        };
        let made = format!("{left}{right}");
        if let Some(missing) = [left, right, &made].into_iter().find(|t| !vocab.contains_key(*t)) {
            return Err(Error::input(format!(
                "the merge {line:?} needs {missing:?}, which is no token"
            )));
        }
        if seen.insert(line.as_str()) {
            merges.push((left.to_owned(), right.to_owned()));
        }
    }
    Ok(merges)
}

/// SentencePiece joins the two neighbours whose union has the best score. A list of all ways to
/// split every token in two, best score first, expresses the same as merges.
fn scored_merges(tokens: &TokenTable<'_>, scores: &[f64], vocab: &Vocab) -> Result<Merges> {
    same_length(SCORES, scores.len(), tokens.texts.len())?;
    let joins = |id: u32| {
        let kind = tokens.kinds.get(id as usize);
        matches!(kind, Some(TokenKind::Normal | TokenKind::UserDefined))
    };
    let mut found = Vec::new();
    for (id, (text, &score)) in tokens.texts.iter().zip(scores).enumerate() {
        if !joins(id as u32) || text.is_empty() {
            continue;
        }
        let chars = text.chars().count();
        if chars > MAX_PIECE_CHARS || !score.is_finite() {
            return Err(Error::input(format!(
                "expected a token of at most {MAX_PIECE_CHARS} characters with a finite score, found token {id}, {chars} characters, score {score}"
            )));
        }
        let mut halves: Vec<_> = text
            .char_indices()
            .enumerate()
            .skip(1)
            .filter_map(|(left_chars, (at, _))| {
                let (left, right) = text.split_at(at);
                let ids = (*vocab.get(left)?, *vocab.get(right)?);
                (joins(ids.0) && joins(ids.1)).then_some((score, left_chars, ids, left, right))
            })
            .collect();
        halves.sort_by_key(|&(_, _, ids, _, _)| ids);
        found.append(&mut halves);
    }
    // Among equal scores the longer left half is first, as in transformers' conversion.
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    Ok(found
        .into_iter()
        .map(|(_, _, _, left, right)| (left.to_owned(), right.to_owned()))
        .collect())
}
