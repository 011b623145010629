//! Predicts how much memory a walk takes before it starts.
//!
//! The sum does not depend on the number of layers. If it exceeds the budget, windows are walked in
//! batches, each of which is a pass over all layers.

use super::protocol::Window;
use super::variant::Variant;
use super::vocabulary::{SLICE_ROWS, Source, distinct, is_coded_whole};
use crate::checkpoint::{Checkpoint, Role, StoredTensor, TensorId};
use crate::error::{Error, Result};
use crate::model;
use crate::quantize::Recipe;

/// Memory that the sums below do not count: the allocator's gaps, matrix products' buffers, records.
pub const CONSTANT_BYTES: u64 = 64 << 20;

/// Scratch bytes per weight of a group while its table is computed: two sets of sort keys, distinct
/// values, prefix sums in f64, and the code.
const CODING_SCRATCH_BYTES: u64 = 57;
/// Scratch bytes per weight of a pruned tensor: a copy of the weight, a code, bits of masks.
const PRUNING_SCRATCH_BYTES: u64 = 6;

/// The machine and process that a walk starts in.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Threads that windows are distributed to.
    pub threads: usize,
    /// Bytes that the program uses before the walk. They are measured, because no formula gives them: a
    /// tokenizer, and what its allocator retains after a long text, can be larger than a small model.
    pub resident_bytes: u64,
}

impl Host {
    /// This process as it is now.
    pub fn now() -> Self {
        let resident_bytes = crate::results::memory_now().map_or(0, |memory| memory.rss_anon_bytes);
        Host { threads: rayon::current_num_threads(), resident_bytes }
    }
}

/// Bytes per scored token and variant: running sums, the score, and its record and that record's line.
const SCORE_BYTES: u64 = 96;

/// Peak memory by purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySum {
    /// Purpose and bytes of everything in use at the peak.
    pub items: Vec<(&'static str, u64)>,
}

