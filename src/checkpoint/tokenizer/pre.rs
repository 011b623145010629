//! How text is split into words before a byte-level vocabulary merges bytes within each word.
//!
//! GGUF files give only the name of the rule. Names, regular expressions and their order are
//! llama.cpp's (`llama-vocab.cpp`). Text between two matches is a word too.

use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use crate::error::{Error, Result};

/// The key that names the rule.
pub const PRETOKENIZER: &str = "tokenizer.ggml.pre";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A rule that `tokenizer.ggml.pre` can name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Applied in turn, each to the words that the one before made.
    expressions: &'static [&'static str],
    /// Whether a word that is a token becomes that token, whatever the merges are.
    pub ignore_merges: bool,
    /// Whether texts begin with BOS unless the file says otherwise.
    pub add_bos: bool,
}

const DEFAULT: Rule = Rule {
    expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
    ignore_merges: false,
    add_bos: false,
};
const SMOLLM: Rule = Rule { expressions: &[r"\p{N}", GPT2], ignore_merges: false, add_bos: false };

const RULES: [(&[&str], Rule); 5] = [
    (&["default"], DEFAULT),
    (&["gpt-2"], Rule { expressions: &[GPT2], ignore_merges: false, add_bos: false }),
    (&["smollm", "starcoder", "refact", "command-r", "codeshell"], SMOLLM),
    (
        &["llama-bpe", "llama3", "llama-v3"],
        Rule { expressions: &[LLAMA3], ignore_merges: true, add_bos: true },
    ),
    (
        &["qwen2", "deepseek-r1-qwen"],
        Rule { expressions: &[QWEN2], ignore_merges: false, add_bos: false },
    ),
];

impl Rule {
    /// The rule with this name.
    ///
    /// # Errors
    /// Input errors: no name, since a wrong rule gives other tokens without a word; an unknown name.
    pub fn named(name: Option<&str>) -> Result<Rule> {
        let known: Vec<_> = RULES.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        let known = known.join(", ");
        let error = match name {
            None => Error::input("the file does not say how text is split into words").hint(format!(
                "convert the model again with a current llama.cpp, or say it with --pretokenizer NAME: llama-bpe for Llama 3, qwen2, ... (known names are {known})"
            )),
            Some(name) => match RULES.iter().find(|(names, _)| names.contains(&name)) {
                Some((_, rule)) => return Ok(*rule),
                None => Error::input(format!("the pre-tokenizer {name} is not known"))
                    .hint(format!("known names are {known}")),
            },
        };
        Err(error.at(format!("key {PRETOKENIZER}")))
    }

    /// Splits by the expressions, then writes each word in the 256 byte characters.
    pub fn pre_tokenizer(&self) -> Result<PreTokenizerWrapper> {
        let mut steps = Vec::new();
        for expression in self.expressions {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|e| Error::bug(format!("bad expression {expression}")).because(e))?;
            steps.push(PreTokenizerWrapper::Split(split));
        }
        steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)));
        Ok(PreTokenizerWrapper::Sequence(Sequence::new(steps)))
    }
}
