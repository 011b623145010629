//! Whether a model can fit a device, and how fast it could be at most: predictions from the table
//! of devices, each said to be one.

use crate::checkpoint::Checkpoint;
use crate::device::table::{Demand, Device, Fit, OVERHEAD_BYTES, Prediction, devices, predict};
use crate::error::{At, Error, Result};
use crate::eval::Variant;
use crate::package::bundle::{Manifest, PackageRole};
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::results::{BLOCK_PARTS, Part, label};
use crate::units::Bytes;

/// Tokens in the cache unless asked otherwise.
const CONTEXT_TOKENS: usize = 4096;
/// Bytes of a key or a value in the cache.
const CACHED_BYTES: usize = 2;

/// The device that is asked for.
///
/// # Errors
/// An input error that suggests the nearest names.
pub fn device(name: &str) -> Result<&'static Device> {
    devices().find(name).at(|| "--device")
}

/// Adds what is predicted of a checkpoint under each variant.
///
/// # Errors
/// Input errors of variants that do not fit the checkpoint.
pub fn checkpoint(
    document: &mut Document,
    device: &Device,
    checkpoint: &Checkpoint,
    variants: &[Variant],
    context: Option<usize>,
) -> Result<()> {
    let context = context.unwrap_or(usual_context(checkpoint));
    let mut rows = Vec::new();
    for variant in variants {
        let name = match variant.is_reference() {
            true => "as stored".into(),
            false => variant.label(&variant.parts(checkpoint)?),
        };
        rows.push((name, demand(checkpoint, variant, context)?));
    }
    add(document, device, &rows, context);
    Ok(())
}

/// What is predicted of a checkpoint under a variant, with the usual context.
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

/// What a device is predicted to leave for the linear layers of the blocks, beside the cache, the
/// app, and everything else of `variant`.
///
/// # Errors
/// An input error where nobody has seen the device's limit, and where nothing is left.
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
        Error::input(format!("nobody has seen the memory limit of {}", device.name))
            .hint("name a budget with --target-bits BITS")
    })?;
    let is_block = |part: &&Part| BLOCK_PARTS.contains(&part.part.as_str());
    let parts = variant.parts(checkpoint)?;
    let blocks: u64 = parts.iter().filter(is_block).map(|part| part.size_bytes).sum();
    let demand = demand(checkpoint, variant, context)?;
    let others = demand.weights_bytes - blocks + demand.cache_bytes + OVERHEAD_BYTES;
    limit.checked_sub(others).filter(|room| *room > 0).ok_or_else(|| {
        Error::input(format!(
            "{} is predicted to give {}, and without the blocks' linear layers {} are needed",
            device.name,
            Bytes(limit),
            Bytes(others)
        ))
        .hint("code embedding and head with --embed and --head, or give a shorter --context")
    })
}

fn usual_context(checkpoint: &Checkpoint) -> usize {
    CONTEXT_TOKENS.min(checkpoint.config.max_position_embeddings)
}

fn demand(checkpoint: &Checkpoint, variant: &Variant, context: usize) -> Result<Demand> {
    let config = &checkpoint.config;
    let size = |parts: Vec<Part>| parts.iter().map(|p| p.size_bytes).sum();
    Ok(Demand {
        weights_bytes: size(variant.parts(checkpoint)?),
        cache_bytes: cache_bytes(config.layers, config.kv_heads, config.head_dim, context),
        read_bytes: size(variant.parts_per_token(checkpoint)?),
    })
}

/// Adds what is predicted of a folder of packages.
pub fn packages(document: &mut Document, device: &Device, manifest: &Manifest) {
    let model = &manifest.model;
    let context = model.context_tokens;
    let read = |role: PackageRole, size_bytes: u64| match (&manifest.routing, role) {
        (Some(routing), PackageRole::Experts) => {
            size_bytes * routing.experts_per_token as u64 / (routing.experts as u64).max(1)
        }
        // One row of it, where it stands alone.
        (_, PackageRole::Embedding) => size_bytes / (model.vocab_size as u64).max(1),
        _ => size_bytes,
    };
    let demand = Demand {
        weights_bytes: model.size_bytes,
        cache_bytes: cache_bytes(model.layers, model.kv_heads, model.head_dim, context),
        read_bytes: manifest.packages.iter().map(|entry| read(entry.role, entry.size_bytes)).sum(),
    };
    add(document, device, &[(label(&model.variant, &[]), demand)], context);
}

