//! What the rules of GGUF files do to texts, each shown by what sets it apart, and that a vocabulary
//! gives the same ids from GGUF and from a `tokenizer.json` as the models' makers spell it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::TextTokenizer;
use super::pre::{Rule, is_known};
use crate::checkpoint::gguf::{Metadata, MetadataValue};

/// The words of a text, with a bar between two.
fn words(name: &str, text: &str) -> String {
    let mut words = PreTokenizedString::from(text);
    let pre_tokenizer = Rule::named(Some(name)).unwrap().pre_tokenizer().unwrap();
    pre_tokenizer.pre_tokenize(&mut words).unwrap();
    let splits = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
    splits.into_iter().map(|(_, (start, end), _)| &text[start..end]).collect::<Vec<_>>().join("|")
}

#[test]
fn each_rule_splits_what_sets_it_apart() {
    for (name, text, expected) in [
        ("default", "x `.", "x| `|."),
        ("falcon", "x `. 1234", "x| |`.| |123|4"),
        ("gpt-2", "it's 1234  x", "it|'s| 1234| | x"),
        ("starcoder", "it's 12", "it|'s| |1|2"),
        ("llama-bpe", "it'Sx 1234!\n    b", "it|'S|x| |123|4|!\n|   | b"),
        ("jais-2", "a     b    b", "a|    | b|  | | b"),
        ("minicpm5", "1234'M", "123|4|'M"),
        ("qwen2", "e\u{301}a 12 it'sx \n b", "e|\u{301}a| |1|2| it|'s|x| \n| b"),
        ("qwen35", "e\u{301}a 12", "e\u{301}a| |1|2"),
        ("laguna", "a \n b", "a| |\n| b"),
        ("ufakzeka", "it'sx", "it|'sx"),
        ("seed-coder", "a!\n1", "a|!|\n|1"),
        ("bailingmoe", "it'LL 12", "it|'LL| |1|2"),
        ("exaone-moe", "one two. 3", "one two|.| |3"),
        ("gpt-4o", "HTTPServer's aB 1234", "HTTPServer's| a|B| |123|4"),
        ("gpt-4o", "приветМир हिन्दी", "привет|Мир| हिन्दी"),
        ("tekken", "HTTPServer's 12", "HTTPServer|'s| |1|2"),
        ("tiny_aya", "1234567 x 1234a", "1|234|567| x| |123|4|a"),
        ("afmoe", "1234567 ひらx.net", "1|234|567| |ひら|x|.net"),
        ("youtu", "한국ㄅ、ab12", "한국|ㄅ|、|ab|1|2"),
        ("deepseek-llm", "ab 12\n中文。x é\u{378}", "ab| |12|\n|中文|。|x| é|\u{378}"),
        ("deepseek-coder", "x\t.y 12", "x|\t.|y| |1|2"),
        ("deepseek-v3", ".net 1234 中a!\n", ".net| |123|4| |中|a|!\n"),
        ("spark2_5", "a!\n\nb", "a|!|\n|\n|b"),
        ("bloom", "Hello, wor_ld (x12)", "Hello|,| wor_ld| (|x12|)"),
        ("viking", "ab12", "ab|1|2"),
    ] {
        assert_eq!(words(name, text), expected, "{name}: {text:?}");
    }
}

