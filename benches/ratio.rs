//! The speeds that a sweep is judged by, measured so that they hold on a busy machine: the forward pass
//! against candle's product of two square matrices, and coding at 2 bits on one thread.
//!
//! Criterion measures one thing for seconds and then the next; where other programs come and go in
//! between, their ratio says nothing. Here each round measures all of them, and medians are compared.
//! `cargo bench --bench ratio` prints one JSON object, which `sweep.sh` reads.

mod smollm2;

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use candle_core::{Device, Tensor};
use evalkit::model::{RopeTables, product};
use evalkit::quantize::{Recipe, quantize};
use rayon::prelude::*;
use smollm2::{SIDE, TOKENS, block, config, operations, random};

const ROUNDS: usize = 15;
const WINDOWS: usize = 16;
/// SmolLM2's gate matrix, the most frequent shape by weight.
const CODED: [usize; 2] = [1536, 576];
const CODED_RECIPE: &str = "palette2-g16";

/// Work per second, one entry per round.
struct Rates(Vec<f64>);

impl Rates {
    fn measure<T>(&mut self, work: f64, run: impl FnOnce() -> T) {
        let start = Instant::now();
        black_box(run());
        self.0.push(work / start.elapsed().as_secs_f64());
    }

    fn median(mut self) -> f64 {
        self.0.sort_by(f64::total_cmp);
        self.0[self.0.len() / 2]
    }
}

fn main() {
    let config = config();
    let (block, rope) = (block(&config), RopeTables::new(&config, TOKENS, &Device::Cpu));
    let rope = rope.expect("memory");
    let hidden: Vec<Tensor> =
        (0..WINDOWS).map(|_| random(TOKENS, config.hidden_size, 1.0)).collect();
    let (a, b) = (random(SIDE, SIDE, 1.0), random(SIDE, SIDE, 1.0));
    let weights = random(CODED[0], CODED[1], 0.04).flatten_all().and_then(|t| t.to_vec1::<f32>());
    let weights = weights.expect("a vector");
    let recipe: Recipe = CODED_RECIPE.parse().expect("a recipe");
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let [mut forward, mut matmul, mut coding] = [(); 3].map(|()| Rates(Vec::new()));
    let forward_work = (WINDOWS as u64 * operations(&config, TOKENS)) as f64;
    for _ in 0..ROUNDS {
        // As long as the forward pass takes, so that both see the same weather.
        matmul.measure(8.0 * (SIDE as f64).powi(3), || {
            for _ in 0..4 {
                black_box(product(&a, &b).expect("shapes agree"));
            }
        });
        forward.measure(forward_work, || {
            hidden.par_iter().for_each(|x| {
                black_box(block.forward(x, &rope).expect("shapes agree"));
            });
        });
        one_thread.install(|| {
            coding.measure(weights.len() as f64, || quantize(&recipe, &weights, CODED, None));
        });
    }
    let answer = serde_json::json!({
        "forward_flop_per_s": forward.median(),
        "matmul_flop_per_s": matmul.median(),
        "coding_recipe": CODED_RECIPE,
        "coding_weights_per_s": coding.median(),
    });
    writeln!(std::io::stdout(), "{answer}").expect("an open stdout");
}
