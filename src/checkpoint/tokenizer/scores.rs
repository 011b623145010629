//! SentencePiece vocabularies against the search that llama.cpp does, written down as it is: the best
//! score first, the leftmost of equals.

use std::collections::HashMap;

use proptest::prelude::*;

use super::TextTokenizer;
use crate::checkpoint::gguf::{Metadata, MetadataValue};

/// The ids of a text, in which spaces are written as the vocabulary writes them.
fn searched(tokens: &[String], scores: &[f64], text: &str) -> Vec<u32> {
    let ids: HashMap<&str, u32> = tokens.iter().map(String::as_str).zip(0..).collect();
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let joined = parts.windows(2).enumerate().filter_map(|(at, pair)| {
            let id = *ids.get(pair.concat().as_str())?;
            Some((scores[id as usize], at))
        });
        let best = joined.reduce(|best, other| if other.0 > best.0 { other } else { best });
        let Some((_, at)) = best else { break };
        let right = parts.remove(at + 1);
        parts[at].push_str(&right);
    }
    let bytes =
        |part: &str| part.bytes().map(|byte| ids[format!("<0x{byte:02X}>").as_str()]).collect();
    let of = |part: &String| ids.get(part.as_str()).map_or_else(|| bytes(part), |id| vec![*id]);
    parts.iter().flat_map(of).collect()
}

/// Fails if a vocabulary gives other ids than the search.
pub(super) fn assert_as_searched(tokenizer: &TextTokenizer, metadata: &Metadata, text: &str) {
    let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap().unwrap();
    let scores = metadata.floats("tokenizer.ggml.scores").unwrap().unwrap();
    let prefix = metadata.boolean("tokenizer.ggml.add_space_prefix").unwrap().unwrap_or(true);
    let spaced = format!("{}{text}", if prefix && !text.is_empty() { " " } else { "" });
    let expected = searched(tokens, scores, &spaced.replace(' ', "\u{2581}"));
    assert_eq!(tokenizer.encode(text, false).unwrap().ids, expected, "{text:?}");
}

/// A vocabulary of bytes, four characters, and these longer tokens; those given first score best.
fn vocabulary(longer: &[String], add_space_prefix: bool) -> Metadata {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["\u{2581}", "a", "b", "c"].map(str::to_owned));
    let known = tokens.len();
    for token in longer {
        if !tokens[known - 4..].contains(token) {
            tokens.push(token.clone());
        }
    }
    let kinds = (0..tokens.len()).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        3..=258 => 6,
        _ => 1,
    });
    let scores = (0..tokens.len()).map(|id| if id < known { 0.0 } else { -(id as f64) });
    let pairs = [
        ("tokenizer.ggml.model", MetadataValue::Text("llama".into())),
        ("tokenizer.ggml.token_type", MetadataValue::Integers(kinds.collect())),
        ("tokenizer.ggml.scores", MetadataValue::Floats(scores.collect())),
        ("tokenizer.ggml.tokens", MetadataValue::Texts(tokens)),
        ("tokenizer.ggml.add_space_prefix", MetadataValue::Bool(add_space_prefix)),
    ];
    let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
    Metadata::new(pairs.collect())
}

proptest! {
    #[test]
    fn the_best_score_is_joined_first(
        longer in proptest::collection::vec("[\u{2581}abc]{2,5}", 0..24),
        add_space_prefix: bool,
        text in "[ abcé]{0,24}",
    ) {
        let metadata = vocabulary(&longer, add_space_prefix);
        assert_as_searched(&TextTokenizer::from_gguf(&metadata).unwrap(), &metadata, &text);
    }
}

#[test]
fn runs_of_spaces_with_one_score_grow_from_the_left() {
    let runs: Vec<String> = (2..8).map(|len| "\u{2581}".repeat(len)).collect();
    let metadata = vocabulary(&runs, false);
    let scores = metadata.floats("tokenizer.ggml.scores").unwrap().unwrap();
    let equal = scores.iter().map(|score| if *score < 0.0 { -1000.0 } else { 0.0 }).collect();
    let changed = [("tokenizer.ggml.scores".to_owned(), MetadataValue::Floats(equal))];
    let all = metadata.iter().map(|(key, value)| (key.to_owned(), value.clone())).chain(changed);
    let metadata = Metadata::new(all.collect());
    let tokenizer = TextTokenizer::from_gguf(&metadata).unwrap();
    for len in 1..40 {
        assert_as_searched(&tokenizer, &metadata, &format!("a{}b", " ".repeat(len)));
    }
}