#[test]
fn rules_of_several_names_are_one() {
    let text = "it'Sx 1234  don't. 中文e\u{301} aB\n\n x";
    for (name, same) in [
        ("mpt", "gpt-2"),
        ("olmo", "gpt-2"),
        ("granite-docling", "gpt-2"),
        ("exaone4", "gpt-2"),
        ("refact", "smollm"),
        ("command-r", "starcoder"),
        ("falcon3", "llama3"),
        ("pixtral", "llama3"),
        ("midm-2.0", "llama3"),
        ("lfm2", "llama3"),
        ("dbrx", "llama3"),
        ("smaug-bpe", "llama3"),
        ("glm4", "llama3"),
        ("chatglm-bpe", "llama3"),
        ("stablelm2", "qwen2"),
        ("deepseek-r1-qwen", "qwen2"),
        ("hunyuan", "qwen2"),
        ("hunyuan-dense", "deepseek-v3"),
        ("llama4", "gpt-4o"),
        ("poro-chat", "bloom"),
    ] {
        assert_eq!(words(name, text), words(same, text), "{name}");
    }
    let flags = |name| {
        let rule = Rule::named(Some(name)).unwrap();
        (rule.ignore_merges, rule.add_bos)
    };
    assert_eq!(["llama3", "lfm2", "tekken"].map(flags), [(true, true); 3]);
    assert_eq!(["glm4", "minicpm5", "youtu"].map(flags), [(true, false); 3]);
    assert_eq!(
        ["dbrx", "chatglm-bpe", "qwen35", "gpt-4o", "deepseek-v3"].map(flags),
        [(false, false); 5]
    );
}

#[test]
fn every_name_has_one_rule() {
    let names = Rule::names();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    assert!(names.len() > 70 && names.iter().all(|name| is_known(name)));
    for encoder in ["jina-v2-de", "roberta-bpe", "modern-bert", "kimi-k2", "superbpe", ""] {
        assert!(!is_known(encoder), "{encoder}");
    }
}

#[test]
fn the_documentation_lists_every_name() {
    let page = include_str!("../../../docs/models.md");
    for name in Rule::names() {
        assert!(page.contains(&format!("`{name}`")), "docs/models.md does not list {name}");
    }
}

const MERGES: [&str; 12] =
    ["h e", "Ġ he", "Ġ Ġ", "Ċ Ċ", "l l", "' s", "1 2", "12 3", "Ġ 1", ". Ċ", "Ã ©", "ä ¸"];

/// A byte-level vocabulary with merges across every border that a rule may draw.
fn byte_level() -> BTreeMap<String, u32> {
    let bytes = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    let mut names: Vec<String> = bytes.into_iter().map(String::from).collect();
    names.sort();
    names.extend(MERGES.map(|merge| merge.replace(' ', "")));
    names.into_iter().zip(0..).collect()
}

fn from_gguf(pre: &str) -> TextTokenizer {
    let vocab = byte_level();
    let mut tokens = vec![String::new(); vocab.len()];
    vocab.into_iter().for_each(|(token, id)| tokens[id as usize] = token);
    let merges = MERGES.map(str::to_owned).to_vec();
    let pairs = [
        ("tokenizer.ggml.model", MetadataValue::Text("gpt2".into())),
        ("tokenizer.ggml.pre", MetadataValue::Text(pre.into())),
        ("tokenizer.ggml.tokens", MetadataValue::Texts(tokens)),
        ("tokenizer.ggml.merges", MetadataValue::Texts(merges)),
        ("tokenizer.ggml.add_bos_token", MetadataValue::Bool(false)),
    ];
    let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
    TextTokenizer::from_gguf(&Metadata::new(pairs.collect())).unwrap()
}

/// The same vocabulary as `tokenizer.json`, with these steps before its model.
fn from_json(steps: &[serde_json::Value], ignore_merges: bool) -> TextTokenizer {
    let file = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "model": {"type": "BPE", "vocab": byte_level(), "merges": MERGES,
            "ignore_merges": ignore_merges},
    });
    TextTokenizer::from_bytes(file.to_string().as_bytes(), None, None).unwrap()
}