impl MemorySum {
    /// The sum of all items.
    pub fn total_bytes(&self) -> u64 {
        self.items.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The peak of a walk over `windows`, and over `calibration` for variants with int8 inputs. It is the
    /// sum of hidden states, constants, and either the blocks or the vocabulary, whichever is larger.
    ///
    /// # Errors
    /// Bug-class errors for tensors that the checkpoint does not have.
    pub fn of(
        checkpoint: &Checkpoint,
        variants: &[Variant],
        windows: &[Window],
        calibration: &[Window],
        Host { threads, resident_bytes }: Host,
    ) -> Result<Self> {
        let config = &checkpoint.config;
        let lanes = variants.len() as u64 + 1;
        let tokens_of = |windows: &[Window]| windows.iter().map(|w| w.ids.len() as u64).sum();
        let (tokens, calibration_tokens): (u64, u64) = (tokens_of(windows), tokens_of(calibration));
        let longest = windows.iter().chain(calibration).map(|window| window.ids.len()).max();
        let longest = longest.unwrap_or(0) as u64;
        let busy = threads.min(windows.len().max(1)) as u64;
        let state_bytes = config.hidden_size as u64 * 4;
        let hidden_bytes = tokens * state_bytes;
        let calibrated = variants.iter().filter(|variant| variant.needs_ranges()).count() as u64;
        let kept_bytes = hidden_bytes * lanes + calibration_tokens * state_bytes * calibrated;
        let in_int8_bytes = match calibrated {
            0 => 0,
            _ => longest * (config.widest_mlp() as u64 * 4 + state_bytes),
        };
        let unit = Unit::widest(checkpoint, variants, threads as u64)?;
        // The inputs of experts and the sum of their outputs, from a layer's router to its end.
        let routed_bytes = if config.experts.is_some() { 2 * kept_bytes } else { 0 };
        let blocks = [
            (unit.name, unit.f32_bytes),
            ("coded for all variants", unit.coded_bytes),
            ("coding scratch", unit.scratch_bytes),
            ("activations", busy * (activation_bytes(checkpoint, longest) + in_int8_bytes)),
            ("inputs and outputs of experts", routed_bytes),
        ];
        let slice_bytes = (SLICE_ROWS * config.hidden_size * 4) as u64;
        let vocabulary = [
            ("vocabulary slices in f32", slice_bytes * (lanes + 2)),
            ("vocabulary coded whole", whole_vocabulary_bytes(checkpoint, variants)?),
            // The logits of the reference and of one variant at a time.
            ("logits", busy * 2 * longest * SLICE_ROWS as u64 * 4),
            // Embedded rows are held before they are distributed to lanes.
            ("normed or embedded rows", (tokens + calibration_tokens) * state_bytes * lanes),
            ("scores and records", tokens * lanes * SCORE_BYTES),
        ];
        let sum =
            |items: &[(&'static str, u64)]| items.iter().map(|(_, bytes)| *bytes).sum::<u64>();
        let larger = if sum(&blocks) > sum(&vocabulary) { &blocks[..] } else { &vocabulary };
        let mut items = vec![("hidden states", kept_bytes)];
        items.extend(larger.iter().filter(|(_, bytes)| *bytes > 0));
        items.push(("program, tokenizer and text", resident_bytes));
        items.push(("allocator and other overhead", CONSTANT_BYTES));
        Ok(MemorySum { items })
    }

    /// The peak of measuring sensitivities ([`Probe`](crate::allocate::Probe)) on `windows` with this
    /// number of anchors.
    ///
    /// # Errors
    /// Bug-class errors for tensors that the checkpoint does not have.
    pub fn of_probe(
        checkpoint: &Checkpoint,
        windows: &[Window],
        anchors: usize,
        Host { threads, resident_bytes }: Host,
    ) -> Result<Self> {
        let config = &checkpoint.config;
        let lanes = (1 + 2 * anchors * config.layers) as u64;
        let tokens: u64 = windows.iter().map(|window| window.ids.len() as u64).sum();
        let longest = windows.iter().map(|window| window.ids.len()).max().unwrap_or(0) as u64;
        let state_bytes = config.hidden_size as u64 * 4;
        let unit = Unit::widest(checkpoint, &[], threads as u64)?;
        let slice_bytes = (SLICE_ROWS * config.hidden_size * 4) as u64;
        let tried = config.experts.as_ref().map_or(0, |_| 2 * lanes * tokens * state_bytes);
        let logits = threads as u64 * 2 * longest * SLICE_ROWS as u64 * 4;
        // Parallel layers read the states before the layer again after attention.
        let copies = if config.placement.parallel { 3 } else { 2 };
        // A shared expert is coded in every trial, which then has states of its own.
        let shared = config.experts.as_ref().and_then(|experts| experts.shared);
        let tried = if shared.is_some() { tried + tried / 2 } else { tried };
        let items = vec![
            ("hidden states of all lanes", copies * lanes * tokens * state_bytes),
            ("inputs and outputs of experts", tried),
            (unit.name, unit.f32_bytes),
            ("its parts under the anchors", unit.f32_bytes * (1 + anchors as u64)),
            ("activations", threads as u64 * activation_bytes(checkpoint, longest)),
            ("vocabulary slices and logits", 3 * slice_bytes + logits),
            ("scores", tokens * lanes * SCORE_BYTES),
            ("program, tokenizer and text", resident_bytes),
            ("allocator and other overhead", CONSTANT_BYTES),
        ];
        Ok(MemorySum { items: items.into_iter().filter(|(_, bytes)| *bytes > 0).collect() })
    }

    /// The largest number of windows per batch that stays within `budget_bytes`.
    ///
    /// # Errors
    /// An input error if even one window exceeds the budget.
    pub fn batch_within(
        budget_bytes: Option<u64>,
        checkpoint: &Checkpoint,
        variants: &[Variant],
        windows: &[Window],
        calibration: &[Window],
        host: Host,
    ) -> Result<usize> {
        let Some(budget_bytes) = budget_bytes else { return Ok(windows.len()) };
        let fits = |count: usize| -> Result<bool> {
            let sum = MemorySum::of(checkpoint, variants, &windows[..count], calibration, host)?;
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
        let least = MemorySum::of(checkpoint, variants, &windows[..1], calibration, host)?;
        Err(Error::input(format!(
            "--memory {}: one window takes {}",
            crate::units::Bytes(budget_bytes),
            crate::units::Bytes(least.total_bytes())
        ))
        .hint("allow more memory, or give fewer recipes at a time"))
    }
}

/// The bytes of a unit: tensors that are read, coded, run and dropped together.
struct Unit {
    name: &'static str,
    f32_bytes: u64,
    coded_bytes: u64,
    scratch_bytes: u64,
}

impl Unit {
    /// The largest unit: a dense block, or in a mixture of experts, either one expert or a block without
    /// its experts.
    fn widest(checkpoint: &Checkpoint, variants: &[Variant], threads: u64) -> Result<Self> {
        let config = &checkpoint.config;
        let is_mixed = variants.iter().any(|variant| variant.mixed.is_some());
        // Layers of a kind have the same shapes, but recipes can differ from layer to layer.
        let is_new = |layer: &usize| {
            let shape =
                |layer: usize| (config.has_attention(layer), config.mixture(layer).is_some());
            is_mixed || !(0..*layer).any(|earlier| shape(earlier) == shape(*layer))
        };
        let mut widest: Option<Unit> = None;
        for layer in (0..config.layers).filter(is_new) {
            let block = config.block_tensors(layer);
            let units = match config.mixture(layer) {
                Some(_) => vec![
                    ("one block without experts in f32", block),
                    ("one expert in f32", config.expert_tensors(layer, 0)),
                ],
                None => vec![("one block in f32", block)],
            };
            for (name, ids) in units {
                let unit = Unit::of(name, &ids, checkpoint, variants, threads)?;
                if widest.as_ref().is_none_or(|most| unit.total_bytes() > most.total_bytes()) {
                    widest = Some(unit);
                }
            }
        }
        widest.ok_or_else(|| Error::bug("a model without layers"))
    }

    fn of(
        name: &'static str,
        ids: &[TensorId],
        checkpoint: &Checkpoint,
        variants: &[Variant],
        threads: u64,
    ) -> Result<Self> {
        let mut unit = Unit { name, f32_bytes: 0, coded_bytes: 0, scratch_bytes: 0 };
        for &id in ids {
            let stored = checkpoint.stored(id)?;
            unit.f32_bytes += stored.weights() * 4;
            for variant in variants {
                let recipe = variant.recipe_of(id, stored);
                let coded = most_stored(recipe, stored.matrix());
                unit.coded_bytes += coded;
                unit.scratch_bytes = unit.scratch_bytes.max(scratch_bytes(recipe, stored, threads));
            }
        }
        Ok(unit)
    }

    fn total_bytes(&self) -> u64 {
        self.f32_bytes + self.coded_bytes + self.scratch_bytes
    }
}

/// The largest size of a coded tensor: a pruning threshold may keep every weight.
fn most_stored(recipe: Recipe, shape: [usize; 2]) -> u64 {
    let weights = shape[0].saturating_mul(shape[1]);
    let kept = recipe.kept(weights).unwrap_or(weights);
    recipe.stored_size_of(shape, kept).map_or(0, |size| size.0)
}

/// Scratch of coding a tensor. A palette needs it for the groups that are clustered at once, which are
/// one per thread, or a whole tensor. Other recipes need it for a tensor's codes before they are packed.
fn scratch_bytes(recipe: Recipe, stored: &StoredTensor, threads: u64) -> u64 {
    let [rows, columns] = stored.matrix();
    let group_weights = match recipe.border_unit([rows, columns]) {
        Some(unit) => threads * (unit * columns) as u64,
        None => stored.weights(),
    };
    match recipe {
        Recipe::Palette(_) => {
            let pruned = recipe.pruning().map_or(0, |_| stored.weights() * PRUNING_SCRATCH_BYTES);
            group_weights * CODING_SCRATCH_BYTES + pruned
        }
        // The codes before they are packed. The sample that a table is fitted to has a small constant size.
        Recipe::Linear(_) | Recipe::Mxfp4 | Recipe::Vector(_) => stored.weights(),
        Recipe::Half | Recipe::Reference => 0,
    }
}

/// The peak of one window's activations in a block's forward pass.
pub fn activation_bytes(checkpoint: &Checkpoint, tokens: u64) -> u64 {
    let config = &checkpoint.config;
    let width = config.head_dim.max(config.value_dim);
    let (queries, keys) = (config.heads * width, config.kv_heads * width);
    // In latent attention: the narrow states before and after their norms, and keys with values.
    let latent = config.latent.map_or(0, |latent| {
        let ranks = latent.query_rank.unwrap_or(0) + latent.kv_rank + latent.rope_dim;
        2 * ranks + config.heads * (config.head_dim + config.value_dim)
    });
    let attention =
        4 * queries as u64 + 2 * keys as u64 + config.hidden_size as u64 + latent as u64;
    let scores = config.heads as u64 * model::QUERY_BLOCK as u64;
    // The input, the projection in one piece and in three, the product with its past, and the sum.
    let conv = if config.conv.is_some() { 12 * config.hidden_size as u64 } else { 0 };
    // All tokens in one MLP or expert: gate and up, the input, and the output without and with bias.
    let mlp = 2 * config.widest_mlp() as u64 + 3 * config.hidden_size as u64;
    tokens * 4 * (attention + scores).max(mlp).max(conv)
}

/// The peak of coding the embedding or the head in one piece, whichever is larger: the tensor in f32,
/// its scratch, and the codes of all recipes.
fn whole_vocabulary_bytes(checkpoint: &Checkpoint, variants: &[Variant]) -> Result<u64> {
    let mut largest = 0;
    for (id, is_head) in [(TensorId::model(Role::Embedding), false), (checkpoint.head(), true)] {
        let stored = checkpoint.stored(id)?;
        let shape = stored.matrix();
        let recipes = variants.iter().map(|v| if is_head { v.head.weights } else { v.embedding });
        let sources = recipes.map(|recipe| Source { recipe, file: None });
        let whole = distinct(sources).0.into_iter().filter(|s| is_coded_whole(&s.recipe, shape));
        let coded: Vec<u64> = whole.map(|s| most_stored(s.recipe, shape)).collect();
        if !coded.is_empty() {
            let scratch_bytes = stored.weights() * (4 + CODING_SCRATCH_BYTES);
            largest = largest.max(scratch_bytes + coded.iter().sum::<u64>());
        }
    }
    Ok(largest)
}
