//! Tokenizers from a Hugging Face folder: `tokenizer.json`, and the rule for BOS, which is spread
//! over `tokenizer_config.json`, the post-processor, `config.json` and `generation_config.json`.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokenizers::{ModelWrapper, Tokenizer};

use crate::checkpoint::foreign::refuse_placeholder;
use crate::checkpoint::json;
use crate::error::{At, Error, Result};
use crate::files::read_regular;

use super::growth::refuse_growth;
use super::guard::guarded;
use super::limited::{Dropped, Limited};
use super::{MAX_VOCABULARY, TextTokenizer};

/// The largest `tokenizer.json` in use has about 35 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// The largest configuration in use has about 2 MB.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Values in the JSON of a normalizer or a pre-tokenizer. Those in use have a few hundred.
const MAX_STEP_VALUES: usize = 1 << 14;
/// Values in the JSON of the other steps. A template has as many tokens as its pieces times the ids of
/// each: with this bound fewer than 100,000. Templates in use have fewer than 100 values.
const MAX_OTHER_VALUES: usize = 1 << 10;
/// Values in the JSON of an added token, which has seven and itself.
const MAX_TOKEN_VALUES: usize = 32;

impl TextTokenizer {
    /// The tokenizer of a Hugging Face folder. Only `tokenizer.json` is required.
    ///
    /// # Errors
    /// An input error if a file is missing or damaged, or the tokenizer is not a byte-pair encoding.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let Some(tokenizer) = read(&path, MAX_FILE_BYTES)? else {
            return Err(Error::input("the file is missing").at(path.display()).hint(
                "an older checkpoint may have only tokenizer.model: convert it with transformers' save_pretrained",
            ));
        };
        let config = read(&folder.join("tokenizer_config.json"), MAX_CONFIG_BYTES)?;
        let mut bos = None;
        for name in ["config.json", "generation_config.json"] {
            let path = folder.join(name);
            if let (None, Some(bytes)) = (bos, read(&path, MAX_CONFIG_BYTES)?) {
                bos = bos_token_id(&bytes).at(|| path.display())?;
            }
        }
        Self::from_bytes(&tokenizer, config.as_deref(), bos).at(|| folder.display())
    }

    /// The tokenizer of a folder's files: `tokenizer.json`, `tokenizer_config.json`, and the
    /// `bos_token_id` of the configuration.
    ///
    /// # Errors
    /// As [`TextTokenizer::from_folder`].
    pub fn from_bytes(
        tokenizer_json: &[u8],
        tokenizer_config_json: Option<&[u8]>,
        bos_token_id: Option<u32>,
    ) -> Result<Self> {
        let (inner, ids_for_nothing) = load(tokenizer_json).at(|| "tokenizer.json")?;
        let config: TokenizerConfig = match tokenizer_config_json {
            Some(bytes) => json::parse(bytes, "expected a tokenizer configuration")
                .at(|| "tokenizer_config.json")?,
            None => TokenizerConfig::default(),
        };
        let named = config.bos_token.as_ref().and_then(|token| inner.token_to_id(token.content()));
        let bos = named.or(bos_token_id);
        let begins_with_bos = bos.is_some() && ids_for_nothing.first() == bos.as_ref();
        Self::new(inner, bos, config.add_bos_token.unwrap_or(begins_with_bos))
    }
}

fn read(path: &Path, most_bytes: u64) -> Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => {
            let bytes = read_regular("read", path, most_bytes)?;
            refuse_placeholder(&bytes).at(|| path.display())?;
            Ok(Some(bytes))
        }
    }
}

