//! Tokens per second of packages executed on this machine, at fp16, 4, 2 and 1 bits, with the
//! memory that the process holds beside the mapped files.
//!
//! `cargo bench --bench decode` runs the demo; with `EVALKIT_SMOLLM2=FILE.gguf` SmolLM2-135M as
//! well. An element is a token, decoded with 64 tokens in the cache. Memory is RssAnon after
//! these tokens, less what the process had before the packages were opened.

#![allow(clippy::print_stderr)]

use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evalkit::checkpoint::Checkpoint;
use evalkit::demo;
use evalkit::eval::{Coder, Variant};
use evalkit::files::Existing;
use evalkit::package::bundle::{self, Bundle, BundleRequest, PackageLimits};
use evalkit::package::chain::Chain;
use evalkit::package::execute::Precision;
use evalkit::package::mil::Opset;
use evalkit::package::program::{Cache, Compute, Design};
use evalkit::results::memory_now;

const RECIPES: [&str; 6] =
    ["fp16", "palette4-g16-s", "palette2-g16-s", "palette1-g16-s", "vector2-d4", "vector1-d8"];
const CACHED_TOKENS: u32 = 64;

/// Packages of `checkpoint` under `recipe`.
fn package(checkpoint: &Checkpoint, recipe: &str, folder: &Path) {
    let variant: Variant = recipe.parse().expect("a recipe");
    let order = BundleRequest {
        coder: Coder { checkpoint, variant: &variant, file: None, scales: None },
        design: Design {
            target: Opset::Ios18,
            compute: Compute::Gpu,
            cache: Cache::State,
            context_tokens: 256,
            prefill_tokens: 64,
        },
        limits: PackageLimits::of(Compute::Gpu),
        license: "",
        existing: Existing::Replace,
    };
    bundle::write(folder, &order, &mut |_, _| Ok(())).expect("packages");
}

fn anonymous_bytes() -> u64 {
    memory_now().map_or(0, |memory| memory.rss_anon_bytes)
}

fn decoding(criterion: &mut Criterion) {
    let demo = Checkpoint::open_embedded(&demo::MODEL).expect("the demo");
    let smollm2 = std::env::var_os("EVALKIT_SMOLLM2");
    let smollm2 = smollm2.map(|path| Checkpoint::open(Path::new(&path)).expect("a checkpoint"));
    for checkpoint in [Some(demo), smollm2].into_iter().flatten() {
        let mut group = criterion.benchmark_group(format!("decode {}", checkpoint.name));
        group.throughput(Throughput::Elements(1)).sample_size(20);
        for recipe in RECIPES {
            let folder = tempfile::tempdir().expect("a folder");
            let folder = folder.path().join("packages");
            package(&checkpoint, recipe, &folder);
            let before = anonymous_bytes();
            let mut chain =
                Chain::load(&Bundle::open(&folder).expect("packages"), Precision::Single)
                    .expect("packages");
            for token in 0..CACHED_TOKENS {
                chain.decode(token).expect("logits");
            }
            let held = anonymous_bytes().saturating_sub(before);
            eprintln!("{} {recipe}: {:.1} MB held", checkpoint.name, held as f64 / 1e6);
            let mut cached_tokens = CACHED_TOKENS;
            group.bench_function(recipe, |bencher| {
                bencher.iter_custom(|tokens| {
                    let mut elapsed = std::time::Duration::ZERO;
                    for _ in 0..tokens {
                        if cached_tokens > 2 * CACHED_TOKENS {
                            chain.reset();
                            chain.prefill(&(0..CACHED_TOKENS).collect::<Vec<_>>()).expect("room");
                            cached_tokens = CACHED_TOKENS;
                        }
                        cached_tokens += 1;
                        let start = std::time::Instant::now();
                        chain.decode(1).expect("logits");
                        elapsed += start.elapsed();
                    }
                    elapsed
                });
            });
        }
    }
}

criterion_group!(benches, decoding);
criterion_main!(benches);