fn cache_bytes(layers: usize, kv_heads: usize, head_dim: usize, context: usize) -> u64 {
    (2 * CACHED_BYTES * layers * kv_heads * head_dim * context) as u64
}

fn add(document: &mut Document, device: &Device, rows: &[(String, Demand)], context: usize) {
    let limit = devices().memory_limit(device);
    document.facts.extend(facts(device, context));
    let mut table = Table {
        title: format!("Predicted on {} with {context} tokens in the cache", device.name),
        columns: columns(),
        ..Table::default()
    };
    for (name, demand) in rows {
        let found = predict(device, limit.as_ref(), *demand);
        let words = |fit: Fit| Value::from(fit.verdict.words());
        table.rows.push(vec![
            Value::from(name.as_str()),
            Value::from(demand.weights_bytes),
            Value::from(demand.cache_bytes),
            Value::from(found.need_bytes),
            Value::from(found.default.limit_bytes),
            words(found.default),
            Value::from(found.entitled.limit_bytes),
            words(found.entitled),
            Value::from(demand.read_bytes),
            Value::from(found.ceiling_per_s),
            Value::from(found.ceiling_full_per_s),
        ]);
    }
    document.tables.push(table);
    let basis = limit.map_or("nobody has seen one".to_owned(), |limit| limit.basis);
    let overhead = OVERHEAD_BYTES / 1_000_000;
    document.notes.extend([
        format!(
            "Predicted need: weights, cache and {overhead} MB for app, runtime and activations, \
             which is assumed. Memory limits are estimates by memory size: {basis}."
        ),
        "Never decide from this: the device says its limit itself when a runner is asked.".into(),
        format!(
            "Predicted ceiling: bandwidth over bytes read per token, which no runner exceeds. The \
             bandwidth is {}: {}.",
            if device.is_bandwidth_stated() { "stated" } else { "a guess" },
            device.confidence.bandwidth
        ),
    ]);
}

fn facts(device: &Device, context: usize) -> Vec<Fact> {
    let bandwidth = device.memory_bandwidth_gbps.map(|gbps| Value::from((gbps * 1e9) as u64));
    vec![
        Fact::new("device", "Device", format!("{} ({})", device.name, device.identifier)),
        Fact::new("chip", "Chip", device.chip.as_str()),
        Fact::new("device_memory", "Memory", device.memory_bytes()).in_unit(Unit::Bytes),
        Fact::new("device_memory_confidence", "Memory, how sure", device.confidence.ram.as_str()),
        Fact::new("bandwidth_per_s", "Bandwidth per second", bandwidth.unwrap_or(Value::Empty))
            .in_unit(Unit::Bytes),
        Fact::new("cached_tokens", "Tokens in the cache", context),
    ]
}

fn columns() -> Vec<Column> {
    vec![
        Column::text("variant", "variant"),
        Column::number("weights", "weights", Unit::Bytes),
        Column::number("cache", "cache", Unit::Bytes).rank(2),
        Column::number("predicted_need", "predicted need", Unit::Bytes),
        Column::number("predicted_limit", "predicted limit", Unit::Bytes).rank(1),
        Column::text("predicted_fit", "app as it is"),
        Column::number("predicted_limit_entitled", "limit with entitlement", Unit::Bytes).rank(1),
        Column::text("predicted_fit_entitled", "with the entitlement"),
        Column::number("read", "read per token", Unit::Bytes).rank(2),
        Column::number("predicted_ceiling", "predicted ceiling", Unit::TokensPerSecond),
        Column::number("predicted_ceiling_full", "the same, cache full", Unit::TokensPerSecond)
            .rank(1),
    ]
}
