//! Tokenizers of Hugging Face folders: `cargo fuzz run --sanitizer none tokenizer`.
//!
//! A tokenizer that is accepted encodes a text within the memory and time that libFuzzer allows.
#![no_main]

use evalkit::checkpoint::tokenizer::TextTokenizer;
use libfuzzer_sys::fuzz_target;

const TEXT: &str = "Once upon a time, a caf\u{e9} had 12 tables.\r\n<s>  \u{1f600}\n";

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tokenizer) = TextTokenizer::from_bytes(bytes, None, None) {
        let _ = tokenizer.encode(TEXT, false);
        let _ = tokenizer.encode(TEXT, true);
    }
});
