//! How text is split into words before a byte-level vocabulary merges bytes within each word.
//!
//! GGUF files give only the name of the rule. Names, and the order of expressions, are those of
//! llama.cpp (`llama-vocab.cpp`). The expressions are too, except where llama.cpp notes that its
//! engine of expressions cannot express the model's own: there it is the one of the model's
//! `tokenizer.json`. Text between two matches is a word too.

use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use crate::error::{Error, Result};

/// The key that names the rule.
pub const PRETOKENIZER: &str = "tokenizer.ggml.pre";

/// Digits in threes, counted from the end of their word. Command R and its successors.
pub(super) const THREES_OF_WORD: &str = r"\d{1,3}(?=(?:\d{3})*\b)";
/// Numbers in threes, counted from the last one.
pub(super) const THREES: &str = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const JAIS2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
const MINICPM5: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const UFAKZEKA: &str =
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const BAILING: &str = r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const YOUTU_ASIAN: &str =
    r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\x{3040}-ゟ゠-ヿ]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;
/// Han characters and kana.
const DEEPSEEK3_ASIAN: &str = r"[一-龥\x{3040}-ゟ゠-ヿ]+";
const AFMOE_ASIAN: &str = r"[一-鿿㐀-䶿豈-\x{faff}\x{3040}-ゟ゠-ヿ･-ﾟ⼀-\x{2fdf}เ-\x{e7f}\x{e80}-\x{eff}ក-\x{17ff}က-႟ꩠ-ꩿꧠ-\x{a9ff}가-\x{d7af}ᄀ-ᇿ]+";
/// Han, Hangul, and the scripts between U+0800 and U+4E00.
const DEEPSEEK_ASIAN: &str = r"[一-龥ࠀ-一가-\x{d7ff}]+";
/// Letters of scripts with upper and lower case.
const DEEPSEEK_CASED: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK_SIGNS: &str = r"\s?[!-/:-~！-／：-～‘-‟\x{3000}-。]+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

/// A rule that `tokenizer.ggml.pre` can name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    names: &'static [&'static str],
    /// Applied in turn, each to the words that the one before made.
    expressions: &'static [&'static str],
    /// Whether a word that is a token becomes that token, whatever the merges are.
    pub ignore_merges: bool,
    /// Whether texts begin with BOS unless the file says otherwise.
    pub add_bos: bool,
}

const fn rule(names: &'static [&'static str], expressions: &'static [&'static str]) -> Rule {
    Rule { names, expressions, ignore_merges: false, add_bos: false }
}

impl Rule {
    const fn ignoring_merges(mut self) -> Rule {
        self.ignore_merges = true;
        self
    }

    const fn adding_bos(mut self) -> Rule {
        self.add_bos = true;
        self
    }
}

const RULES: &[Rule] = &[
    rule(&["default"], &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
    rule(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
        ],
        &[GPT2],
    ),
    rule(
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        &[r"\p{N}", GPT2],
    ),
    rule(&["falcon"], &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"]),
    rule(
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        &[LLAMA3],
    )
    .ignoring_merges()
    .adding_bos(),
    rule(&["glm4", "glm5"], &[LLAMA3]).ignoring_merges(),
    rule(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]),
    rule(&["jais-2"], &[JAIS2]),
    rule(&["minicpm5"], &[r"\p{N}{1,3}", MINICPM5]).ignoring_merges(),
    rule(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "megrez",
            "kormo",
            "grok-2",
        ],
        &[QWEN2],
    ),
    rule(&["laguna"], &[r"[^\n]+|[\n]+", QWEN2]),
    rule(&["qwen35"], &[QWEN35]),
    rule(&["ufakzeka"], &[UFAKZEKA]),
    rule(&["seed-coder"], &[SEED]),
    rule(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]),
    rule(&["exaone-moe"], &[EXAONE_MOE]),
    rule(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O]),
    rule(&["tiny_aya", "cohere2moe"], &[THREES_OF_WORD, GPT4O]),
    rule(&["tekken"], &[TEKKEN]).ignoring_merges().adding_bos(),
    rule(&["youtu"], &[YOUTU_ASIAN, YOUTU]).ignoring_merges(),
    rule(
        &["deepseek-llm"],
        &[r"[\r\n]", DEEPSEEK_CASED, DEEPSEEK_SIGNS, r"\s+$", DEEPSEEK_ASIAN, r"\p{N}+"],
    ),
    rule(&["deepseek-coder"], &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_ASIAN, r"\p{N}"]),
    rule(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[r"\p{N}{1,3}", DEEPSEEK3_ASIAN, DEEPSEEK3],
    ),
    rule(&["spark2_5"], &[r"\p{N}{1,3}", DEEPSEEK3_ASIAN, SPARK, r"\p{N}"]),
    rule(&["afmoe"], &[THREES, AFMOE_ASIAN, DEEPSEEK3]),
    rule(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    rule(&["viking"], &[BLOOM, r"\p{N}"]),
];

impl Rule {
    /// The rule with this name.
    ///
    /// # Errors
    /// Input errors: no name, since a wrong rule gives other tokens without a word; an unknown name.
    pub fn named(name: Option<&str>) -> Result<Rule> {
        let error = match name {
            None => Error::input("the file does not say how text is split into words").hint(format!(
                "convert the model again with a current llama.cpp, or say it with --pretokenizer NAME: llama-bpe for Llama 3, qwen2, ... (known names are {})", Self::names().join(", ")
            )),
            Some(name) => match Self::find(name) {
                Some(rule) => return Ok(rule),
                None => Error::input(format!("the pre-tokenizer {name} is not known")).hint(format!(
                    "if the model's tokenizer.json splits text as a known one does, say so with --pretokenizer NAME (known names are {})", Self::names().join(", ")
                )),
            },
        };
        Err(error.at(format!("key {PRETOKENIZER}")))
    }

    fn find(name: &str) -> Option<Rule> {
        RULES.iter().find(|rule| rule.names.contains(&name)).copied()
    }

    /// All names, sorted.
    pub fn names() -> Vec<&'static str> {
        let mut names: Vec<_> = RULES.iter().flat_map(|rule| rule.names.iter().copied()).collect();
        names.sort_unstable();
        names
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

/// Whether a rule of this name is known.
pub fn is_known(name: &str) -> bool {
    Rule::find(name).is_some()
}
