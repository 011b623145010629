//! Speed of reading a run's records, which every report and every second run of a sweep begins with.
//!
//! `cargo bench --bench results` prints bytes per second of a folder of four variants over 64
//! windows of 511 scored tokens, divergence of each token included.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evalkit::results::{Cell, RECORDS, Record, Run, RunFolder, Store, Window};

const WINDOWS: usize = 64;
const TOKENS: usize = 511;

/// Fills a folder and returns the size of its records.
fn fill(folder: &Path) -> u64 {
    let run = Run { windows: WINDOWS, scored_tokens: WINDOWS * TOKENS, ..Run::default() };
    let mut records = vec![Record::Run(run)];
    for variant in ["fp", "palette4-g16-s", "palette2-g16-s", "palette1-g16-s"] {
        let is_reference = variant == "fp";
        let cell = Cell {
            cell_id: variant.into(),
            variant: variant.into(),
            is_reference,
            ..Cell::default()
        };
        records.push(Record::Cell(cell));
        let kl_tokens = |window: usize| {
            let tokens = if is_reference { 0 } else { TOKENS };
            (0..tokens).map(|t| ((window * TOKENS + t) as f32 * 0.618).fract()).collect()
        };
        records.extend((0..WINDOWS).map(|window| {
            Record::Window(Window {
                cell_id: variant.into(),
                window,
                scored_tokens: TOKENS,
                scored_bytes: 2200,
                nll_nats: 1_234.567_891,
                kl_nats: 0.123_456_78,
                top1_agree: 400,
                kl_tokens: kl_tokens(window),
                ..Window::default()
            })
        }));
    }
    Store::open(folder).and_then(|mut store| store.append(&records)).expect("a folder to write");
    std::fs::metadata(folder.join(RECORDS)).expect("records").len()
}

fn reading(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = fill(folder.path());
    let mut group = criterion.benchmark_group("results");
    group.throughput(Throughput::Bytes(bytes)).sample_size(20);
    group.bench_function("read", |bench| {
        bench.iter(|| black_box(RunFolder::read(folder.path()).expect("records")));
    });
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
