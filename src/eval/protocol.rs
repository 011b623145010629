//! Perplexity protocols: how a text is cut into windows, and which tokens are scored.
//!
//! Perplexities of different protocols cannot be compared, so a protocol has a name, and the name
//! is in every record and table.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Which tokens of which windows are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Non-overlapping windows; every token but the first of each is scored.
    Full,
    /// llama.cpp's `perplexity`: non-overlapping windows; the second half of each is scored.
    LlamaCpp,
    /// The evaluation of GPTQ and later papers: windows of 2048; every token but the first is scored.
    Gptq2048,
}

/// Protocol names, in the order of the help text.
pub const PROTOCOLS: [(&str, Protocol); 3] = [
    ("full", Protocol::Full),
    ("llama.cpp", Protocol::LlamaCpp),
    ("gptq-2048", Protocol::Gptq2048),
];

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = PROTOCOLS.iter().find(|(_, p)| p == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, p)| *p);
        found.ok_or_else(|| {
            Error::input(format!("protocol: expected full, llama.cpp or gptq-2048, found {text:?}"))
        })
    }
}

impl Protocol {
    /// Default number of tokens per window.
    pub fn window_tokens(self) -> usize {
        if self == Protocol::Gptq2048 { 2048 } else { 512 }
    }

    /// Where the protocol puts BOS if the tokenizer adds one.
    pub fn bos_mode(self) -> BosMode {
        match self {
            Protocol::Full => BosMode::Prepend,
            Protocol::LlamaCpp => BosMode::Replace,
            Protocol::Gptq2048 => BosMode::Text,
        }
    }

    /// Positions of the targets that are scored in a window of `tokens`.
    pub fn scored(self, tokens: usize) -> Range<usize> {
        match self {
            Protocol::LlamaCpp => tokens / 2 + 1..tokens,
            Protocol::Full | Protocol::Gptq2048 => 1..tokens,
        }
    }
}

/// Where the beginning-of-sequence token goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BosMode {
    /// Nowhere.
    None,
    /// Before each window, which then has one token of text less.
    Prepend,
    /// Once before the text, then over the first token of each window (as llama.cpp does).
    Replace,
    /// Once before the text.
    Text,
}

/// BOS mode names, in the order of the help text.
pub const BOS_MODES: [(&str, BosMode); 4] = [
    ("none", BosMode::None),
    ("prepend", BosMode::Prepend),
    ("replace", BosMode::Replace),
    ("text", BosMode::Text),
];

impl fmt::Display for BosMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = BOS_MODES.iter().find(|(_, mode)| mode == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

impl FromStr for BosMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = BOS_MODES.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode);
        found.ok_or_else(|| {
            Error::input(format!("bos: expected none, prepend, replace or text, found {text:?}"))
        })
    }
}

/// A tokenized text.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Byte in the text where each token starts, non-decreasing.
    pub starts: Vec<u32>,
    /// Length of the text in bytes.
    pub text_bytes: u64,
}

/// One window: the model's input, and which tokens of it are scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Token ids, BOS included.
    pub ids: Vec<u32>,
    /// Positions whose tokens are predicted and scored.
    pub scored: Range<usize>,
    /// Bytes of text that the scored tokens cover.
    pub scored_bytes: u64,
}

/// How a text is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Which tokens are scored.
    pub protocol: Protocol,
    /// Where BOS goes, and which token it is; `None` is [`BosMode::None`].
    pub bos: Option<(BosMode, u32)>,
    /// Tokens per window.
    pub window_tokens: usize,
    /// The largest number of windows, from the start of the text.
    pub limit: Option<usize>,
}

impl Cut {
    /// Cuts `tokens` into windows; a trailing partial window is dropped.
    ///
    /// # Errors
    /// Input errors for windows too short to score a token, and texts shorter than one window.
    pub fn windows(&self, tokens: &Tokens) -> Result<Vec<Window>> {
        let count = self.count(tokens.ids.len())?;
        Ok((0..count).map(|index| self.window_of(tokens, 0, index)).collect())
    }

    /// The number of windows of a text of `tokens` tokens.
    ///
    /// # Errors
    /// As [`windows`](Self::windows).
    pub fn count(&self, tokens: usize) -> Result<usize> {
        let size = self.window_tokens;
        let scored = self.protocol.scored(size);
        if scored.is_empty() {
            let is_enough = |size: &usize| !self.protocol.scored(*size).is_empty();
            let least = (size + 1..).find(is_enough).unwrap_or(size);
            return Err(Error::input(format!(
                "no token of a window is scored: expected windows of {least} tokens or more, found {size}"
            )));
        }
        let (lead, step) = self.lead_and_step();
        let available = (tokens + lead) / step;
        if available == 0 {
            let expected = step - lead;
            return Err(Error::input(format!(
                "the text has {tokens} tokens, fewer than one window of {expected}"
            ))
            .hint("give a longer text, or smaller windows with --context"));
        }
        Ok(self.limit.map_or(available, |limit| limit.min(available)))
    }

