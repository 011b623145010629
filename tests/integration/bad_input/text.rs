//! Texts and tokenizers that cannot be scored.

use serde_json::json;

use crate::fixtures::{Place, Tiny, tokenizer};

fn place() -> Place {
    Place::new(&Tiny::default(), 100)
}

/// Refuses the tiny model on a text of these bytes.
fn refuses_text(bytes: &[u8], more: &[&str], error: &str) {
    let place = place();
    std::fs::write(place.path("text.txt"), bytes).unwrap();
    place.refuses(place.sweep(more), 2, error);
}

#[test]
fn an_empty_text_is_refused() {
    refuses_text(b"", &[], "text.txt: the text is empty");
}

#[test]
fn a_text_that_is_not_utf8_is_refused_with_the_byte() {
    refuses_text(
        b"some text \xff\xfe and more",
        &[],
        "text.txt: expected UTF-8, found invalid bytes from byte 10 on\n\
         hint: convert it, for example with iconv -t UTF-8",
    );
}

#[test]
fn a_text_that_the_vocabulary_cannot_spell_is_refused() {
    refuses_text(
        b"some Text",
        &[],
        "text.txt: the vocabulary has no token for 1 byte before byte 9 of the text\n\
         hint: rare bytes, such as control characters, are missing from some vocabularies: remove \
         them from the text",
    );
}

#[test]
fn a_text_shorter_than_a_window_is_refused_with_both_lengths() {
    refuses_text(
        b"short text",
        &[],
        "text.txt: the text has 10 tokens, fewer than one window of 15\n\
         hint: give a longer text, or smaller windows with --context",
    );
    refuses_text(
        b"short text",
        &["--bos", "none"],
        "text.txt: the text has 10 tokens, fewer than one window of 16\n\
         hint: give a longer text, or smaller windows with --context",
    );
}

#[test]
fn a_text_that_is_a_folder_is_refused() {
    let place = place();
    std::fs::remove_file(place.path("text.txt")).unwrap();
    std::fs::create_dir(place.path("text.txt")).unwrap();
    place.refuses(
        place.sweep(&[]),
        2,
        "text.txt: cannot read the text: expected a file, found a folder",
    );
}

#[test]
fn a_text_that_is_not_there_is_refused() {
    let place = place();
    std::fs::remove_file(place.path("text.txt")).unwrap();
    place.refuses(
        place.sweep(&[]),
        2,
        "text.txt: cannot read the text: No such file or directory (os error 2)",
    );
}

#[test]
fn a_missing_tokenizer_is_refused() {
    let place = place();
    std::fs::remove_file(place.path("model/tokenizer.json")).unwrap();
    place.refuses(
        place.sweep(&[]),
        2,
        "model/tokenizer.json: the file is missing\nhint: an older checkpoint may have only \
         tokenizer.model: convert it with transformers' save_pretrained",
    );
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_has_rows_is_refused() {
    let place = Place::new(&Tiny { vocab: 20, ..Tiny::default() }, 100);
    place.refuses(
        place.sweep(&[]),
        2,
        "model: the tokenizer has token ids up to 30, but the model has only 20 embedding rows\n\
         hint: the tokenizer belongs to another model",
    );
}

#[test]
fn a_damaged_tokenizer_is_refused() {
    let place = place();
    let mut broken = tokenizer();
    broken["model"]["merges"] = json!(["q z"]);
    std::fs::write(place.path("model/tokenizer.json"), broken.to_string()).unwrap();
    let error = "model: tokenizer.json: expected a tokenizer: Token `qz` out of vocabulary at line \
                 1 column 642";
    place.refuses(place.sweep(&[]), 2, error);
    let error = "model: tokenizer.json: expected a tokenizer with a model";
    std::fs::write(place.path("model/tokenizer.json"), "{").unwrap();
    let cause = "EOF while parsing an object at line 1 column 1";
    place.refuses(place.sweep(&[]), 2, &format!("{error}: {cause}"));
    std::fs::write(place.path("model/tokenizer.json"), [0xff; 40]).unwrap();
    let cause = "expected UTF-8, found another encoding: expected value at line 1 column 1\nhint: save \
                 the file again as UTF-8, or download it again";
    place.refuses(place.sweep(&[]), 2, &format!("{error}: {cause}"));
}

#[test]
fn a_damaged_tokenizer_configuration_is_refused() {
    let place = place();
    std::fs::write(place.path("model/tokenizer_config.json"), "{\"add_bos_token\": 3}").unwrap();
    place.refuses(
        place.sweep(&[]),
        2,
        "model: tokenizer_config.json: expected a tokenizer configuration: invalid type: integer \
         `3`, expected a boolean at line 1 column 19",
    );
}

#[test]
fn a_bos_mode_for_a_tokenizer_without_bos_is_refused() {
    let place = place();
    std::fs::remove_file(place.path("model/tokenizer_config.json")).unwrap();
    place.refuses(
        place.sweep(&["--bos", "prepend"]),
        2,
        "--bos prepend: the tokenizer has no BOS token",
    );
}
