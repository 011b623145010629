//! Predicts from the table of devices whether a model fits a device, and how fast it could be at most.

use crate::checkpoint::Checkpoint;
use crate::device::table::{Demand, Device, OVERHEAD_BYTES, Prediction, devices, predict};
use crate::error::{Error, Result};
use crate::eval::Variant;
use crate::package::bundle::{Manifest, PackageRole};
use crate::results::{BLOCK_PARTS, StoredPart};
use crate::units::Bytes;

/// Default number of tokens in the cache.
const CONTEXT_TOKENS: usize = 4096;

/// Finds a device by name.
///
/// # Errors
/// An input error that suggests the nearest names.
pub fn device(name: &str) -> Result<&'static Device> {
    devices().find(name)
}

/// The prediction for a checkpoint under a variant, with the default context.
///
/// # Errors
/// Input errors of a variant that does not fit the checkpoint.
pub fn prediction(
    device: &Device,
    checkpoint: &Checkpoint,
    variant: &Variant,
) -> Result<Prediction> {
    let demand = demand(checkpoint, variant, usual_context(checkpoint))?;
    Ok(predict(device, devices().memory_limit(device).as_ref(), demand))
}

/// The bytes that a device is predicted to leave for the linear layers of the blocks, after the cache,
/// the app, and the other parts of `variant`.
///
/// # Errors
/// An input error if the device's memory limit is unknown, or if no bytes are left.
pub fn room_bytes(
    device: &Device,
    is_entitled: bool,
    checkpoint: &Checkpoint,
    variant: &Variant,
    context: usize,
) -> Result<u64> {
    let limit = devices().memory_limit(device);
    let limit = limit.and_then(|l| if is_entitled { l.entitled_bytes } else { l.default_bytes });
    let limit = limit.ok_or_else(|| {
        Error::input(format!("the memory limit of {} is unknown", device.name))
            .hint("name a budget with --target-bits BITS")
    })?;
    let is_block = |part: &&StoredPart| BLOCK_PARTS.contains(&part.part.as_str());
    let parts = variant.parts(checkpoint)?;
    let blocks: u64 = parts.iter().filter(is_block).map(|part| part.size_bytes).sum();
    let demand = demand(checkpoint, variant, context)?;
    let others = demand.weights_bytes - blocks + demand.cache_bytes + OVERHEAD_BYTES;
    limit.checked_sub(others).filter(|room| *room > 0).ok_or_else(|| {
        Error::input(format!(
            "{} is predicted to allow {}, but the model needs {} even without its blocks' linear layers",
            device.name,
            Bytes(limit),
            Bytes(others)
        ))
        .hint("code embedding and head with --embed and --head, or give a shorter --context")
    })
}

/// Default number of tokens in the cache: 4096, or the model's context if that is shorter.
pub fn usual_context(checkpoint: &Checkpoint) -> usize {
    CONTEXT_TOKENS.min(checkpoint.config.max_position_embeddings)
}

/// The memory that a checkpoint needs under a variant with `context` tokens in the cache.
///
/// # Errors
/// Input errors of a variant that does not fit the checkpoint.
pub fn demand(checkpoint: &Checkpoint, variant: &Variant, context: usize) -> Result<Demand> {
    let config = &checkpoint.config;
    let size = |parts: Vec<StoredPart>| parts.iter().map(|p| p.size_bytes).sum();
    Ok(Demand {
        weights_bytes: size(variant.parts(checkpoint)?),
        cache_bytes: config.cache().size_bytes(context),
        read_bytes: size(variant.parts_per_token(checkpoint)?),
    })
}

/// The memory that a folder of packages needs with its cache full.
pub fn packages_demand(manifest: &Manifest) -> Demand {
    let model = &manifest.model;
    let read = |role: PackageRole, size_bytes: u64| match (&manifest.routing, role) {
        (Some(routing), PackageRole::Experts) => {
            size_bytes * routing.experts_per_token as u64 / (routing.experts as u64).max(1)
        }
        // An embedding that has its own package reads one row per token.
        (_, PackageRole::Embedding) => size_bytes / (model.vocab_size as u64).max(1),
        _ => size_bytes,
    };
    Demand {
        weights_bytes: model.size_bytes,
        cache_bytes: model.cache_shape().size_bytes(model.context_tokens),
        read_bytes: manifest.packages.iter().map(|entry| read(entry.role, entry.size_bytes)).sum(),
    }
}
