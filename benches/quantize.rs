//! Speed of coding and decoding, in weights per second on one thread.
//!
//! `cargo bench --bench quantize` prints elements per second; an element is a weight. The tensor is
//! `[1536, 576]` with bell-shaped f32 weights, all distinct, which is the slow case: weights that
//! were stored as bfloat16 have far fewer distinct values.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evalkit::quantize::{Recipe, quantize};
use rand::{RngExt, SeedableRng};

const SHAPE: [usize; 2] = [1536, 576];

/// Bell-shaped weights: sums of uniform numbers, seeded.
fn weights() -> Vec<f32> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut bell = || (0..12).map(|_| random.random::<f32>() - 0.5).sum::<f32>() * 0.02;
    (0..SHAPE[0] * SHAPE[1]).map(|_| bell()).collect()
}

fn coding(criterion: &mut Criterion) {
    let weights = weights();
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let recipes = [
        "palette1-g16",
        "palette2-g16",
        "palette3-g16",
        "palette4-g16",
        "palette6-g16",
        "palette1-c",
        "palette4",
        "int4-b32",
        "int8",
        "fp16",
    ];
    let mut group = criterion.benchmark_group("code");
    group.throughput(Throughput::Elements(weights.len() as u64)).sample_size(10);
    for name in recipes {
        let recipe: Recipe = name.parse().expect("a recipe");
        let code = || quantize(&recipe, black_box(&weights), SHAPE, None).expect("finite weights");
        group.bench_function(name, |bench| one_thread.install(|| bench.iter(code)));
    }
    group.finish();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(weights.len() as u64)).sample_size(20);
    for name in recipes {
        let recipe: Recipe = name.parse().expect("a recipe");
        let coded = quantize(&recipe, &weights, SHAPE, None).expect("finite weights");
        let coded = coded.expect("a coded form");
        let mut out = vec![0.0; weights.len()];
        group.bench_function(name, |bench| {
            one_thread
                .install(|| bench.iter(|| coded.decode_rows(0..SHAPE[0], black_box(&mut out))));
        });
    }
    group.finish();
}

criterion_group!(benches, coding);
criterion_main!(benches);
