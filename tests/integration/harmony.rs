//! Text in gpt-oss's chat format (Harmony): its special tokens are parsed on request and only
//! then, and the warning about plain text is given for plain text alone.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const SPECIAL: [&str; 5] = ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"];
const TURN: &str = "<|start|>user<|message|>what is two and two?<|end|>\
<|start|>assistant<|channel|>analysis<|message|>two and two make four.<|end|>\
<|start|>assistant<|channel|>final<|message|>four.<|return|>";
const TURNS: usize = 20;
const WINDOW: usize = 32;

/// A token per letter and mark that occurs, then the special tokens.
fn tokenizer() -> Value {
    let mut letters: Vec<char> = TURN.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    let vocab: serde_json::Map<String, Value> =
        letters.iter().enumerate().map(|(id, letter)| (letter.to_string(), id.into())).collect();
    let special = SPECIAL.iter().zip(letters.len()..).map(|(content, id)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    });
    json!({
        "version": "1.0", "added_tokens": special.collect::<Vec<_>>(), "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null, "padding": null,
        "truncation": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
                  "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

/// A small gpt-oss with that tokenizer, and a text in its format.
fn prepare(folder: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures/gpt-oss-4");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(golden.join(name), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    std::fs::write(folder.join("chat.txt"), TURN.repeat(TURNS)).unwrap();
}

/// What a score of the chat text says: its document, and the number of tokens in it.
fn score(folder: &Path, more: &[&str]) -> (String, u64) {
    let reports = folder.join(format!("reports{}", more.len()));
    let output = Command::new(env!("CARGO_BIN_EXE_evalkit"))
        .args(["perplexity", "--context", &WINDOW.to_string(), "--format", "json", "--model"])
        .arg(folder)
        .arg("--text")
        .arg(folder.join("chat.txt"))
        .arg("--reports")
        .arg(&reports)
        .args(more)
        .output()
        .unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{talk}");
    let run = std::fs::read_dir(&reports).unwrap().next().unwrap().unwrap().path();
    let records = std::fs::read_to_string(run.join("records.jsonl")).unwrap();
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let windows = records.filter(|record| record["kind"] == "window");
    let tokens = windows.filter_map(|window| window["scored_tokens"].as_u64()).sum();
    (String::from_utf8(output.stdout).unwrap(), tokens)
}

#[test]
fn special_tokens_are_parsed_on_request_only() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let (plain, plain_tokens) = score(folder.path(), &[]);
    let (parsed, parsed_tokens) = score(folder.path(), &["--parse-special"]);

    let letters_less_one = |special: &&str| TURN.matches(*special).count() * (special.len() - 1);
    let saved: usize = SPECIAL.iter().map(letters_less_one).sum();
    // Of each whole window every token but the first is scored.
    let scored = |turn_tokens: usize| (turn_tokens * TURNS / WINDOW * (WINDOW - 1)) as u64;
    assert_eq!(plain_tokens, scored(TURN.len()));
    assert_eq!(parsed_tokens, scored(TURN.len() - saved));
    assert!(plain.contains("score formatted text with --parse-special"), "{plain}");
    assert!(!parsed.contains("--parse-special"), "{parsed}");
}
