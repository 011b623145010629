//! What the records of a run are evidence of.

use super::{Evidence, How, Metric};
use crate::error::Result;
use crate::report::devices::{Row as Measured, measured};
use crate::report::run;
use crate::results::RunFolder;
use crate::results::measurement::SeenDevice;
use crate::stats::{Estimate, median};

/// Certainty of intervals.
const LEVEL: f64 = 0.95;

/// Everything that a run knows: sizes and quality of variants, and what devices measured.
///
/// # Errors
/// Input errors of the records.
pub fn evidence(folder: &RunFolder) -> Result<Vec<Evidence>> {
    let mut all = Vec::new();
    if folder.index.run().is_some() {
        let summary = run::summary(folder)?;
        for row in &summary.rows {
            let quality = row.outcome.as_ref().ok().map(|outcome| outcome.quality);
            let beside = quality.filter(|_| !row.is_reference);
            let size = row.size_bytes.map(|bytes| Estimate::exact(bytes as f64));
            let found = [
                (Metric::Size, size),
                (Metric::Perplexity, quality.map(|quality| quality.perplexity)),
                (Metric::KlMean, beside.map(|quality| quality.kl_mean_nats)),
                (Metric::Top1, beside.map(|quality| quality.top1_agreement)),
            ];
            let one = |(metric, value): (Metric, Option<Estimate>)| {
                Some(Evidence {
                    model: summary.run.model.clone(),
                    recipe: row.variant.clone(),
                    device: Vec::new(),
                    metric,
                    value: value?,
                    how: How::Measured,
                    from: format!("in {}", folder.name),
                })
            };
            all.extend(found.into_iter().filter_map(one));
        }
    }
    for (device, rows) in measured(&folder.measured).map(|(_, found)| found).unwrap_or_default() {
        all.extend(rows.iter().flat_map(|row| of_device(folder, device, row)));
    }
    Ok(all)
}

/// What a device measured of a package. What it computes wrongly has no speed.
fn of_device(folder: &RunFolder, seen: &SeenDevice, row: &Measured<'_>) -> Vec<Evidence> {
    if row.truth.is_some_and(|truth| !truth.holds) && !seen.description.simulated {
        return Vec::new();
    }
    let token_ms: Vec<f64> =
        row.bursts.iter().map(|burst| 1e3 / burst.decode_tokens_per_s).collect();
    let exact = |bytes: u64| Estimate::exact(bytes as f64);
    let found = [
        (Metric::Decode, row.decode_tokens_per_s),
        (Metric::Ttft, row.ttft_ms),
        (Metric::Token, median(&token_ms, LEVEL)),
        (Metric::Load, row.load_ms),
        (Metric::Memory, row.footprint_peak_bytes.map(exact)),
    ];
    let model_identifier = seen.description.device.model_identifier.clone();
    let names = [Some(seen.device.clone()), Some(model_identifier), seen.marketing_name.clone()];
    let names: Vec<String> = names.into_iter().flatten().collect();
    let one = |(metric, value): (Metric, Option<Estimate>)| {
        Some(Evidence {
            model: row.subject.model.clone(),
            recipe: row.subject.variant.clone(),
            device: names.clone(),
            metric,
            value: value?,
            how: if seen.description.simulated { How::Simulated } else { How::Measured },
            from: format!("on {} in {}", names.last().unwrap_or(&seen.device), folder.name),
        })
    };
    found.into_iter().filter_map(one).collect()
}
