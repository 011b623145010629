//! How much memory a walk takes, before it starts (invariant I2).
//!
//! The sum does not depend on the number of layers. Where it is over a budget, windows are walked
//! in batches: each batch is a pass of its own over the layers.

use super::protocol::Window;
use super::variant::Variant;
use super::vocabulary::{SLICE_ROWS, Source, distinct, is_coded_whole};
use crate::checkpoint::{Checkpoint, Role, TensorId};
use crate::error::{Error, Result};

/// Program, tokenizer and allocator, and what the sums below leave out, in bytes.
const CONSTANT_BYTES: u64 = 64 << 20;

/// Bytes of scratch per weight of a group while its table is made: sort keys twice, distinct
/// values, and prefix sums in f64.
const CODING_SCRATCH_BYTES: u64 = 56;

/// Peak memory by purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySum {
    /// What it is for, and how many bytes; those in use at the same time.
    pub items: Vec<(&'static str, u64)>,
}

impl MemorySum {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.items.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The peak of a walk over `windows`: hidden states and the constant, and the larger of what
    /// the blocks and what the vocabulary matrices take.
    ///
    /// # Errors
    /// Bug-class errors for tensors the checkpoint does not have.
    pub fn of(
        checkpoint: &Checkpoint,
        variants: &[Variant],
        windows: &[Window],
        threads: usize,
    ) -> Result<Self> {
        let config = &checkpoint.config;
        let lanes = variants.len() as u64 + 1;
        let tokens: u64 = windows.iter().map(|window| window.ids.len() as u64).sum();
        let longest = windows.iter().map(|window| window.ids.len()).max().unwrap_or(0) as u64;
        let threads = (threads.min(windows.len().max(1))) as u64;
        let hidden_bytes = tokens * config.hidden_size as u64 * 4;
        let blocks = [
            ("one block in f32", block_bytes(checkpoint)?),
            ("coded blocks of all variants", coded_bytes(checkpoint, variants)?),
            ("coding scratch", scratch_bytes(checkpoint, variants)?),
            ("activations", threads * activation_bytes(checkpoint, longest)),
        ];
        let slice_bytes = (SLICE_ROWS * config.hidden_size * 4) as u64;
        let vocabulary = [
            ("vocabulary slices in f32", slice_bytes * (lanes + 2)),
            ("vocabulary coded whole", whole_vocabulary_bytes(checkpoint, variants)?),
            // Reference and one variant at a time, and the embedded rows before they are handed out.
            ("logits", threads * 2 * longest * SLICE_ROWS as u64 * 4),
            ("normed or embedded rows", hidden_bytes * lanes),
        ];
        let sum =
            |items: &[(&'static str, u64)]| items.iter().map(|(_, bytes)| *bytes).sum::<u64>();
        let larger = if sum(&blocks) > sum(&vocabulary) { blocks } else { vocabulary };
        let mut items = vec![("hidden states", hidden_bytes * lanes)];
        items.extend(larger);
        items.push(("program and allocator", CONSTANT_BYTES));
        Ok(MemorySum { items })
    }

    /// The most windows per batch that stay within `budget_bytes`.
    ///
    /// # Errors
    /// An input error that says what one window takes, where even that is too much.
    pub fn batch_within(
        budget_bytes: Option<u64>,
        checkpoint: &Checkpoint,
        variants: &[Variant],
        windows: &[Window],
        threads: usize,
    ) -> Result<usize> {
        let Some(budget_bytes) = budget_bytes else { return Ok(windows.len()) };
        let fits = |count: usize| -> Result<bool> {
            let sum = MemorySum::of(checkpoint, variants, &windows[..count], threads)?;
            Ok(sum.total_bytes() <= budget_bytes)
        };
        let (mut low, mut high) = (0, windows.len());
        while low < high {
            let middle = (low + high).div_ceil(2);
            if fits(middle)? {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        if low > 0 {
            return Ok(low);
        }
        let least = MemorySum::of(checkpoint, variants, &windows[..1], threads)?.total_bytes();
        Err(Error::input(format!(
            "--memory {}: one window takes {}",
            crate::units::Bytes(budget_bytes),
            crate::units::Bytes(least)
        ))
        .hint("allow more memory, or give fewer recipes at a time"))
    }
}

/// The widest block: all are alike, but a GGUF may have layers of its own.
fn block_bytes(checkpoint: &Checkpoint) -> Result<u64> {
    let ids = checkpoint.config.block_tensors(0);
    ids.into_iter().map(|id| Ok(checkpoint.stored(id)?.weights() * 4)).sum()
}

fn coded_bytes(checkpoint: &Checkpoint, variants: &[Variant]) -> Result<u64> {
    let mut total = 0;
    for id in checkpoint.config.block_tensors(0) {
        let stored = checkpoint.stored(id)?;
        let sizes =
            variants.iter().filter_map(|v| v.recipe_of(id, stored).stored_size(stored.matrix()));
        total += sizes.map(|size| size.0).sum::<u64>();
    }
    Ok(total)
}

/// The largest groups that are clustered at once: one per thread, or a whole tensor.
fn scratch_bytes(checkpoint: &Checkpoint, variants: &[Variant]) -> Result<u64> {
    let threads = rayon::current_num_threads() as u64;
    let mut largest = 0;
    for id in checkpoint.config.block_tensors(0) {
        let stored = checkpoint.stored(id)?;
        let [rows, columns] = stored.matrix();
        for variant in variants {
            let recipe = variant.recipe_of(id, stored);
            let weights = match recipe.row_unit([rows, columns]) {
                Some(unit) => threads * (unit * columns) as u64,
                None => (rows * columns) as u64,
            };
            largest = largest.max(weights * CODING_SCRATCH_BYTES);
        }
    }
    Ok(largest)
}

/// What one window's forward pass through a block holds at its widest.
fn activation_bytes(checkpoint: &Checkpoint, tokens: u64) -> u64 {
    let config = &checkpoint.config;
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let attention = 4 * queries as u64 + 2 * keys as u64 + config.hidden_size as u64;
    let scores = (config.heads / config.kv_heads) as u64 * 128;
    let mlp = 2 * config.intermediate_size as u64 + 2 * config.hidden_size as u64;
    tokens * 4 * (attention + scores).max(mlp)
}

/// Embedding and head where they are coded in one piece: the tensor in f32 and coded.
fn whole_vocabulary_bytes(checkpoint: &Checkpoint, variants: &[Variant]) -> Result<u64> {
    let mut total = 0;
    for (id, is_head) in [(TensorId::model(Role::Embedding), false), (checkpoint.head(), true)] {
        let stored = checkpoint.stored(id)?;
        let shape = stored.matrix();
        let recipes = variants.iter().map(|v| if is_head { v.head } else { v.embedding });
        let sources = recipes.map(|recipe| Source { recipe, file: None });
        for Source { recipe, .. } in distinct(sources).0 {
            if !is_coded_whole(&recipe, shape) {
                continue;
            }
            let coded = recipe.stored_size(shape).map_or(0, |size| size.0);
            let clustered = recipe.row_unit(shape).map_or(stored.weights(), |unit| {
                (rayon::current_num_threads() * unit * shape[1]) as u64
            });
            total += coded + stored.weights() * 4 + clustered * CODING_SCRATCH_BYTES;
        }
    }
    Ok(total)
}
