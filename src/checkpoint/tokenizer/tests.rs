//! Compares ids with published counts and hashes, and checks what [`Encoded::starts`] promises.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::{Encoded, TextTokenizer};
use crate::checkpoint::FileBytes;
use crate::checkpoint::gguf::{self, Metadata, MetadataValue};
use crate::error::Exit;

/// A file of the shared development data; prints a note if it is missing.
fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")).join(path);
    if !path.exists() {
        eprintln!("skipped: ../shared is not here");
        return None;
    }
    Some(path)
}

/// The SmolLM2 GGUF file that `EVALKIT_SMOLLM2` names; prints a note if there is none.
fn smollm2() -> Option<FileBytes> {
    let Some(path) = std::env::var_os("EVALKIT_SMOLLM2") else {
        eprintln!("skipped: EVALKIT_SMOLLM2 names no GGUF file");
        return None;
    };
    Some(FileBytes::map(Path::new(&path)).unwrap())
}

fn sha256(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    crate::units::hex(&Sha256::digest(bytes))
}

/// Encodes as plain text and checks the starts.
fn encode(tokenizer: &TextTokenizer, text: &str) -> Encoded {
    let encoded = tokenizer.encode(text, false).unwrap();
    assert_starts(&encoded, text);
    encoded
}

fn assert_starts(encoded: &Encoded, text: &str) {
    assert_eq!(encoded.starts.len(), encoded.ids.len());
    let ends = encoded.starts.iter().skip(1).copied().chain([text.len() as u32]);
    let mut bytes = 0;
    for (&start, end) in encoded.starts.iter().zip(ends) {
        assert!(start <= end, "starts decrease at {start}");
        assert!(text.is_char_boundary(start as usize), "{start} is inside a character");
        bytes += (end - start) as usize;
    }
    assert_eq!(bytes, text.len(), "the tokens' bytes add up to the text's");
}

#[test]
fn smollm2_from_gguf_gives_the_published_ids_for_wikitext() {
    let (Some(file), Some(text)) = (smollm2(), shared("datasets/wiki.test.raw")) else { return };
    let gguf = gguf::read(&file).unwrap();
    let tokenizer = TextTokenizer::from_gguf(&gguf.metadata).unwrap();
    assert_eq!((tokenizer.bos, tokenizer.add_bos, tokenizer.vocab_size()), (Some(1), false, 49152));
    let encoded = encode(&tokenizer, &std::fs::read_to_string(text).unwrap());
    assert_eq!(encoded.ids.len(), 303_415);
    let expected = "18e663b61dd00f49796c8a6ae498b7dbe009cac4a2eaf3c67fa7d81baf47d945";
    assert_eq!(sha256(&encoded.ids), expected);
}

#[test]
fn every_pre_tokenizer_gives_the_ids_of_the_python_tokenizers() {
    // SmolLM2's vocabulary and merges under each rule; ids by tokenizers 0.23 for Python, which
    // uses another regular expression engine, with the expressions of the models' own files.
    const EXPECTED: [(&str, usize, &str); 5] = [
        ("llama-bpe", 419_000, "76af6f068a31e57b"),
        ("qwen2", 419_000, "76af6f068a31e57b"),
        ("gpt-2", 416_524, "f75bca10679370f1"),
        ("smollm", 416_371, "6f093f132d333383"),
        ("default", 459_489, "dc2e6aa490bf1395"),
    ];
    let (Some(file), Some(wiki), Some(code)) =
        (smollm2(), shared("datasets/wiki.test.raw"), shared("datasets/python-docs-topics.txt"))
    else {
        return;
    };
    let text = [wiki, code].map(|path| std::fs::read_to_string(path).unwrap()).concat();
    let metadata = gguf::read(&file).unwrap().metadata;
    for (pre, count, expected) in EXPECTED {
        let changed = metadata.iter().map(|(key, value)| match key {
            "tokenizer.ggml.pre" => (key.to_owned(), MetadataValue::Text(pre.into())),
            _ => (key.to_owned(), value.clone()),
        });
        let tokenizer = TextTokenizer::from_gguf(&Metadata::new(changed.collect())).unwrap();
        let encoded = encode(&tokenizer, &text);
        assert_eq!((encoded.ids.len(), &sha256(&encoded.ids)[..16]), (count, expected), "{pre}");
    }
}