/// Rules, and the steps that `tokenizer.json` of models with this rule lists.
fn pairs() -> Vec<(&'static str, Vec<serde_json::Value>)> {
    let split = |expression: &str| json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let punctuation = json!({"type": "Punctuation", "behavior": "Contiguous"});
    let rest = r"\s*[\r\n]+|\s+(?!\S)|\s+";
    let short = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    let like_llama = |letters: &str, numbers: &str, marks: &str| {
        let signs = format!(r" ?[^\s\p{{L}}{marks}\p{{N}}]+[\r\n]*");
        split(&format!(r"{short}|[^\r\n\p{{L}}\p{{N}}]?{letters}|{numbers}|{signs}|{rest}"))
    };
    let cased = |short: &str, numbers: &str| {
        let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
        let first = r"[^\r\n\p{L}\p{N}]?";
        split(&format!(
            r"{first}{upper}*{lower}+{short}|{first}{upper}+{lower}*{short}|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{rest}"
        ))
    };
    let endings = format!("{short}?");
    let threes = split(r"\p{N}{1,3}");
    vec![
        ("gpt-2", vec![bytes(true)]),
        ("smollm", vec![digits.clone(), bytes(true)]),
        ("falcon", vec![punctuation, bytes(true), split("[0-9][0-9][0-9]")]),
        ("llama-bpe", vec![like_llama(r"\p{L}+", r"\p{N}{1,3}", ""), bytes(false)]),
        ("qwen2", vec![like_llama(r"\p{L}+", r"\p{N}", ""), bytes(false)]),
        ("qwen35", vec![like_llama(r"[\p{L}\p{M}]+", r"\p{N}", r"\p{M}"), bytes(false)]),
        ("minicpm5", vec![threes.clone(), like_llama(r"\p{L}+", r"\p{N}+", ""), bytes(false)]),
        ("gpt-4o", vec![cased(&endings, r"\p{N}{1,3}"), bytes(false)]),
        ("tekken", vec![cased("", r"\p{N}"), bytes(false)]),
        (
            "tiny_aya",
            vec![split(r"\d{1,3}(?=(?:\d{3})*\b)"), cased(&endings, r"\p{N}{1,3}"), bytes(false)],
        ),
        (
            "deepseek-coder",
            vec![
                split("[\r\n]"),
                split(r"\s?\p{L}+"),
                split(r"\s?\p{P}+"),
                split(r"[一-龥ࠀ-一가-\x{d7ff}]+"),
                digits,
                bytes(false),
            ],
        ),
        (
            "deepseek-v3",
            vec![
                threes,
                split(r"[一-龥\x{3040}-ゟ゠-ヿ]+"),
                split(
                    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
                ),
                bytes(false),
            ],
        ),
    ]
}

fn built_pairs() -> Vec<(&'static str, TextTokenizer, TextTokenizer)> {
    let build = |(name, steps): (&'static str, Vec<_>)| {
        let ignore_merges = Rule::named(Some(name)).unwrap().ignore_merges;
        (name, from_gguf(name), from_json(&steps, ignore_merges))
    };
    pairs().into_iter().map(build).collect()
}

