//! Tables of what is predicted on a device: whether a model fits, and its speed limit.

use super::super::device_fit::{demand, packages_demand, usual_context};
use crate::checkpoint::Checkpoint;
use crate::device::table::{Demand, Device, Fit, OVERHEAD_BYTES, devices, predict};
use crate::error::Result;
use crate::eval::Variant;
use crate::package::bundle::Manifest;
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::results::label;

/// Adds the predictions for a checkpoint under each variant.
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
        let name = if variant.is_reference() {
            "as stored".into()
        } else {
            variant.label(&variant.parts(checkpoint)?)
        };
        rows.push((name, demand(checkpoint, variant, context)?));
    }
    add(document, device, &rows, context);
    Ok(())
}

/// Adds the predictions for a folder of packages.
pub fn packages(document: &mut Document, device: &Device, manifest: &Manifest) {
    let rows = [(label(&manifest.model.variant, &[]), packages_demand(manifest))];
    add(document, device, &rows, manifest.model.context_tokens);
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
    let basis = limit.map_or("the limit of this device is unknown".to_owned(), |limit| limit.basis);
    let overhead = OVERHEAD_BYTES / 1_000_000;
    document.notes.extend([
        format!(
            "Predicted need: weights, cache and an assumed {overhead} MB for app, runtime and \
             activations. Memory limits are estimated from the memory size: {basis}."
        ),
        "Never decide from this alone: a runner on the device reports the real limit.".into(),
        format!(
            "Predicted ceiling: bandwidth divided by bytes read per token; no runner can be faster. \
             The bandwidth is {}: {}.",
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
        Fact::new(
            "device_memory_confidence",
            "Confidence in the memory size",
            device.confidence.ram.as_str(),
        ),
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
        Column::text("predicted_fit", "without entitlement"),
        Column::number("predicted_limit_entitled", "limit with entitlement", Unit::Bytes).rank(1),
        Column::text("predicted_fit_entitled", "with entitlement"),
        Column::number("read", "read per token", Unit::Bytes).rank(2),
        Column::number("predicted_ceiling", "predicted ceiling", Unit::TokensPerSecond),
        Column::number("predicted_ceiling_full", "ceiling, cache full", Unit::TokensPerSecond)
            .rank(1),
    ]
}
