//! Speed of decoding MXFP4 on one thread, in weights per second.
//!
//! `cargo bench --bench mxfp4` prints elements per second; an element is a weight. `rows` decodes
//! the 2880 rows of one projection of a gpt-oss expert into memory that is at hand; `row` stays
//! within a cache.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evalkit::checkpoint::mxfp4::{BLOCK_BYTES, BLOCK_WEIGHTS, decode_row};
use rand::{RngExt, SeedableRng};

const ROWS: usize = 2880;
const COLUMNS: usize = 2880;

fn decoding(criterion: &mut Criterion) {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let blocks_per_row = COLUMNS / BLOCK_WEIGHTS;
    let blocks: Vec<u8> =
        (0..ROWS * blocks_per_row * BLOCK_BYTES).map(|_| random.random()).collect();
    let scales: Vec<u8> =
        (0..ROWS * blocks_per_row).map(|_| random.random_range(119..122)).collect();
    let mut out = vec![0.0f32; ROWS * COLUMNS];
    let mut group = criterion.benchmark_group("mxfp4");
    for (name, rows) in [("row", 1), ("rows", ROWS)] {
        group.throughput(Throughput::Elements((rows * COLUMNS) as u64)).sample_size(20);
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let stored = blocks
                    .chunks_exact(blocks_per_row * BLOCK_BYTES)
                    .zip(scales.chunks_exact(blocks_per_row));
                for ((blocks, scales), out) in stored.zip(out.chunks_exact_mut(COLUMNS)).take(rows)
                {
                    decode_row(black_box(blocks), scales, out).expect("no scale is NaN");
                }
                black_box(&mut out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
