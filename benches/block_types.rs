//! Speed of decoding the block-quantized types of GGUF files on one thread, in weights per second.
//!
//! `cargo bench --bench block_types` prints elements per second; an element is a weight. Types whose
//! names begin with `candle` are decoded by candle, the others by evalkit. Weights stay within a cache.

use std::hint::black_box;

use candle_core::quantized::GgmlDType;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evalkit::checkpoint::dtype::Dtype;
use evalkit::checkpoint::gguf::blocks::BlockType;
use rand::{RngExt, SeedableRng};

/// Weights that are decoded at a time: a task of reading, see `TASK_WEIGHTS`.
const WEIGHTS: usize = 1 << 16;

const CANDLES: [GgmlDType; 8] = [
    GgmlDType::Q4_0,
    GgmlDType::Q5_0,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

fn decoding(criterion: &mut Criterion) {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut out = vec![0.0f32; WEIGHTS];
    let mut group = criterion.benchmark_group("block_types");
    group.throughput(Throughput::Elements(WEIGHTS as u64)).sample_size(20);
    let ours = BlockType::ALL.map(|kind| (kind.name().to_owned(), Dtype::Block(kind)));
    let candles = CANDLES.map(Dtype::Ggml).map(|kind| (format!("candle {}", kind.name()), kind));
    for (name, dtype) in ours.into_iter().chain(candles) {
        let len = dtype.row_bytes(WEIGHTS).expect("whole blocks");
        // Bytes below 0x7c: no scale is NaN.
        let stored: Vec<u8> = (0..len).map(|_| random.random_range(0..0x7c)).collect();
        group.bench_function(name, |bench| {
            bench.iter(|| {
                dtype.decode(black_box(&stored), &mut out).expect("whole blocks");
                black_box(&mut out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