/// The parts of `tokenizer_config.json` that concern BOS.
#[derive(Deserialize, Default)]
struct TokenizerConfig {
    add_bos_token: Option<bool>,
    bos_token: Option<NamedToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NamedToken {
    Plain(String),
    Added { content: String },
}

impl NamedToken {
    fn content(&self) -> &str {
        match self {
            NamedToken::Plain(content) | NamedToken::Added { content } => content,
        }
    }
}

/// `bos_token_id` of `config.json` or `generation_config.json`; of a list the first.
fn bos_token_id(bytes: &[u8]) -> Result<Option<u32>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        One(u32),
        Several(Vec<u32>),
    }
    #[derive(Deserialize)]
    struct BosConfig {
        bos_token_id: Option<Id>,
        /// The language model's own configuration, in a wrapper.
        text_config: Option<Box<BosConfig>>,
    }
    let config: BosConfig = json::parse(bytes, "expected a configuration with a bos_token_id")?;
    let inner = config.text_config.and_then(|inner| inner.bos_token_id);
    Ok(match config.bos_token_id.or(inner) {
        Some(Id::One(id)) => Some(id),
        Some(Id::Several(ids)) => ids.first().copied(),
        None => None,
    })
}

/// The tokenizer, and the ids that its post-processor adds to an empty text.
fn load(bytes: &[u8]) -> Result<(Tokenizer, Vec<u32>)> {
    refuse_unusable(bytes)?;
    let bytes = json::without_bom(bytes);
    let mut inner = guarded(|| {
        Tokenizer::from_bytes(bytes).map_err(|e| Error::input("expected a tokenizer").because(e))
    })?;
    // Padding may ask for any length.
    inner.with_padding(None);
    inner.set_encode_special_tokens(true);
    match inner.get_model() {
        ModelWrapper::BPE(bpe) if bpe.dropout.is_none_or(|p| p == 0.0) => {}
        ModelWrapper::BPE(_) => {
            return Err(Error::input("tokenizers with BPE dropout are not supported")
                .hint("set model.dropout to null in tokenizer.json"));
        }
        _ => return Err(Error::input("expected a tokenizer of type BPE")),
    }
    let ids = guarded(|| {
        let encoding = inner.encode("", true);
        encoding.map_err(|e| Error::input("the tokenizer cannot encode").because(e))
    })?;
    let ids = ids.get_ids().to_vec();
    Ok((inner, ids))
}

