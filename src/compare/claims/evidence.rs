//! The evidence in a run's records: sizes and quality of variants, and speeds on devices.

use super::{ClaimEvidence, ClaimMetric, EvidenceKind};
use crate::compare::on_device::{DeviceRow, OnDevices};
use crate::compare::summary::{Summary, SummaryRow};
use crate::error::Result;
use crate::results::RunFolder;
use crate::results::measurement::SeenDevice;
use crate::stats::{Estimate, median};

/// The level of intervals.
const LEVEL: f64 = 0.95;

/// Everything known from a run: sizes and quality of variants, and what devices measured.
///
/// # Errors
/// Input errors of the records; *no* if the run lost windows.
pub fn evidence(folder: &RunFolder) -> Result<Vec<ClaimEvidence>> {
    let mut all = Vec::new();
    if folder.index.run().is_some() {
        folder.check_whole()?;
        let summary = Summary::of(folder)?;
        all.extend(summary.rows.iter().flat_map(|row| of_variant(folder, &summary, row)));
    }
    for one in OnDevices::of(&folder.measured).map(|found| found.devices).unwrap_or_default() {
        all.extend(one.rows.iter().flat_map(|row| of_device(folder, one.device, row)));
    }
    Ok(all)
}

/// A value of one metric, if it is known.
type Known = (ClaimMetric, Option<Estimate>);

/// Size and quality of a variant.
fn of_variant(folder: &RunFolder, summary: &Summary, row: &SummaryRow) -> Vec<ClaimEvidence> {
    // What some windows say may change until the last one is scored.
    let is_done = folder.index.is_done(&row.cell_id);
    let quality = row.outcome.as_ref().ok().filter(|_| is_done).map(|scores| scores.quality);
    // The reference does not diverge from itself.
    let diverging = quality.filter(|_| !row.is_reference);
    let size = row.size_bytes.map(|bytes| Estimate::exact(bytes as f64));
    let found = [
        (ClaimMetric::Size, size),
        (ClaimMetric::Perplexity, quality.map(|quality| quality.perplexity)),
        (ClaimMetric::KlMean, diverging.map(|quality| quality.kl_mean_nats)),
        (ClaimMetric::Top1, diverging.map(|quality| quality.top1_agreement)),
    ];
    let one = |(metric, value): Known| {
        Some(ClaimEvidence {
            model: summary.run.model.clone(),
            recipe: row.variant.clone(),
            device: Vec::new(),
            metric,
            value: value?,
            kind: EvidenceKind::Measured,
            from: format!("in {}", folder.name),
        })
    };
    found.into_iter().filter_map(one).collect()
}

/// What a device measured of a package; nothing if the device does not compute the model.
fn of_device(folder: &RunFolder, seen: &SeenDevice, row: &DeviceRow<'_>) -> Vec<ClaimEvidence> {
    let is_simulated = seen.description.simulated;
    if row.correctness.is_some_and(|correctness| !correctness.holds) && !is_simulated {
        return Vec::new();
    }
    let token_ms: Vec<f64> =
        row.bursts.iter().map(|burst| 1e3 / burst.decode_tokens_per_s).collect();
    let exact = |bytes: u64| Estimate::exact(bytes as f64);
    let found = [
        (ClaimMetric::Decode, row.decode_tokens_per_s),
        (ClaimMetric::Ttft, row.ttft_ms),
        (ClaimMetric::Token, median(&token_ms, LEVEL)),
        (ClaimMetric::Load, row.load_ms),
        (ClaimMetric::Memory, row.footprint_peak_bytes.map(exact)),
    ];
    let model_identifier = seen.description.device.model_identifier.clone();
    let names = [Some(seen.device.clone()), Some(model_identifier), seen.marketing_name.clone()];
    let names: Vec<String> = names.into_iter().flatten().collect();
    let kind = if is_simulated { EvidenceKind::Simulated } else { EvidenceKind::Measured };
    let one = |(metric, value): Known| {
        Some(ClaimEvidence {
            model: row.subject.model.clone(),
            recipe: row.subject.variant.clone(),
            device: names.clone(),
            metric,
            value: value?,
            kind,
            from: format!("on {} in {}", names.last().unwrap_or(&seen.device), folder.name),
        })
    };
    found.into_iter().filter_map(one).collect()
}
