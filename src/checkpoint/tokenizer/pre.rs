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
    /// The rule with this name; if there is none, llama.cpp's default.
    pub fn named(name: Option<&str>) -> Result<Rule> {
        let Some(name) = name else { return Ok(DEFAULT) };
        if let Some((_, rule)) = RULES.iter().find(|(names, _)| names.contains(&name)) {
            return Ok(*rule);
        }
        let known: Vec<_> = RULES.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        Err(Error::input(format!("the pre-tokenizer {name} is not known"))
            .at("key tokenizer.ggml.pre")
            .hint(format!("known names are {}", known.join(", "))))
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