/// Fails (input) for what the `tokenizers` crate panics on, merges longer than any token and text that
/// is not Unicode, and for steps that would take more memory than a tokenizer needs.
fn refuse_unusable(bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct TokenizerFile {
        normalizer: Option<Limited<MAX_STEP_VALUES>>,
        pre_tokenizer: Option<Limited<MAX_STEP_VALUES>>,
        post_processor: Option<Limited<MAX_OTHER_VALUES>>,
        model: Model,
        // What follows is read so that it is known to be short, and Unicode.
        #[serde(rename = "added_tokens")]
        _added_tokens: Option<Dropped<MAX_VOCABULARY, MAX_TOKEN_VALUES>>,
        #[serde(rename = "version")]
        _version: Option<Limited<1>>,
        #[serde(rename = "truncation")]
        _truncation: Option<Limited<MAX_OTHER_VALUES>>,
        #[serde(rename = "padding")]
        _padding: Option<Limited<MAX_OTHER_VALUES>>,
        #[serde(rename = "decoder")]
        _decoder: Option<Limited<MAX_OTHER_VALUES>>,
    }
    #[derive(Deserialize)]
    struct Model {
        #[serde(default)]
        vocab: Vocabulary,
        #[serde(default)]
        merges: Vec<Merge>,
        continuing_subword_prefix: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Vocabulary {
        Map(HashMap<String, u32>),
        Other(IgnoredAny),
    }
    impl Default for Vocabulary {
        fn default() -> Self {
            Vocabulary::Other(IgnoredAny)
        }
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Merge {
        Pair(String, String),
        Line(String),
    }
    let file: TokenizerFile = json::parse(bytes, "expected a tokenizer with a model")?;
    let TokenizerFile { normalizer, pre_tokenizer, post_processor, .. } = &file;
    refuse_growth(
        normalizer.as_ref().map(|read| &read.0),
        pre_tokenizer.as_ref().map(|read| &read.0),
        post_processor.as_ref().map(|read| &read.0),
    )?;
    let Vocabulary::Map(vocab) = file.model.vocab else {
        return Err(Error::input("expected a tokenizer of type BPE, with a vocabulary by token"));
    };
    if file.model.continuing_subword_prefix.is_some_and(|prefix| !prefix.is_empty()) {
        return Err(Error::input("tokenizers with a continuing_subword_prefix are not supported"));
    }
    let longest = vocab.keys().map(String::len).max().unwrap_or(0);
    for merge in &file.model.merges {
        let (len, shown) = match merge {
            Merge::Pair(left, right) => (left.len() + right.len(), format!("{left} {right}")),
            Merge::Line(line) => (line.len().saturating_sub(1), line.clone()),
        };
        if len > longest {
            return Err(Error::input(format!("the merge {shown:?} makes no token")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small `tokenizer.json`.
    fn small_json(merges: &str, post_processor: &str) -> String {
        format!(
            r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
            {{"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
              "normalized": false, "special": true}}],
        "normalizer": null, "pre_tokenizer": null, "post_processor": {post_processor},
        "decoder": null, "model": {{"type": "BPE", "dropout": null, "unk_token": null,
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
        "byte_fallback": false, "vocab": {{"a": 0, "b": 1, "ab": 2, "<s>": 3}},
        "merges": {merges}}}}}"#
        )
    }

    const ADDS_BOS: &str = r#"{"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}}"#;

    #[test]
    fn the_bos_rule_is_put_together_from_all_files() {
        let bos = |post: &str, config: Option<&str>, id: Option<u32>| {
            let json = small_json(r#"["a b"]"#, post);
            let tokenizer =
                TextTokenizer::from_bytes(json.as_bytes(), config.map(str::as_bytes), id).unwrap();
            assert_eq!(tokenizer.encode("ab", false).unwrap().ids, [2], "nothing is added");
            (tokenizer.bos, tokenizer.add_bos)
        };
        let named = r#"{"bos_token": "<s>"}"#;
        let object = r#"{"bos_token": {"content": "<s>", "lstrip": false}, "add_bos_token": true}"#;
        assert_eq!(bos("null", None, None), (None, false));
        assert_eq!(bos("null", None, Some(3)), (Some(3), false));
        assert_eq!(bos(ADDS_BOS, None, Some(3)), (Some(3), true));
        assert_eq!(bos(ADDS_BOS, Some(named), None), (Some(3), true));
        assert_eq!(bos("null", Some(named), Some(0)), (Some(3), false));
        assert_eq!(bos("null", Some(object), None), (Some(3), true));
        let off = r#"{"bos_token": "<s>", "add_bos_token": false}"#;
        assert_eq!(bos(ADDS_BOS, Some(off), None), (Some(3), false));
    }

    #[test]
    fn damaged_tokenizer_files_are_refused() {
        let refused = |json: &str| {
            TextTokenizer::from_bytes(json.as_bytes(), None, None).unwrap_err().to_string()
        };
        assert!(refused("{").contains("tokenizer.json: expected a tokenizer with a model"));
        let long = small_json(r#"[["ab", "ab"]]"#, "null");
        assert!(
            refused(&long).contains("the merge \"ab ab\" makes no token"),
            "{}",
            refused(&long)
        );
        let absent = small_json(r#"["b a"]"#, "null");
        assert!(refused(&absent).contains("expected a tokenizer"), "{}", refused(&absent));
        let other = r#"{"model": {"type": "WordLevel", "vocab": [], "unk_token": "a"}}"#;
        assert!(refused(other).contains("expected a tokenizer of type BPE"), "{}", refused(other));
        let config = TextTokenizer::from_bytes(
            small_json("[]", "null").as_bytes(),
            Some(br#"{"add_bos_token": true}"#),
            None,
        );
        assert!(config.unwrap_err().to_string().contains("names no BOS token"));
    }

    #[test]
    fn text_that_the_vocabulary_would_drop_is_refused() {
        let json = small_json(r#"["a b"]"#, "null");
        let tokenizer = TextTokenizer::from_bytes(json.as_bytes(), None, None).unwrap();
        for (text, shown) in [("abxab", "1 byte before"), ("xx", "2 bytes"), ("aé", "2 bytes")] {
            let error = tokenizer.encode(text, false).unwrap_err().to_string();
            assert!(error.contains(&format!("the vocabulary has no token for {shown}")), "{error}");
        }
    }

    #[test]
    fn text_that_is_not_unicode_is_refused_wherever_it_is() {
        let good = small_json("[]", "null");
        for (place, damaged) in [
            (r#""decoder": null"#, r#""decoder": {"type": "ByteLevel", "\ud800": true}"#),
            (r#""dropout": null"#, r#""dropout": null, "\ud800": 1"#),
            (r#""padding": null"#, r#""padding": null, "x": "\udc00""#),
        ] {
            let text = good.replacen(place, damaged, 1);
            assert_ne!(text, good);
            let error = TextTokenizer::from_bytes(text.as_bytes(), None, None).unwrap_err();
            assert_eq!(error.exit(), crate::error::Exit::Input, "{damaged}: {error}");
        }
        let mut bytes =
            good.replacen(r#""decoder": null"#, r#""decoder": {"?": 1}"#, 1).into_bytes();
        let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
        bytes[at] = 0xff;
        assert!(TextTokenizer::from_bytes(&bytes, None, None).is_err());
    }

    #[test]
    fn a_template_with_a_token_that_is_not_there_is_refused() {
        let template = r#"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<x>",
            "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A",
            "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}], "special_tokens": {"<s>": {
            "id": "<s>", "ids": [3], "tokens": ["<s>"]}}}"#;
        let text = small_json("[]", template);
        let error = TextTokenizer::from_bytes(text.as_bytes(), None, None).unwrap_err();
        assert!(error.to_string().contains("the tokenizer contradicts itself"), "{error}");
    }

    #[test]
    fn a_template_with_a_million_tokens_and_other_long_lists_are_refused() {
        let piece = r#"{"SpecialToken": {"id": "<s>", "type_id": 0}},"#;
        let longer = |pieces: usize, ids: usize| {
            let ids = format!(r#""ids": [{}3]"#, "3, ".repeat(ids - 1));
            let pieces = format!(r#""single": [{}"#, piece.repeat(pieces - 1));
            ADDS_BOS.replace(r#""ids": [3]"#, &ids).replace(r#""single": ["#, &pieces)
        };
        let few = small_json("[]", &longer(3, 3));
        assert!(TextTokenizer::from_bytes(few.as_bytes(), None, Some(3)).unwrap().add_bos);
        let many = format!(
            r#"{{"type": "Sequence", "processors": [{}null]}}"#,
            r#"{"type": "ByteLevel"},"#.repeat(2_000)
        );
        for hostile in [longer(1_000_000, 1), longer(2_000, 20_000), longer(1, 1_000_000), many] {
            let error =
                TextTokenizer::from_bytes(small_json("[]", &hostile).as_bytes(), None, None);
            let error = error.unwrap_err().to_string();
            assert!(error.contains("expected at most 1024 values, found more"), "{error}");
        }
        let good = small_json("[]", "null");
        let lists = [
            ("decoder", 2_000, "1024 values"),
            ("normalizer", 20_000, "16384 values"),
            ("pre_tokenizer", 20_000, "16384 values"),
        ];
        for (key, count, expected) in lists {
            let list = format!(r#""{key}": [{}0]"#, "0,".repeat(count));
            let text = good.replacen(&format!(r#""{key}": null"#), &list, 1);
            let error = TextTokenizer::from_bytes(text.as_bytes(), None, None).unwrap_err();
            assert!(error.to_string().contains(expected), "{key}: {error}");
        }
    }
}
