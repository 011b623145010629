//! Speed of head and scoring: logits of the reference and of one variant over a vocabulary of
//! 49,152, with perplexity, divergence and agreement, in the slices that the walk uses.
//!
//! `cargo bench --bench head` prints elements per second; an element is a logit. `logits` is the
//! product alone, so that what scoring adds can be read off.

use std::hint::black_box;

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evalkit::checkpoint::config::Config;
use evalkit::eval::{SLICE_ROWS, Scorer, VocabularySlice};
use evalkit::model::{self, HeadSlice};

const TOKENS: usize = 511;
const HIDDEN: usize = 576;
const VOCABULARY: usize = 49_152;

/// `[rows, columns]` of bell-shaped numbers.
fn random(rows: usize, columns: usize, deviation: f32) -> Tensor {
    Tensor::randn(0.0, deviation, (rows, columns), &Device::Cpu).expect("memory")
}

/// A model with plain logits.
fn config() -> Config {
    Config::from_json(
        br#"{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 1, "num_attention_heads": 9, "vocab_size": 49152,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5}"#,
    )
    .expect("a configuration")
}

/// Logits of reference and variant, slice by slice, handed to `take` with the slice's first token.
fn slices(states: &[Tensor; 2], heads: &[Tensor], mut take: impl FnMut(usize, [Tensor; 2])) {
    let config = config();
    for (slice, head) in heads.iter().enumerate() {
        let head = HeadSlice { weight: head.clone(), bias: None };
        let logits = |x| model::logits(x, &head, &config).expect("shapes agree");
        let logits = states.each_ref().map(logits);
        take(slice * SLICE_ROWS, logits);
    }
}

fn score(states: &[Tensor; 2], heads: &[Tensor], targets: &[u32]) -> f64 {
    let mut scorers = [Scorer::new(TOKENS), Scorer::new(TOKENS)];
    slices(states, heads, |first, [base, own]| {
        let slice = VocabularySlice { first: first as u32, targets };
        let [reference, variant] = &mut scorers;
        model::with_values(&base, |base| {
            reference.add(slice, base, None);
            model::with_values(&own, |own| variant.add(slice, own, Some(base)))
        })
        .and_then(|done| done)
        .expect("logits in main memory");
    });
    scorers[1].finish(&scorers[0]).kl_nats.iter().sum()
}

fn head(criterion: &mut Criterion) {
    let reference = random(TOKENS, HIDDEN, 1.0);
    let variant = (&reference + random(TOKENS, HIDDEN, 0.1)).expect("shapes agree");
    let states = [reference, variant];
    let heads: Vec<Tensor> =
        (0..VOCABULARY / SLICE_ROWS).map(|_| random(SLICE_ROWS, HIDDEN, 0.1)).collect();
    let targets: Vec<u32> = (0..TOKENS).map(|t| (t * 97 % VOCABULARY) as u32).collect();
    let mut group = criterion.benchmark_group("head");
    group.throughput(Throughput::Elements((2 * TOKENS * VOCABULARY) as u64)).sample_size(10);
    group.bench_function("logits", |bench| {
        bench.iter(|| slices(&states, &heads, |_, logits| drop(black_box(logits))));
    });
    group.bench_function("logits, perplexity, divergence", |bench| {
        bench.iter(|| black_box(score(&states, &heads, &targets)));
    });
    group.finish();
}

criterion_group!(benches, head);
criterion_main!(benches);
