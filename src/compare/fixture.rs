//! The set of records that tests of summaries and renderers share: a reference, two variants that
//! work, and one that fails.

use crate::results::{
    Cell, Done, Environment, Failure, Index, Record, Run, RunFolder, StoredPart, Window,
};

/// Windows per variant.
const WINDOWS: usize = 12;
/// Scored tokens per window.
const TOKENS: usize = 100;

pub(crate) fn records() -> Vec<Record> {
    let run = Run {
        model: "tiny-stories".into(),
        architecture: "LlamaForCausalLM".into(),
        model_hash: "3a".repeat(32),
        tokenizer_hash: "5c".repeat(32),
        text_name: "stories | held out".into(),
        text_hash: "7e".repeat(32),
        text_bytes: 4_800,
        protocol: "full".into(),
        bos: "none".into(),
        window_tokens: TOKENS + 1,
        stride_tokens: TOKENS + 1,
        windows: WINDOWS,
        scored_tokens: WINDOWS * TOKENS,
        seed: 7,
        numeric_version: 1,
        backend: None,
        evalkit_version: "0.1.0".into(),
        layers: 2,
        parameters: 1_100_000,
        vocabulary: 512,
        entropy_floor_nats_per_byte: Some(0.45),
        warnings: vec!["generated text: compare variants, not models".into()],
    };
    let environment = Environment {
        binary_hash: "9b".repeat(32),
        os: "linux".into(),
        cpu_model: "some processor".into(),
        cpu_features: vec!["avx2".into()],
        device: "cpu".into(),
        ..Environment::default()
    };
    let mut records = vec![Record::Run(run), Record::Environment(environment)];
    let failed = cell("d0", "palette1-c", "palette1-c", 125_000);
    records.extend([
        cell("a0", "fp", "fp", 2_000_000),
        cell("b0", "palette4", "palette4", 501_000),
        failed,
        cell("c0", "palette2-g16", "palette2-g16", 280_000),
    ]);
    for window in 0..WINDOWS {
        records.push(scores("a0", window, 0.0));
        records.push(scores("b0", window, 0.01));
        records.push(scores("c0", window, 0.3));
    }
    records.push(Record::Failure(Failure {
        cell_id: "d0".into(),
        variant: "palette1-c".into(),
        cause: "logits are not finite in layer 1, window 0".into(),
        hint: "keep the embedding at 4 bits".into(),
    }));
    records.extend(["a0", "b0", "c0"].map(|id| {
        let coded_hash = id.repeat(32);
        Record::Done(Done { cell_id: id.into(), windows: WINDOWS, coded_hash, ..Done::default() })
    }));
    records
}

fn cell(cell_id: &str, variant: &str, recipe: &str, size_bytes: u64) -> Record {
    let part = |part: &str, recipe: &str, weights, size_bytes| StoredPart {
        part: part.into(),
        recipe: recipe.into(),
        weights,
        size_bytes,
    };
    Record::Cell(Cell {
        cell_id: cell_id.into(),
        variant: variant.into(),
        parts: vec![
            part("blocks", recipe, 1_000_000, size_bytes),
            part("embedding", "fp", 98_000, 196_000),
            part("norms and biases", "fp", 2_000, 4_000),
        ],
        is_reference: variant == "fp",
        ..Cell::default()
    })
}

/// Numbers that vary from window to window and worsen with `damage`.
fn scores(cell_id: &str, window: usize, damage: f64) -> Record {
    let wave = ((window * 7) % 12) as f64 / 12.0;
    let kl = |token: usize| (damage * (0.5 + wave) * (token % 10) as f64 / 4.5) as f32;
    let kl_tokens: Vec<f32> = if damage > 0.0 { (0..TOKENS).map(kl).collect() } else { Vec::new() };
    Record::Window(Window {
        cell_id: cell_id.into(),
        window,
        scored_tokens: TOKENS,
        scored_bytes: 400,
        nll_nats: TOKENS as f64 * (2.0 + 0.4 * wave + damage * (0.9 + 0.2 * wave)),
        kl_nats: kl_tokens.iter().map(|&kl| f64::from(kl)).sum(),
        top1_agree: TOKENS - (damage * (60.0 + 40.0 * wave)) as usize,
        kl_tokens,
        ..Window::default()
    })
}

/// A run's folder with these records and nothing measured.
pub(crate) fn folder(name: &str, records: &[Record]) -> RunFolder {
    let mut index = Index::default();
    for record in records {
        index.insert(record.clone()).unwrap();
    }
    let lines: Vec<String> = records.iter().map(|record| record.to_line().unwrap()).collect();
    let hash = lines
        .concat()
        .bytes()
        .fold(7_u64, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    RunFolder {
        name: name.into(),
        hash: format!("{hash:016x}").repeat(4),
        index,
        ..RunFolder::default()
    }
}

/// The same run with its first window alone.
pub(crate) fn one_window(mut records: Vec<Record>) -> Vec<Record> {
    records.retain(|record| !matches!(record, Record::Window(window) if window.window > 0));
    for record in &mut records {
        match record {
            Record::Run(run) => (run.windows, run.scored_tokens) = (1, TOKENS),
            Record::Done(done) => done.windows = 1,
            _ => {}
        }
    }
    records
}

/// The same run without the last windows of the variant `cell_id`, of which its end knows.
pub(crate) fn with_lost_windows(cell_id: &str, mut records: Vec<Record>) -> Vec<Record> {
    records.retain(
        |record| !matches!(record, Record::Window(w) if w.cell_id == cell_id && w.window >= 3),
    );
    records
}
