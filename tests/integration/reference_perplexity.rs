//! Perplexities against those of other programs: transformers for stories260k and SmolLM2
//! (`../shared/models/reference_ppl.json`), JAX for the demo (`datasets/demo/reference.json`).
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use crate::fixtures::shared;
use crate::fixtures::silent_walk::SilentWalk;
use candle_core::Device;
use evalkit::checkpoint::Checkpoint;
use evalkit::checkpoint::tokenizer::{Encoded, TextTokenizer};
use evalkit::eval::{BosMode, Cut, Protocol, Tokens, Walk, Window};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Half of the fifth significant digit of a perplexity, relative, at its least.
const FIVE_DIGITS: f64 = 5e-6;
/// The same of the sixth.
const SIX_DIGITS: f64 = 5e-7;
/// Bound on the relative difference of one window's nats.
const WINDOW: f64 = 1e-5;
/// The reference rounded SmolLM2's dequantized weights to f16, which evalkit does not.
const ROUNDED_WEIGHTS: f64 = 2e-4;

/// The nats of every scored token, window by window, of the model as it is stored.
fn nats(checkpoint: &Checkpoint, windows: &[Window]) -> Vec<Vec<f64>> {
    let (device, calibration) = (&Device::Cpu, None);
    let walk = Walk { checkpoint, variants: &[], windows, coded: &[], calibration, device };
    let mut walked = walk.run(None, &mut SilentWalk).unwrap();
    walked.outcomes.remove(0).unwrap().scores.into_iter().map(|score| score.nll_nats).collect()
}

fn tokens(tokenizer: &TextTokenizer, text: &str) -> Tokens {
    let Encoded { ids, starts } = tokenizer.encode(text, false).unwrap();
    Tokens { ids, starts, text_bytes: text.len() as u64 }
}

fn assert_close(found: f64, expected: f64, bound: f64, what: &str) {
    let off = (found / expected - 1.0).abs();
    assert!(off <= bound, "{what}: {found}, expected {expected}: off by {off:e}");
}

/// Holds one walk's nats against a reference run: `metric` of its tokens from `from` on.
fn compare(nats: &[Vec<f64>], from: usize, run: &Value, metric: &str, bounds: [f64; 2]) {
    let sums: Vec<f64> = nats.iter().map(|window| window[from..].iter().sum()).collect();
    let scored: usize = nats.iter().map(|window| window.len() - from).sum();
    assert_eq!(Some(scored as u64), run[metric]["scored_tokens"].as_u64(), "{metric}");
    let perplexity = (sums.iter().sum::<f64>() / scored as f64).exp();
    assert_close(perplexity, run[metric]["ppl"].as_f64().unwrap(), bounds[0], metric);
    let expected = run[format!("window_nll_{metric}")].as_array().unwrap();
    assert_eq!(sums.len(), expected.len());
    for (index, (found, expected)) in sums.iter().zip(expected).enumerate() {
        let what = format!("{metric}, window {index}");
        assert_close(*found, expected.as_f64().unwrap(), bounds[1], &what);
    }
}

/// The reference's facts about one model on one text, and the text's tokens, which must be its.
fn known(model: &str, text: &str, tokenizer: &TextTokenizer) -> Option<(Value, Tokens)> {
    let all = std::fs::read_to_string(shared("models/reference_ppl.json")?).unwrap();
    let all: Value = serde_json::from_str(&all).unwrap();
    let known = all["models"][model]["datasets"][text].clone();
    let content = std::fs::read_to_string(shared(&format!("datasets/{text}"))?).unwrap();
    let tokens = tokens(tokenizer, &content);
    let bytes: Vec<u8> = tokens.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(known["ids_sha256_u32le"], hash, "the tokens of {text}");
    Some((known, tokens))
}

fn stories_on(text: &str) {
    let Some(folder) = shared("models/stories260k") else { return };
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    let Some((known, tokens)) = known("stories260k", text, &tokenizer) else { return };
    let runs = known["runs"].as_object().unwrap();
    assert_eq!(runs.len(), 3);
    for (mode, run) in runs {
        let mode: BosMode = mode.parse().unwrap();
        let bos = (mode != BosMode::None).then(|| (mode, tokenizer.bos.unwrap()));
        for (protocol, metric) in [(Protocol::Full, "all"), (Protocol::LlamaCpp, "second_half")] {
            let windows = Cut { protocol, bos, window_tokens: 512, limit: Some(32) };
            let windows = windows.windows(&tokens).unwrap();
            compare(&nats(&checkpoint, &windows), 0, run, metric, [FIVE_DIGITS, WINDOW]);
        }
    }
}

#[test]
fn stories260k_on_wikitext_is_what_transformers_computes() {
    stories_on("wiki.test.raw");
}

#[test]
fn stories260k_on_its_own_stories_is_what_transformers_computes() {
    stories_on("tinystories-train-head.txt");
}

#[test]
fn smollm2_on_wikitext_is_what_transformers_computes() {
    let Some(path) = std::env::var_os("EVALKIT_SMOLLM2").map(PathBuf::from) else {
        eprintln!("skipped: EVALKIT_SMOLLM2 names no SmolLM2-135M-Instruct.Q4_1.gguf");
        return;
    };
    let checkpoint = Checkpoint::open(&path).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    assert!(!tokenizer.add_bos);
    let known = known("smollm2-135m-q4ref", "wiki.test.raw", &tokenizer);
    let Some((known, tokens)) = known else { return };
    let cut = Cut { protocol: Protocol::Full, bos: None, window_tokens: 512, limit: Some(32) };
    let nats = nats(&checkpoint, &cut.windows(&tokens).unwrap());
    let run = &known["runs"]["none"];
    // Single windows feel the rounding more than their mean does.
    let bounds = [ROUNDED_WEIGHTS, 10.0 * ROUNDED_WEIGHTS];
    compare(&nats, 0, run, "all", bounds);
    // llama.cpp scores the targets from position 257 on; the first nats are of position 1.
    assert_eq!(Protocol::LlamaCpp.scored(512), 257..512);
    compare(&nats, 256, run, "second_half", bounds);
}

#[test]
fn the_demo_is_what_jax_computes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo/reference.json");
    let known: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let checkpoint = Checkpoint::open_embedded(&evalkit::demo::MODEL).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    assert!(tokenizer.add_bos);
    let tokens = tokens(&tokenizer, evalkit::demo::TEXT);
    assert_eq!(known["text_tokens"].as_u64(), Some(tokens.ids.len() as u64));
    let bos = Some((Protocol::Full.bos_mode(), tokenizer.bos.unwrap()));
    let window_tokens = evalkit::demo::WINDOW_TOKENS;
    let cut = Cut { protocol: Protocol::Full, bos, window_tokens, limit: Some(64) };
    let nats = nats(&checkpoint, &cut.windows(&tokens).unwrap());
    let known = &known["reference"];
    let scored = nats.iter().flatten().count() as f64;
    let perplexity = (nats.iter().flatten().sum::<f64>() / scored).exp();
    assert_eq!(known["scored_tokens"].as_f64(), Some(scored));
    assert_close(perplexity, known["perplexity"].as_f64().unwrap(), SIX_DIGITS, "perplexity");
    let expected = known["window_nll_nats"].as_array().unwrap();
    assert_eq!(nats.len(), expected.len());
    for (index, (found, expected)) in nats.iter().zip(expected).enumerate() {
        let (found, expected) = (found.iter().sum(), expected.as_f64().unwrap());
        assert_close(found, expected, WINDOW, &format!("window {index}"));
    }
}