#[test]
fn stories260k_from_its_folder_gives_the_published_ids() {
    let Some(folder) = shared("models/stories260k") else { return };
    let tokenizer = TextTokenizer::from_folder(&folder).unwrap();
    assert_eq!((tokenizer.bos, tokenizer.add_bos, tokenizer.vocab_size()), (Some(1), true, 512));
    for (name, count, expected) in STORIES {
        let text = std::fs::read_to_string(shared(name).unwrap()).unwrap();
        let encoded = encode(&tokenizer, &text);
        assert_eq!(encoded.ids.len(), count, "{name}");
        assert_eq!(sha256(&encoded.ids), expected, "{name}");
    }
}

const STORIES: [(&str, usize, &str); 2] = [
    (
        "datasets/wiki.test.raw",
        809_289,
        "361291d3bf24dbb495a949f274fbb0e48a4fe2b933a75b09e44216f22c26be88",
    ),
    (
        "datasets/tinystories-train-head.txt",
        100_707,
        "c3163e7676b0e39f20ab8956f699efb23f03bf4e66a238ccfe04b3940c0cb54b",
    ),
];

/// Metadata of these keys.
fn metadata(pairs: &[(&str, MetadataValue)]) -> Metadata {
    Metadata::new(pairs.iter().map(|(key, value)| (key.to_string(), value.clone())).collect())
}

fn texts<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> MetadataValue {
    MetadataValue::Texts(texts.into_iter().map(|text| text.as_ref().to_owned()).collect())
}

/// The stories260k vocabulary as in a GGUF file, with scores from the order of merges.
fn stories_as_gguf(folder: &Path) -> Metadata {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![String::new(); vocab.len()];
    let mut scores = vec![0.0; vocab.len()];
    let mut kinds = vec![1; vocab.len()];
    for (token, id) in vocab {
        let id = id.as_u64().unwrap() as usize;
        tokens[id] = token.clone();
        kinds[id] = match token.as_str() {
            "<unk>" => 2,
            "<s>" | "</s>" => 3,
            byte if byte.starts_with("<0x") => 6,
            _ => 1,
        };
    }
    for (rank, merge) in json["model"]["merges"].as_array().unwrap().iter().enumerate() {
        let made = [&merge[0], &merge[1]].map(|half| half.as_str().unwrap()).concat();
        let id = tokens.iter().position(|token| *token == made).unwrap();
        if scores[id] == 0.0 {
            scores[id] = -1.0 - rank as f64;
        }
    }
    metadata(&[
        ("tokenizer.ggml.model", MetadataValue::Text("llama".into())),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.scores", MetadataValue::Floats(scores)),
        ("tokenizer.ggml.token_type", MetadataValue::Integers(kinds)),
        ("tokenizer.ggml.bos_token_id", MetadataValue::Integer(1)),
    ])
}

#[test]
fn a_sentence_piece_vocabulary_in_gguf_gives_the_folder_s_ids() {
    let Some(folder) = shared("models/stories260k") else { return };
    let tokenizer = TextTokenizer::from_gguf(&stories_as_gguf(&folder)).unwrap();
    assert_eq!((tokenizer.bos, tokenizer.add_bos, tokenizer.vocab_size()), (Some(1), true, 512));
    for (name, count, expected) in STORIES {
        let text = std::fs::read_to_string(shared(name).unwrap()).unwrap();
        let encoded = encode(&tokenizer, &text);
        assert_eq!(encoded.ids.len(), count, "{name}");
        assert_eq!(sha256(&encoded.ids), expected, "{name}");
    }
}

#[test]
fn special_tokens_in_a_text_are_text_unless_asked_for() {
    let Some(folder) = shared("models/stories260k") else { return };
    let json = TextTokenizer::from_folder(&folder).unwrap();
    let gguf = TextTokenizer::from_gguf(&stories_as_gguf(&folder)).unwrap();
    for tokenizer in [json, gguf] {
        let text = "One</s>Two<s>";
        let plain = tokenizer.encode(text, false).unwrap();
        assert_starts(&plain, text);
        assert!(!plain.ids.iter().any(|id| [1, 2].contains(id)), "{plain:?}");
        let parsed = tokenizer.encode(text, true).unwrap();
        assert_starts(&parsed, text);
        let special: Vec<_> = parsed.ids.iter().filter(|id| [1, 2].contains(id)).collect();
        assert_eq!(special, [&2, &1]);
    }
}