    /// The number of the text's first tokens that the windows need, and one more; `None` for all.
    pub fn needed_tokens(&self) -> Option<usize> {
        let (_, step) = self.lead_and_step();
        Some(self.limit?.saturating_mul(step).saturating_add(1))
    }

    /// The tokens of the text that window `index` needs, and the one after.
    pub fn text_tokens(&self, index: usize) -> Range<usize> {
        let (lead, step) = self.lead_and_step();
        let first = (index * step).saturating_sub(lead);
        first..(index + 1) * step + 1
    }

    /// Tokens of BOS before the text, and tokens of text that each window advances by.
    fn lead_and_step(&self) -> (usize, usize) {
        let size = self.window_tokens;
        match self.bos.map_or(BosMode::None, |(mode, _)| mode) {
            BosMode::None => (0, size),
            BosMode::Prepend => (0, size.saturating_sub(1)),
            BosMode::Replace | BosMode::Text => (1, size),
        }
    }

    /// Window `index`. `tokens` are those of the text from token `first` on: at least the window's
    /// [`text_tokens`](Self::text_tokens), as far as the text has them.
    pub fn window_of(&self, tokens: &Tokens, first: usize, index: usize) -> Window {
        let (lead, step) = self.lead_and_step();
        let scored = self.protocol.scored(self.window_tokens);
        // Position p of the window is token `origin + p` of the text, or BOS where that is negative.
        let bos_first = matches!(self.bos, Some((BosMode::Prepend, _)));
        let origin = (index * step) as i64 - lead as i64 - i64::from(bos_first);
        let bos = self.bos.map_or(0, |(_, id)| id);
        let text_token = |position: usize| {
            let token = usize::try_from(origin + position as i64).ok();
            token.map(|token| token.saturating_sub(first))
        };
        let mut ids: Vec<u32> = (0..self.window_tokens)
            .map(|position| text_token(position).map_or(bos, |token| tokens.ids[token]))
            .collect();
        if let Some((BosMode::Prepend | BosMode::Replace, id)) = self.bos {
            ids[0] = id;
        }
        let start_of = |position: usize| match text_token(position) {
            Some(token) => tokens.starts.get(token).map_or(tokens.text_bytes, |&s| u64::from(s)),
            None => 0,
        };
        let scored_bytes = start_of(scored.end) - start_of(scored.start);
        Window { ids, scored, scored_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: u32) -> Tokens {
        let ids: Vec<u32> = (100..100 + count).collect();
        Tokens {
            ids,
            starts: (0..count).map(|i| 3 * i).collect(),
            text_bytes: 3 * u64::from(count),
        }
    }

    fn cut(protocol: Protocol, bos: Option<(BosMode, u32)>) -> Cut {
        Cut { protocol, bos, window_tokens: 8, limit: None }
    }

    #[test]
    fn without_bos_windows_are_consecutive_and_a_rest_is_dropped() {
        let windows = cut(Protocol::Full, None).windows(&tokens(20)).unwrap();
        assert_eq!(windows.len(), 2);
        assert_eq!(windows[1].ids, (108..116).collect::<Vec<_>>());
        assert_eq!((windows[1].scored.clone(), windows[1].scored_bytes), (1..8, 21));
    }

    #[test]
    fn prepended_bos_takes_a_token_of_each_window() {
        let cut = cut(Protocol::Full, Some((BosMode::Prepend, 1)));
        let windows = cut.windows(&tokens(15)).unwrap();
        assert_eq!(windows.len(), 2);
        assert_eq!(windows[1].ids, [vec![1], (107..114).collect()].concat());
        assert_eq!(windows[0].scored_bytes, 21);
    }

    #[test]
    fn replaced_bos_shifts_the_text_by_one_and_covers_first_tokens() {
        let cut = cut(Protocol::LlamaCpp, Some((BosMode::Replace, 1)));
        let windows = cut.windows(&tokens(15)).unwrap();
        assert_eq!(windows.len(), 2);
        assert_eq!(windows[0].ids, [vec![1], (100..107).collect()].concat());
        assert_eq!(windows[1].ids, [vec![1], (108..115).collect()].concat());
        assert_eq!((windows[1].scored.clone(), windows[1].scored_bytes), (5..8, 9));
    }

    #[test]
    fn bos_before_the_text_is_in_the_first_window_only() {
        let cut = cut(Protocol::Gptq2048, Some((BosMode::Text, 1)));
        let windows = cut.windows(&tokens(15)).unwrap();
        assert_eq!(windows[0].ids[0], 1);
        assert_eq!(windows[1].ids, (107..115).collect::<Vec<_>>());
    }

    #[test]
    fn a_text_shorter_than_a_window_is_refused_with_both_lengths() {
        let error = cut(Protocol::Full, None).windows(&tokens(7)).unwrap_err();
        assert!(error.to_string().contains("7 tokens, fewer than one window of 8"), "{error}");
    }
}
