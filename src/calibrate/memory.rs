//! Predicts how much memory calibration takes before it starts.

use super::{Variant, tune_model};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::eval::memory::{CONSTANT_BYTES, Host, MemorySum, activation_bytes};
use crate::eval::protocol::Window;
use crate::quantize::calibrated::scratch_bytes;

/// Copies of every window's states that the reference holds: its input, and four stages of a layer.
const REFERENCE_STATES: u64 = 5;
/// The same with norms of results or a shared expert, whose results are stages of their own.
const REFERENCE_STATES_WITH_RESULTS: u64 = 7;
/// Copies of every window's states that a variant holds, with those of its data-free block.
const VARIANT_STATES: u64 = 5;
/// Matrices `[in, in]` in f64 of the current linear layer.
const MATRICES: u64 = 2;
/// Bytes per weight of a block that is tuned: the differentiated weights, gradients of a step's windows,
/// and latent weights with the optimizer's state, both in memory and in the buffer that is written.
const TUNED_BYTES: u64 = 4 + 4 * tune_model::BATCH as u64 + 6 * 4;
/// Values that autograd holds per token, as multiples of hidden size, intermediate size and scores.
const DIFFERENTIATED: [u64; 3] = [24, 10, 12];
/// Copies of a block in f32: as it was read, in the reference, in a variant equalised and coded, and the
/// data-free one that it is compared with.
const BLOCKS: u64 = 5;

/// The peak of calibrating `variants` on `windows`, which are empty for saved second moments. Every item
/// is an upper bound. Only the states of a tuning step depend on the number of layers.
///
/// # Errors
/// Bug-class errors for tensors that the checkpoint does not have.
pub fn calibrating_memory(
    checkpoint: &Checkpoint,
    variants: &[Variant],
    windows: &[Window],
    Host { threads, resident_bytes }: Host,
) -> Result<MemorySum> {
    let config = &checkpoint.config;
    let tokens: u64 = windows.iter().map(|window| window.ids.len() as u64).sum();
    let longest = windows.iter().map(|window| window.ids.len() as u64).max().unwrap_or(0);
    let busy = threads.min(windows.len()) as u64;
    let shared = config.experts.as_ref().and_then(|experts| experts.shared);
    let placement = config.placement;
    let of_reference = match placement.after_attention || placement.after_mlp || shared.is_some() {
        true => REFERENCE_STATES_WITH_RESULTS,
        false => REFERENCE_STATES,
    };
    let states = of_reference + VARIANT_STATES * variants.len() as u64;
    let Layer { block_bytes, coded_bytes, matrix_bytes, scratch_bytes } =
        Layer::widest(checkpoint, variants)?;
    let hidden_bytes = tokens * config.hidden_size as u64 * 4;
    let widest = config.widest_mlp().max(config.hidden_size).max(config.heads * config.value_dim);
    let widest_bytes = tokens * widest as u64 * 4;
    // The narrow states of the reference and of the current variant.
    let latent_bytes = config.latent.map_or(0, |latent| {
        2 * tokens * (latent.query_rank.unwrap_or(0) + latent.kv_rank) as u64 * 4
    });
    let is_tuned = u64::from(variants.iter().any(Variant::is_tuned));
    let is_whole = u64::from(variants.iter().any(Variant::is_tuned_whole));
    let [of_hidden, of_inner, of_scores] = DIFFERENTIATED;
    let differentiated = of_hidden * config.hidden_size as u64
        + of_inner * config.widest_mlp() as u64
        + of_scores * config.heads as u64 * longest;
    let step_bytes = tune_model::BATCH as u64 * longest * config.hidden_size as u64 * 4;
    let items = [
        ("a block that is tuned", is_tuned * block_bytes / 4 * TUNED_BYTES),
        ("activations for gradients", is_tuned * busy * longest * differentiated * 4),
        ("states of a tuning step", is_whole * step_bytes * config.layers as u64),
        ("states of the calibration windows", hidden_bytes * states),
        ("narrow states of attention", latent_bytes),
        ("inputs of the current linear layer", widest_bytes),
        ("blocks in f32", block_bytes * BLOCKS),
        ("coded for all variants, and without calibration", coded_bytes * 2),
        ("second moments of the current layer", matrix_bytes * MATRICES),
        ("coding scratch", scratch_bytes),
        ("activations", busy * activation_bytes(checkpoint, longest)),
        ("program, tokenizer and text", resident_bytes),
        ("allocator and other overhead", CONSTANT_BYTES),
    ];
    Ok(MemorySum { items: items.into_iter().filter(|(_, bytes)| *bytes > 0).collect() })
}

/// The bytes of a layer that is coded. In a mixture, blocks are those of a block and one expert.
#[derive(Default)]
struct Layer {
    block_bytes: u64,
    coded_bytes: u64,
    matrix_bytes: u64,
    scratch_bytes: u64,
}

impl Layer {
    /// The largest of each over all layers.
    fn widest(checkpoint: &Checkpoint, variants: &[Variant]) -> Result<Self> {
        let config = &checkpoint.config;
        let mut widest = Layer::default();
        for layer in 0..config.layers {
            let kind =
                |layer: usize| (config.has_attention(layer), config.mixture(layer).is_some());
            let is_seen = (0..layer).any(|earlier| kind(earlier) == kind(layer));
            if is_seen && variants.iter().all(|variant| variant.mixed.is_none()) {
                continue;
            }
            let own = Layer::of(checkpoint, variants, layer)?;
            widest = Layer {
                block_bytes: widest.block_bytes.max(own.block_bytes),
                coded_bytes: widest.coded_bytes.max(own.coded_bytes),
                matrix_bytes: widest.matrix_bytes.max(own.matrix_bytes),
                scratch_bytes: widest.scratch_bytes.max(own.scratch_bytes),
            };
        }
        Ok(widest)
    }

    fn of(checkpoint: &Checkpoint, variants: &[Variant], layer: usize) -> Result<Self> {
        let config = &checkpoint.config;
        let mut ids = config.block_tensors(layer);
        let experts = config.expert_count(layer) as u64;
        if experts > 0 {
            ids.extend(config.expert_tensors(layer, 0));
        }
        let mut own = Layer::default();
        for id in ids {
            let stored = checkpoint.stored(id)?;
            let shape = stored.matrix();
            let copies = if id.expert.is_some() { experts } else { 1 };
            own.block_bytes += stored.weights() * 4;
            let size = |variant: &Variant| {
                let size = variant.recipe_of(id, stored).stored_size(shape);
                size.map_or(0, |size| size.0)
            };
            own.coded_bytes += variants.iter().map(size).sum::<u64>() * copies;
            if id.role.is_linear() && !id.bias {
                own.matrix_bytes = own.matrix_bytes.max((shape[1] as u64).pow(2) * 8);
                own.scratch_bytes = own.scratch_bytes.max(scratch_bytes(shape));
            }
        }
        Ok(own)
    }
}