#[test]
fn starts_fall_on_characters_even_where_tokens_do_not() {
    let text = "naïve 😀😀 — 日本\u{301}\r\n\t end";
    if let Some(folder) = shared("models/stories260k") {
        encode(&TextTokenizer::from_folder(&folder).unwrap(), text);
    }
    let tokenizer = TextTokenizer::from_gguf(&byte_level_metadata("llama-bpe")).unwrap();
    let encoded = encode(&tokenizer, text);
    assert_eq!(encoded.ids.len(), text.len(), "without merges every byte is a token");
    assert_eq!(tokenizer.encode("", false).unwrap(), Encoded::default());
}

/// The 256 byte characters, then a control token, a user-defined one, and two merged tokens.
fn byte_level_metadata(pre: &str) -> Metadata {
    let mut alphabet: Vec<char> =
        tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut tokens: Vec<String> = alphabet.iter().map(char::to_string).collect();
    tokens.extend(["<|end|>", "<user>", "12", "a1"].map(str::to_owned));
    let mut kinds = vec![1; 256];
    kinds.extend([3, 4, 1, 1]);
    metadata(&[
        ("tokenizer.ggml.model", MetadataValue::Text("gpt2".into())),
        ("tokenizer.ggml.pre", MetadataValue::Text(pre.into())),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.token_type", MetadataValue::Integers(kinds)),
        ("tokenizer.ggml.merges", texts(["1 2", "a 1"])),
        ("tokenizer.ggml.bos_token_id", MetadataValue::Integer(256)),
    ])
}

/// `<unk>`, BOS, EOS, the 256 bytes, a space and two letters that merge.
fn small_sentence_piece() -> Metadata {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["\u{2581}", "a", "\u{2581}a"].map(str::to_owned));
    let kinds = [2, 3, 3].into_iter().chain([6; 256]).chain([1; 3]).collect();
    metadata(&[
        ("tokenizer.ggml.model", MetadataValue::Text("llama".into())),
        ("tokenizer.ggml.scores", MetadataValue::Floats(vec![0.0; tokens.len()])),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.token_type", MetadataValue::Integers(kinds)),
    ])
}

