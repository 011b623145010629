//! How much longer a tokenizer may make a text before it splits it. A `tokenizer.json` lists steps that
//! replace, and a chain of steps can double a letter forty times: it is refused before any text, or any
//! of its own tokens, goes through it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use crate::error::{Error, Result};

use super::guard::guarded;

/// Largest growth, as a factor on bytes. Tokenizers in use reach about 400 on the worst text: NFKC makes
/// 33 bytes of the three of U+FDFA, and spaces become three bytes.
const MAX_FACTOR: f64 = 512.0;
/// Growth by compatibility forms of Unicode: U+FDFA, three bytes, becomes 33.
const COMPATIBILITY: f64 = 11.0;
/// Growth by canonical forms and by lower case.
const CANONICAL: f64 = 3.0;
/// Growth by writing each byte as a character of one or two bytes.
const BYTE_LEVEL: f64 = 2.0;
/// Growth by spaces around characters.
const SPACED: f64 = 3.0;
/// Growth by a character of up to four bytes for each space, and one before each word.
const METASPACE: f64 = 8.0;

/// Fails (input) if the steps before splitting could make a text much longer, or if special tokens are
/// added by more than one template, each of which may repeat what the one before it made.
pub fn refuse_growth(
    normalizer: Option<&Value>,
    pre_tokenizer: Option<&Value>,
    post_processor: Option<&Value>,
) -> Result<()> {
    let mut steps = Vec::new();
    if let Some(step) = normalizer.filter(|step| !step.is_null()) {
        let step = written::<NormalizerWrapper>(step, "expected a normalizer")?;
        flatten(step, "normalizers", &mut steps);
    }
    if let Some(step) = pre_tokenizer.filter(|step| !step.is_null()) {
        let step = written::<PreTokenizerWrapper>(step, "expected a pre-tokenizer")?;
        flatten(step, "pretokenizers", &mut steps);
    }
    let product: f64 = steps.iter().map(factor).product();
    if product > MAX_FACTOR {
        let count = steps.len();
        return Err(Error::input(format!(
            "its {count} steps before splitting could make a text {product:.0} times as long, expected at most {MAX_FACTOR}"
        ))
        .hint("no tokenizer of a language model needs this: take tokenizer.json from the model's own repository"));
    }
    refuse_templates(post_processor)
}

/// Fails (input) if more than one template adds special tokens, or if a step is no map. The `tokenizers`
/// crate also reads lists as steps, and takes the first kind of step that a map's keys allow.
fn refuse_templates(post_processor: Option<&Value>) -> Result<()> {
    let mut templates = 0;
    let mut steps: Vec<&Value> = post_processor.into_iter().collect();
    while let Some(step) = steps.pop() {
        let Some(map) = step.as_object() else {
            return Err(Error::input("post_processor: expected a map for each step"));
        };
        templates += usize::from(map.contains_key("single"));
        steps.extend(map.get("processors").and_then(Value::as_array).into_iter().flatten());
    }
    if templates > 1 {
        return Err(Error::input(format!(
            "expected one template that adds special tokens, found {templates}"
        )));
    }
    Ok(())
}

/// A step that is read and written again, which gives it the form of today, whatever form the file has.
fn written<T: DeserializeOwned + Serialize>(step: &Value, expected: &str) -> Result<Value> {
    guarded(|| {
        let read: T =
            serde_json::from_value(step.clone()).map_err(|e| Error::input(expected).because(e))?;
        serde_json::to_value(read).map_err(|e| Error::input(expected).because(e))
    })
}

/// The steps of a sequence, and of the sequences in it.
fn flatten(step: Value, list: &str, steps: &mut Vec<Value>) {
    match step {
        Value::Object(mut map) if map.get(list).is_some_and(Value::is_array) => {
            let inner = map.remove(list).unwrap_or_default();
            let inner = if let Value::Array(inner) = inner { inner } else { Vec::new() };
            inner.into_iter().for_each(|step| flatten(step, list, steps));
        }
        other => steps.push(other),
    }
}