proptest! {
    #[test]
    fn gguf_and_tokenizer_json_give_the_same_ids(
        text in "(he|the|Hé|HE|aB|l|12|1|1234567|½|\\.|,|`|\\$|'s|'LL|\n|\r\n|\t|é|e\u{301}|ж|Ж|中|。|ひ|한|\u{1f600}|ا|क\u{93f}|ก| |  ){0,30}",
    ) {
        thread_local! {
            static BUILT: Vec<(&'static str, TextTokenizer, TextTokenizer)> = built_pairs();
        }
        BUILT.with(|built| {
            for (name, gguf, json) in built {
                let (gguf, json) = (gguf.encode(&text, false), json.encode(&text, false));
                assert_eq!(gguf.unwrap(), json.unwrap(), "{name}");
            }
        });
    }
}

/// The steps before the model, as in `tokenizer.json`, of each rule that a GGUF file can name.
pub(super) fn steps() -> Vec<String> {
    let steps = |name: &str| {
        let steps = Rule::named(Some(name)).unwrap().pre_tokenizer().unwrap();
        json!({ "pre_tokenizer": steps }).to_string()
    };
    let mut all: Vec<String> = Rule::names().into_iter().map(steps).collect();
    all.sort();
    all.dedup();
    all
}

/// A vocabulary of characters with the types and merges of Gemma 4's.
pub(super) fn gemma4(pairs: &[(&str, MetadataValue)]) -> Metadata {
    let merges = ["h e", "\u{2581} he", "\n \n", "\u{2581} \u{2581}", "l l", "1 2"];
    let mut tokens: Vec<String> = ["<pad>", "<eos>", "<bos>", "<unk>"].map(str::to_owned).to_vec();
    let mut kinds = vec![3; tokens.len()];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    kinds.extend([6; 256]);
    tokens.push("<tool|>".into());
    kinds.push(4);
    tokens.extend("\u{2581}\nhelotx 12.,'s中".chars().map(String::from));
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    kinds.resize(tokens.len(), 1);
    let own = [
        ("tokenizer.ggml.model", MetadataValue::Text("gemma4".into())),
        ("tokenizer.ggml.tokens", MetadataValue::Texts(tokens)),
        ("tokenizer.ggml.token_type", MetadataValue::Integers(kinds)),
        ("tokenizer.ggml.merges", MetadataValue::Texts(merges.map(str::to_owned).to_vec())),
        ("tokenizer.ggml.bos_token_id", MetadataValue::Integer(2)),
        ("tokenizer.ggml.unknown_token_id", MetadataValue::Integer(3)),
    ];
    let all = own.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), value.clone()));
    Metadata::new(all.collect())
}

#[test]
fn gemma_4_merges_characters_of_the_whole_text() {
    let off = MetadataValue::Bool(false);
    let metadata = gemma4(&[("tokenizer.ggml.add_bos_token", off)]);
    let tokenizer = TextTokenizer::from_gguf(&metadata).unwrap();
    assert_eq!(
        (tokenizer.bos, tokenizer.add_bos),
        (Some(2), true),
        "as llama.cpp, whatever it says"
    );
    let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap().unwrap();
    let shown = |text: &str| {
        let ids = tokenizer.encode(text, false).unwrap().ids;
        ids.iter().map(|id| tokens[*id as usize].as_str()).collect::<Vec<_>>().join("|")
    };
    assert_eq!(shown("he he\n\nll"), "he|\u{2581}he|\n\n|ll");
    assert_eq!(
        shown("  x<tool|>é12<bos>"),
        "\u{2581}\u{2581}|x|<tool|>|<0xC3>|<0xA9>|12|<0x3C>|<0x62>|o|s|<0x3E>"
    );
    assert_eq!(tokenizer.encode("x<bos>", true).unwrap().ids.last(), Some(&2));
}

#[test]
fn phi_3_drops_white_space_after_its_special_tokens() {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>", "<|user|>"].map(str::to_owned).to_vec();
    tokens.extend(["\u{2581}", "a", "\u{2581}a", "\n"].map(str::to_owned));
    let of = |architecture: &str| {
        let pairs = [
            ("general.architecture", MetadataValue::Text(architecture.into())),
            ("tokenizer.ggml.model", MetadataValue::Text("llama".into())),
            ("tokenizer.ggml.scores", MetadataValue::Floats(vec![0.0; tokens.len()])),
            ("tokenizer.ggml.tokens", MetadataValue::Texts(tokens.clone())),
            ("tokenizer.ggml.token_type", MetadataValue::Integers(vec![2, 3, 4, 3, 1, 1, 1, 1])),
        ];
        let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
        TextTokenizer::from_gguf(&Metadata::new(pairs.collect())).unwrap()
    };
    let ids = |tokenizer: &TextTokenizer, text: &str| tokenizer.encode(text, true).unwrap().ids;
    let (phi3, llama) = (of("phi3"), of("llama"));
    assert_eq!(ids(&phi3, "<|user|> \na</s> a<s> a"), [3, 6, 2, 6, 1, 4, 6]);
    assert_eq!(ids(&llama, "<|user|>\na</s>a"), [3, 4, 7, 5, 2, 6]);
}
