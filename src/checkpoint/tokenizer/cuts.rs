//! Where a text can be cut so that its parts give the tokens of the whole.
//!
//! A place between two characters is judged by every step of the tokenizer: added tokens, changes of
//! the text, the split into words, and the merges of the vocabulary. Where a step is not known, no
//! place is good, and the text is tokenized as a whole.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};

use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

use super::expression::{Expression, Place};
use super::pre::{THREES, THREES_OF_WORD};
use super::steps::{Normalization, Pattern, Splitting, normalizations, splittings};

/// GPT-2's expression, which byte-level tokenizers split by if they are not told otherwise.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The punctuation of tokenizers that split by it: that of Unicode, and all of ASCII's.
const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^`~\|]";

/// Characters that are in the same classes in every version of Unicode, and are no marks.
fn is_stable(of: char) -> bool {
    let ranges = [
        '\t'..='\t',
        '\n'..='\n',
        '\r'..='\r',
        ' '..='~',
        '\u{c0}'..='\u{24f}',
        '\u{3b1}'..='\u{3c9}',
        '\u{410}'..='\u{44f}',
        '\u{561}'..='\u{586}',
        '\u{5d0}'..='\u{5ea}',
        '\u{621}'..='\u{63a}',
        '\u{641}'..='\u{64a}',
        '\u{905}'..='\u{939}',
        '\u{964}'..='\u{965}',
        '\u{995}'..='\u{9a8}',
        '\u{a15}'..='\u{a28}',
        '\u{a95}'..='\u{aa8}',
        '\u{b15}'..='\u{b28}',
        '\u{bae}'..='\u{bb5}',
        '\u{c15}'..='\u{c28}',
        '\u{c95}'..='\u{ca8}',
        '\u{d15}'..='\u{d28}',
        '\u{d9a}'..='\u{db1}',
        '\u{e01}'..='\u{e30}',
        '\u{1000}'..='\u{1021}',
        '\u{104a}'..='\u{104b}',
        '\u{1780}'..='\u{17a2}',
        '\u{17d4}'..='\u{17d5}',
        '\u{3001}'..='\u{3002}',
        '\u{3041}'..='\u{3096}',
        '\u{30a1}'..='\u{30fa}',
        '\u{4e00}'..='\u{9fa5}',
        '\u{ac00}'..='\u{d7a3}',
        '\u{ff01}'..='\u{ff5e}',
    ];
    ranges.iter().any(|range| range.contains(&of))
}

/// The places of one tokenizer.
#[derive(Debug)]
pub(super) struct Cuts<'a> {
    tokenizer: &'a Tokenizer,
    added: Vec<AddedToken>,
    normalizations: Vec<Normalization>,
    stages: Vec<Stage>,
    /// What is put before a text, if anything is.
    prefix: Option<Prefix>,
    /// Neighbouring characters in the tokens of the vocabulary.
    pairs: OnceCell<HashSet<(char, char)>>,
    known: RefCell<HashMap<(char, char), bool>>,
}

/// What a tokenizer puts before a text that does not begin with a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    /// A space, if there is none.
    IfMissing,
    /// A space always: a text that goes on after a cut is given without its own.
    Always,
}

/// One step of the split into words.
#[derive(Debug)]
enum Stage {
    Expression(Option<Expression>),
    /// Before this character, and before spaces.
    Before(char),
    /// Nothing is split, but spaces become this character.
    Spaces(char),
    Digits {
        each: bool,
    },
    /// Splits by a text of its own, which may be joined to what is beside it.
    Text(String),
    /// Runs of digits are split from their end, which takes a look at all of a run.
    Threes,
    Whitespace,
    /// Words are written in other characters from here on.
    Bytes,
    Unknown,
}

impl<'a> Cuts<'a> {
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        let step = serde_json::to_value(tokenizer.get_normalizer()).ok();
        let read = step.map_or(Ok(None), serde_json::from_value);
        let normalizations = normalizations(read.unwrap_or(Some(Normalization::Other)));
        let step = serde_json::to_value(tokenizer.get_pre_tokenizer()).ok();
        let read = step.map_or(Ok(None), serde_json::from_value);
        let splittings = splittings(read.unwrap_or(Some(Splitting::Other)));
        let fills = splittings.iter().any(|step| {
            matches!(
                step,
                Splitting::ByteLevel { add_prefix_space: true, .. } | Splitting::Metaspace { .. }
            )
        });
        let prepends = |step: &Normalization| matches!(step, Normalization::Prepend { .. });
        let prefix = if normalizations.iter().any(prepends) {
            Some(Prefix::Always)
        } else {
            fills.then_some(Prefix::IfMissing)
        };
        Cuts {
            tokenizer,
            added: tokenizer.get_added_tokens_decoder().into_values().collect(),
            normalizations,
            stages: splittings.into_iter().flat_map(Stage::of).collect(),
            prefix,
            pairs: OnceCell::new(),
            known: RefCell::default(),
        }
    }

    /// Whether there are texts with a good place: between a letter, or the end of a sentence, and what
    /// usually follows it.
    pub fn are_possible(&self) -> bool {
        let followed = |left: char| [' ', '\n', 'a', '中'].map(|right| (left, right));
        let mut usual = ['e', '.', '1', '中', '。'].into_iter().flat_map(followed);
        usual.any(|(left, right)| self.is_good(left, right, Some('a')))
    }

    /// Whether a part that follows a cut is given to the tokenizer without its first character, the
    /// space that the tokenizer puts before every text.
    pub fn drops_space(&self) -> bool {
        self.prefix == Some(Prefix::Always)
    }

    /// The last good place of `text` that is neither its start nor its end.
    pub fn last(&self, text: &str) -> Option<usize> {
        let mut after: Option<char> = None;
        let mut right: Option<(usize, char)> = None;
        for (at, left) in text.char_indices().rev() {
            if let Some((place, right)) = right {
                if self.is_good(left, right, after) {
                    return Some(place);
                }
                after = Some(right);
            }
            right = Some((at, left));
        }
        None
    }

    /// Whether a text can be cut between `left` and `right`, which `after` follows.
    fn is_good(&self, left: char, right: char, after: Option<char>) -> bool {
        if self.drops_space() {
            let follows = |after: char| !self.added.iter().any(|t| t.content.starts_with(after));
            if !after.is_some_and(follows) {
                return false;
            }
        }
        let known = self.known.borrow().get(&(left, right)).copied();
        known.unwrap_or_else(|| {
            let good = self.judge(left, right);
            self.known.borrow_mut().insert((left, right), good);
            good
        })
    }

    fn judge(&self, left: char, right: char) -> bool {
        if !is_stable(left) || !is_stable(right) || left.is_whitespace() {
            return false;
        }
        if self.prefix.is_some() && right != ' ' {
            return false;
        }
        if self.added.iter().any(|token| self.touches(token, left, right)) {
            return false;
        }
        let Some((left, mut right)) = self.normalized(left, right) else { return false };
        let mut is_byte_level = false;
        for stage in &self.stages {
            if is_byte_level {
                return false;
            }
            match stage.place(left, right) {
                Place::Ends => return true,
                Place::Unknown => return false,
                Place::Divides => is_byte_level |= matches!(stage, Stage::Bytes),
            }
            if let (Stage::Spaces(replacement), ' ') = (stage, right) {
                right = *replacement;
            }
        }
        !is_byte_level && self.merges_stay_apart(left, right)
    }

    /// Whether cutting between `left` and `right` may change where `token` is found, or what is
    /// beside it.
    fn touches(&self, token: &AddedToken, left: char, right: char) -> bool {
        let mut characters = token.content.chars();
        let pairs = token.content.chars().zip(token.content.chars().skip(1));
        let holds = pairs.into_iter().any(|pair| pair == (left, right));
        let begins = characters.next() == Some(right);
        let ends = token.content.ends_with(left);
        let looks_beside = token.single_word || token.lstrip || token.rstrip;
        // A prefix is put after every added token.
        let is_followed = ends && self.drops_space();
        holds || is_followed || looks_beside && (begins || ends)
    }

    /// Both characters as the split into words sees them; `None` if something else in the text may
    /// change them, or if what is put before a text is not what `right` becomes.
    fn normalized(&self, mut left: char, mut right: char) -> Option<(char, char)> {
        let mut prefix = None;
        for step in &self.normalizations {
            match step {
                Normalization::Prepend { prepend } => {
                    let mut characters = prepend.chars();
                    prefix = Some(characters.next()?);
                    if characters.next().is_some() {
                        return None;
                    }
                }
                Normalization::Replace { pattern: Pattern::String(pattern), content } => {
                    let mut pairs = pattern.chars().zip(pattern.chars().skip(1));
                    if pattern.is_empty() || pairs.any(|pair| pair == (left, right)) {
                        return None;
                    }
                    let new = |of: char, new: Option<char>, is_part: bool| {
                        let is_all = pattern.strip_prefix(of).is_some_and(str::is_empty);
                        if is_all { new } else { (!is_part).then_some(of) }
                    };
                    let begin = content.chars().next();
                    left = new(left, content.chars().last(), pattern.ends_with(left))?;
                    right = new(right, begin, pattern.starts_with(right))?;
                    if let Some(of) = prefix {
                        prefix = Some(new(of, begin, pattern.contains(of))?);
                    }
                }
                Normalization::Lowercase => {
                    (left, right) = (left.to_lowercase().last()?, right.to_lowercase().next()?);
                }
                // A space is joined neither with what stands before it nor with a mark after it.
                Normalization::Nfc if right == ' ' || right == '\n' => {}
                Normalization::OtherForm if left.is_ascii() && (right == ' ' || right == '\n') => {}
                _ => return None,
            }
        }
        prefix.is_none_or(|prefix| prefix == right).then_some((left, right))
    }

    /// Whether no token can hold `left` and then `right`, both of which are tokens: then merges on
    /// one side do not depend on the other.
    fn merges_stay_apart(&self, left: char, right: char) -> bool {
        let ModelWrapper::BPE(model) = self.tokenizer.get_model() else { return false };
        // Without an unknown token, characters are dropped, and what follows them in a word is shifted.
        let is_plain = !model.ignore_merges
            && model.unk_token.is_some()
            && model.dropout.is_none_or(|p| p == 0.0)
            && model.end_of_word_suffix.as_ref().is_none_or(String::is_empty)
            && model.continuing_subword_prefix.as_ref().is_none_or(String::is_empty);
        let is_token = |of: char| self.tokenizer.token_to_id(of.encode_utf8(&mut [0; 4])).is_some();
        let pairs = self.pairs.get_or_init(|| {
            let tokens = self.tokenizer.get_vocab(true);
            let of = |token: &String| -> Vec<(char, char)> {
                token.chars().zip(token.chars().skip(1)).collect()
            };
            tokens.keys().flat_map(of).collect()
        });
        is_plain && is_token(left) && is_token(right) && !pairs.contains(&(left, right))
    }
}

impl Stage {
    /// The stages of one step.
    fn of(step: Splitting) -> Vec<Stage> {
        match step {
            Splitting::ByteLevel { use_regex: true, .. } => {
                vec![Stage::Expression(Expression::new(GPT2)), Stage::Bytes]
            }
            Splitting::ByteLevel { .. } => vec![Stage::Bytes],
            Splitting::Split { pattern: Pattern::String(text), .. } => vec![Stage::Text(text)],
            Splitting::Split { pattern: Pattern::Regex(text), behavior }
                if matches!(behavior.as_str(), "Isolated" | "Removed") =>
            {
                if text == THREES || text == THREES_OF_WORD {
                    return vec![Stage::Threes];
                }
                vec![Stage::Expression(Expression::new(&text))]
            }
            Splitting::Punctuation { behavior } if behavior == "Contiguous" => {
                vec![Stage::Expression(Expression::new(&format!("{PUNCTUATION}+")))]
            }
            Splitting::Metaspace { replacement, split: true } => vec![Stage::Before(replacement)],
            Splitting::Metaspace { replacement, .. } => vec![Stage::Spaces(replacement)],
            Splitting::Digits { individual_digits } => {
                vec![Stage::Digits { each: individual_digits }]
            }
            Splitting::WhitespaceSplit => vec![Stage::Whitespace],
            _ => vec![Stage::Unknown],
        }
    }

    fn place(&self, left: char, right: char) -> Place {
        let ends = |ends: bool| if ends { Place::Ends } else { Place::Divides };
        match self {
            Stage::Expression(Some(expression)) => expression.place(left, right),
            Stage::Before(replacement) => {
                if right == ' ' || right == *replacement {
                    Place::Ends
                } else {
                    Place::Unknown
                }
            }
            Stage::Digits { each } => match (left.is_numeric(), right.is_numeric()) {
                (true, true) => ends(*each),
                (left, right) => ends(left != right),
            },
            Stage::Text(text) if text.contains([left, right]) => Place::Unknown,
            Stage::Threes if left.is_numeric() || right.is_numeric() => Place::Unknown,
            Stage::Threes | Stage::Text(_) => Place::Divides,
            Stage::Whitespace => ends(left.is_whitespace() || right.is_whitespace()),
            Stage::Bytes | Stage::Spaces(_) => Place::Divides,
            Stage::Expression(None) | Stage::Unknown => Place::Unknown,
        }
    }
}