/// A bound on how many times as long a step makes a text, at least 1.
fn factor(step: &Value) -> f64 {
    let len = |key: &str| step[key].as_str().map_or(0.0, |text| text.len() as f64);
    match step["type"].as_str().unwrap_or_default() {
        "NFKC" | "NFKD" => COMPATIBILITY,
        "NFC" | "NFD" | "Lowercase" => CANONICAL,
        "BertNormalizer" => CANONICAL * SPACED,
        "ByteLevel" => BYTE_LEVEL,
        "Metaspace" => METASPACE,
        "Prepend" => 1.0 + len("prepend"),
        "Precompiled" => longest_entry(step["precompiled_charsmap"].as_str().unwrap_or_default()),
        "Replace" => match step["pattern"]["String"].as_str() {
            Some(pattern) => (len("content") / pattern.len().max(1) as f64).max(1.0),
            // An expression may match between any two bytes.
            None => 1.0 + len("content"),
        },
        _ => 1.0,
    }
}

/// Bytes of the longest text that SentencePiece's table of replacements contains: a trie, behind its
/// length in bytes, and texts that each end in a zero.
fn longest_entry(table: &str) -> f64 {
    let Ok(bytes) = STANDARD.decode(table) else { return f64::INFINITY };
    let texts = bytes
        .split_first_chunk::<4>()
        .and_then(|(len, rest)| rest.get(usize::try_from(u32::from_le_bytes(*len)).ok()?..));
    let longest = texts.unwrap_or(&bytes).split(|&byte| byte == 0).map(<[u8]>::len).max();
    longest.unwrap_or(0).max(1) as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(normalizer: &Value, pre_tokenizer: &Value) -> bool {
        refuse_growth(Some(normalizer), Some(pre_tokenizer), None).is_err()
    }

    fn replace(pattern: &str, content: &str) -> Value {
        json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
    }

    fn in_sequence(steps: Vec<Value>) -> Value {
        json!({"type": "Sequence", "normalizers": steps})
    }

    #[test]
    fn the_steps_of_tokenizers_in_use_pass() {
        let null = Value::Null;
        let llama = in_sequence(vec![
            json!({"type": "Prepend", "prepend": "\u{2581}"}),
            replace(" ", "\u{2581}"),
        ]);
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let split = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": false},
            bytes,
        ]});
        let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": false});
        assert!(!refused(&llama, &null));
        assert!(!refused(&json!({"type": "NFC"}), &split));
        assert!(!refused(
            &in_sequence(vec![json!({"type": "NFKC"}), replace(" ", "\u{2581}")]),
            &metaspace
        ));
        assert!(!refused(&null, &null));
    }

    #[test]
    fn chains_that_double_are_refused_whatever_they_are_made_of() {
        let null = Value::Null;
        let chain = in_sequence(vec![replace("e", "ee"); 40]);
        assert!(refused(&chain, &null));
        // Nested, by an expression, in the form without types, and by bytes.
        assert!(refused(&in_sequence(vec![in_sequence(vec![replace("e", "ee"); 20]); 2]), &null));
        let expression = json!({"type": "Replace", "pattern": {"Regex": "."}, "content": "xx"});
        assert!(refused(&in_sequence(vec![expression; 40]), &null));
        assert!(refused(&in_sequence(vec![json!({"type": "ByteLevel"}); 40]), &null));
        assert!(refused(&replace("e", &"e".repeat(5_000)), &null));
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let pre = json!({"type": "Sequence", "pretokenizers": vec![bytes; 40]});
        assert!(refused(&null, &pre));
        let table = [&4u32.to_le_bytes()[..], &[0; 4], &[b'x'; 5_000], &[0]].concat();
        assert!(longest_entry(&STANDARD.encode(table)) == 5_000.0);
        assert!(longest_entry("?").is_infinite());
    }

    #[test]
    fn templates_do_not_repeat_one_another() {
        let template =
            json!({"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}});
        let of =
            |count: usize| json!({"type": "Sequence", "processors": vec![template.clone(); count]});
        refuse_growth(None, None, Some(&of(1))).unwrap();
        assert!(refuse_growth(None, None, Some(&of(2))).is_err());
        // Nested, as lists, and in maps that are both a template and a sequence.
        let nested = json!({"type": "Sequence", "processors": [of(1), of(1)]});
        let lists = json!({"type": "Sequence", "processors": [[[], [], {}], [[], [], {}]]});
        let mut both = template.clone();
        both["processors"] = json!([]);
        let both = json!({"type": "Sequence", "processors": [both.clone(), both]});
        for hostile in [nested, lists, both] {
            assert!(refuse_growth(None, None, Some(&hostile)).is_err(), "{hostile}");
        }
    }
}
