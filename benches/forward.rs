//! Speed of the forward pass, and of candle's product of two square matrices, which is what this
//! machine can do.
//!
//! `cargo bench --bench forward` prints elements per second; an element is a floating-point
//! operation, counted as `smollm2/mod.rs` says. Where other programs run beside this one, compare
//! the two by `cargo bench --bench ratio`.

mod smollm2;

use std::hint::black_box;

use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use evalkit::model::{RopeTables, product};
use rayon::prelude::*;
use smollm2::{SIDE, TOKENS, block, config, operations, random};

fn forward(criterion: &mut Criterion) {
    let config = config();
    let (block, rope) = (block(&config), RopeTables::new(&config, TOKENS, &Device::Cpu));
    let rope = rope.expect("memory");
    let mut group = criterion.benchmark_group("forward");
    group.sample_size(20);
    for windows in [1usize, 16] {
        let hidden: Vec<Tensor> =
            (0..windows).map(|_| random(TOKENS, config.hidden_size, 1.0)).collect();
        let work = windows as u64 * operations(&config, TOKENS);
        group.throughput(Throughput::Elements(work));
        group.bench_function(BenchmarkId::new("block", format!("{windows}x{TOKENS}")), |bench| {
            bench.iter(|| {
                hidden.par_iter().for_each(|x| {
                    black_box(block.forward(x, &rope).expect("shapes agree"));
                });
            });
        });
    }
    let (a, b) = (random(SIDE, SIDE, 1.0), random(SIDE, SIDE, 1.0));
    group.throughput(Throughput::Elements(2 * (SIDE as u64).pow(3)));
    group.bench_function(BenchmarkId::new("matmul", SIDE), |bench| {
        bench.iter(|| black_box(product(&a, &b).expect("shapes agree")));
    });
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
