//! Speed of calibrated coding, in weights per second on one thread and on all.
//!
//! `cargo bench --bench calibrated` prints elements per second; an element is a weight. Weights are
//! bell-shaped, inputs follow one another and some are much larger than the others. Everything
//! that coding a tensor takes is counted, the factors of the moments too.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use evalkit::quantize::calibrated::{Moments, asymmetric_target, code};
use evalkit::quantize::{Recipe, Steps};
use rand::{RngExt, SeedableRng};

/// `[out, in]` of a small model's projections.
const SHAPES: [[usize; 2]; 2] = [[1536, 576], [576, 1536]];

fn weights([out, inputs]: [usize; 2]) -> Vec<f32> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut bell = || (0..12).map(|_| random.random::<f32>() - 0.5).sum::<f32>() * 0.02;
    (0..out * inputs).map(|_| bell()).collect()
}

fn values(inputs: usize) -> Vec<f64> {
    let size = |i: usize| if i.is_multiple_of(97) { 12.0 } else { 1.0 + (i % 7) as f64 / 4.0 };
    let value = |i: usize, j: usize| size(i) * size(j) * 0.6f64.powi(i.abs_diff(j) as i32);
    (0..inputs * inputs).map(|at| value(at / inputs, at % inputs)).collect()
}

fn coding(criterion: &mut Criterion) {
    for shape in SHAPES {
        let (weights, values) = (weights(shape), values(shape[1]));
        let moments = Moments::new(values, shape[1]).expect("moments");
        let mut group = criterion.benchmark_group(format!("{shape:?}"));
        group.throughput(Throughput::Elements(weights.len() as u64)).sample_size(10);
        for name in ["vector2-d4", "vector1-d8", "palette2-g16-s", "palette4-g16-s", "int4-b32"] {
            let recipe: Recipe = name.parse().expect("a recipe");
            for threads in [1, rayon::current_num_threads()] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let pool = pool.expect("threads");
                let run = || code(&recipe, black_box(&weights), shape, &moments, Steps::ALL, 0);
                group.bench_function(BenchmarkId::new(name, threads), |bench| {
                    pool.install(|| bench.iter(|| run().expect("a coded tensor")));
                });
            }
        }
        let target = || {
            asymmetric_target(black_box(&weights), shape, Some(moments.values()), &moments, None)
        };
        group.bench_function("target", |bench| bench.iter(|| target().expect("a target")));
        group.finish();
    }
}

criterion_group!(benches, coding);
criterion_main!(benches);
