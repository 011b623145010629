//! Scores one checkpoint under a recipe of your choice and prints what the recipe costs.
//!
//! ```sh
//! cargo run --release --example score_recipe                        # the built-in demo, int4-b32
//! cargo run --release --example score_recipe -- model.gguf text.txt vector2-d4
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints its results")]

use evalkit::{Observer, PlanOptions, Result, Sweep};

/// Prints messages and progress as lines of its own.
struct Lines;

impl Observer for Lines {
    fn message(&self, line: &str) {
        eprintln!("{line}");
    }

    fn progress(&self, stage: &str, done: u64, total: u64) {
        eprintln!("{stage}: {done} of {total}");
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next();
    let text = arguments.next();
    let recipe = arguments.next().unwrap_or_else(|| "int4-b32".to_owned());

    let plan = PlanOptions {
        model,
        text,
        recipes: Some(vec![recipe]),
        limit: Some(4),
        ..PlanOptions::default()
    };
    let reports = std::env::temp_dir().join("evalkit-score-recipe");
    let swept = Sweep::new(plan).reports(reports).run(&Lines)?;

    for row in &swept.summary.rows {
        match &row.outcome {
            Ok(scores) => {
                let (quality, bits) = (&scores.quality, row.blocks_bits_per_weight);
                println!(
                    "{}: perplexity {:.3}, KL {:.4} nats, {:.2} bits per weight",
                    row.variant,
                    quality.perplexity.point,
                    quality.kl_mean_nats.point,
                    bits.unwrap_or_default()
                );
            }
            Err(cause) => println!("{}: failed: {cause}", row.variant),
        }
    }
    println!("records: {}", swept.folder.display());
    Ok(())
}