#[test]
fn characters_outside_a_sentence_piece_vocabulary_become_bytes() {
    let tokenizer = TextTokenizer::from_gguf(&small_sentence_piece()).unwrap();
    let encoded = encode(&tokenizer, "a aé");
    assert_eq!(encoded.ids, [261, 261, 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(encoded.starts, [0, 1, 3, 3]);
    assert_eq!((tokenizer.bos, tokenizer.add_bos), (Some(1), true), "llama.cpp's defaults");
}

proptest! {
    #[test]
    fn every_text_is_accounted_for_byte_by_byte(text in "(?s).{0,60}") {
        thread_local! {
            static TOKENIZERS: [TextTokenizer; 3] = {
                let plain = TextTokenizer::from_gguf(&byte_level_metadata("qwen2")).unwrap();
                let mut composing = plain.inner.clone();
                composing.with_normalizer(Some(tokenizers::normalizers::NFC)).unwrap();
                let composing = TextTokenizer::new(composing, None, false).unwrap();
                let pieces = TextTokenizer::from_gguf(&small_sentence_piece()).unwrap();
                [plain, composing, pieces]
            };
        }
        TOKENIZERS.with(|tokenizers| {
            for tokenizer in tokenizers {
                let encoded = tokenizer.encode(&text, false).unwrap();
                if !encoded.ids.is_empty() {
                    assert_starts(&encoded, &text);
                }
            }
        });
    }
}

#[test]
fn the_pre_tokenizer_decides_which_merges_can_happen() {
    let count = |pre: &str, text: &str| {
        let tokenizer = TextTokenizer::from_gguf(&byte_level_metadata(pre)).unwrap();
        tokenizer.encode(text, false).unwrap().ids.len()
    };
    // Digits one by one, in threes, or in runs of any length.
    let digits = ["smollm", "qwen2", "llama-bpe", "gpt-2", "default"].map(|pre| count(pre, "12"));
    assert_eq!(digits, [2, 2, 1, 1, 1]);
    assert_eq!(["llama3", "gpt-2", "default"].map(|pre| count(pre, "xx12")), [3, 3, 3]);
    // "000" and "12" in threes; `default` also splits threes off a whole run.
    assert_eq!(["llama-v3", "gpt-2", "default"].map(|pre| count(pre, "00012")), [4, 4, 4]);
    assert_eq!(["llama-v3", "gpt-2", "default"].map(|pre| count(pre, "0012")), [4, 3, 4]);
    // Letters and digits are never in the same word.
    assert_eq!(["smollm", "qwen2", "llama-bpe", "gpt-2"].map(|pre| count(pre, "a1")), [2; 4]);
}

#[test]
fn user_defined_tokens_are_recognized_and_control_tokens_are_not() {
    let tokenizer = TextTokenizer::from_gguf(&byte_level_metadata("smollm")).unwrap();
    let encoded = tokenizer.encode("x<user><|end|>", false).unwrap();
    assert!(encoded.ids.contains(&257) && !encoded.ids.contains(&256));
    assert_eq!(tokenizer.encode("x<user><|end|>", true).unwrap().ids[1..], [257, 256]);
    assert_eq!((tokenizer.bos, tokenizer.add_bos), (Some(256), false));
    let llama3 = TextTokenizer::from_gguf(&byte_level_metadata("llama-bpe")).unwrap();
    assert!(llama3.add_bos, "llama.cpp begins texts with BOS for this pre-tokenizer");
    assert_ne!(tokenizer.hash, llama3.hash);
}

/// The refusal of valid metadata with one key changed, or removed.
fn refusal(key: &str, value: Option<MetadataValue>) -> String {
    let mut pairs: std::collections::BTreeMap<String, MetadataValue> =
        byte_level_metadata("gpt-2").iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
    match value {
        Some(value) => pairs.insert(key.to_owned(), value),
        None => pairs.remove(key),
    };
    let error = TextTokenizer::from_gguf(&Metadata::new(pairs)).unwrap_err();
    assert_eq!(error.exit(), Exit::Input);
    error.to_string()
}

#[test]
fn unknown_names_in_gguf_metadata_are_refused_by_name() {
    let text = |text: &str| Some(MetadataValue::Text(text.into()));
    let found = refusal("tokenizer.ggml.pre", text("kimi-k2"));
    assert!(found.contains("the pre-tokenizer kimi-k2 is not known"), "{found}");
    assert!(found.contains("known names are a.x-4.0, afmoe, bailingmoe"), "{found}");
    for model in ["t5", "bert", "rwkv", "plamo2", "whitespace", "no_vocab"] {
        let found = refusal("tokenizer.ggml.model", text(model));
        assert!(
            found.contains(&format!("the tokenizer model {model} is not supported")),
            "{found}"
        );
        assert!(found.contains("gpt2, llama and gemma4"), "{found}");
    }
    let found = refusal("tokenizer.ggml.token_type", Some(MetadataValue::Integers(vec![9; 260])));
    assert!(found.contains("expected a token type from 1 to 6, found 9"), "{found}");
}

#[test]
fn lists_that_do_not_belong_together_are_refused() {
    let found = refusal("tokenizer.ggml.token_type", Some(MetadataValue::Integers(vec![1; 3])));
    assert!(found.contains("expected 260 entries, one for each token, found 3"), "{found}");
    let found = refusal("tokenizer.ggml.merges", Some(texts(["1 3"])));
    assert!(found.contains("the merge \"1 3\" needs \"13\", which is no token"), "{found}");
    let found = refusal("tokenizer.ggml.merges", Some(texts(["12"])));
    assert!(found.contains("expected two tokens with a space between"), "{found}");
    let found = refusal("tokenizer.ggml.merges", None);
    assert!(found.contains("the key tokenizer.ggml.merges is missing"), "{found}");
    let found = refusal("tokenizer.ggml.tokens", Some(MetadataValue::Texts(Vec::new())));
    assert!(found.contains("expected 1 to 1048576 tokens, found 0"), "{found}");
    let found = refusal("tokenizer.ggml.bos_token_id", Some(MetadataValue::Integer(99_999)));
    assert!(found.contains("expected a BOS token below 260, found 99999"), "{found}");
}

#[test]
fn repeated_tokens_are_refused() {
    let twice = texts((0..260).map(|id| if id < 2 { "same".into() } else { id.to_string() }));
    let found = refusal("tokenizer.ggml.tokens", Some(twice));
    assert!(found.contains("tokens 0 and 1 are both \"same\""), "{found}");
}
