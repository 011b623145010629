//! Reads JSON as editors and Python write it: a byte-order mark is skipped, and what is not JSON is
//! named with its place.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The byte-order mark that some editors write at the start of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// Words that Python's `json` writes for numbers that JSON does not have.
const NO_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
/// Most bytes before an error that are searched for the key that it belongs to.
const SEARCHED_BYTES: usize = 1 << 12;

/// `bytes` without a byte-order mark at their start.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}

/// Parses JSON. `expected` says what the text should be, for the error.
///
/// # Errors
/// An input error with the line and, if the cause is known, what is there instead of JSON.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], expected: &str) -> Result<T> {
    let text = without_bom(bytes);
    serde_json::from_slice(text).map_err(|cause| {
        let error = match (encoding(text), not_a_number(text, &cause)) {
            (Some(found), _) => Error::input(format!("{expected}: expected UTF-8, found {found}"))
                .hint("save the file again as UTF-8, or download it again"),
            (None, Some((word, key))) => {
                let of_key = key.map_or(String::new(), |key| format!("key `{key}`: "));
                let hint = "Python writes such numbers, other readers refuse them: remove the key, or write a number";
                Error::input(format!("{expected}: {of_key}{word} is no JSON number")).hint(hint)
            }
            (None, None) => Error::input(expected),
        };
        error.because(cause)
    })
}

/// What a text is instead of UTF-8, if its bytes give it away: JSON begins with a character of
/// ASCII, and holds no zero.
fn encoding(text: &[u8]) -> Option<&'static str> {
    match text {
        [0, 0, 0, 0, ..] => Some("zeros"),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0, 0, 0, _, ..] | [_, 0, 0, 0, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => Some("UTF-16"),
        _ => std::str::from_utf8(text).is_err().then_some("another encoding"),
    }
}

/// The word that is not a number at the place of an error, and the key before it.
fn not_a_number<'a>(
    text: &'a [u8],
    cause: &serde_json::Error,
) -> Option<(&'static str, Option<&'a str>)> {
    let line = text.split(|&byte| byte == b'\n').nth(cause.line().checked_sub(1)?)?;
    let start = line.as_ptr() as usize - text.as_ptr() as usize;
    let reached = (start + cause.column()).min(text.len());
    // The error may be anywhere in the word: look for one that begins a few bytes before it.
    let from = reached.saturating_sub(NO_NUMBERS[0].len());
    let (at, word) = (from..=reached).find_map(|at| {
        let is_there = |word: &&&str| text[at..].starts_with(word.as_bytes());
        Some((at, *NO_NUMBERS.iter().find(is_there)?))
    })?;
    let before = &text[at.saturating_sub(SEARCHED_BYTES)..at];
    Some((word, last_key(before)))
}

/// The last `"key":` of a piece of JSON.
fn last_key(text: &[u8]) -> Option<&str> {
    let colon = text.windows(2).rposition(|pair| pair[0] == b'"' && pair[1] == b':')?;
    let start = text[..colon].iter().rposition(|&byte| byte == b'"')? + 1;
    std::str::from_utf8(&text[start..colon]).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let value: Value = parse(b"\xef\xbb\xbf{\"a\": 1}", "not a list").unwrap();
        assert_eq!(value["a"], 1);
    }

    #[test]
    fn numbers_that_json_lacks_are_named_with_their_key() {
        for (text, expected) in [
            ("{\"a\": 1,\n \"b\": [0, Infinity]}", "key `b`: Infinity is no JSON number"),
            ("{\"a\": {\"c\": -Infinity}}", "key `c`: -Infinity is no JSON number"),
            ("{\"x\": NaN, \"y\": 2}", "key `x`: NaN is no JSON number"),
            ("[1, NaN]", "not a map: NaN is no JSON number"),
        ] {
            let error = parse::<Value>(text.as_bytes(), "not a map").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("line"), "{error}");
        }
    }

    #[test]
    fn utf16_is_named_and_other_faults_are_not_explained_away() {
        let told = |bytes: &[u8]| parse::<Value>(bytes, "not a map").unwrap_err().to_string();
        for text in ["\u{feff}{}", "{}", "\n{}", "[1]"] {
            let units = text.encode_utf16();
            let little: Vec<u8> = units.clone().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
            let wide: Vec<u8> = text.chars().flat_map(|of| (of as u32).to_le_bytes()).collect();
            for (bytes, name) in [(little, "UTF-16"), (big, "UTF-16"), (wide, "UTF-32")] {
                let error = told(&bytes);
                assert!(error.contains(&format!("expected UTF-8, found {name}")), "{error}");
                assert!(error.contains("hint: save the file again as UTF-8"), "{error}");
            }
        }
        assert!(told(&[0; 9]).contains("found zeros"));
        assert!(told(b"{\"a\": \"\xe9\"}").contains("found another encoding"));
        let error = parse::<Value>(b"{\"Infinity\": tru}", "not a map").unwrap_err().to_string();
        assert!(error.starts_with("not a map: expected"), "{error}");
        assert!(parse::<Value>(b"", "not a map").is_err());
    }
}
