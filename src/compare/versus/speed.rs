//! Speeds of variants on devices of one kind that both runs measured with one method.

use std::collections::BTreeMap;

use super::Side;
use crate::compare::metric::Metric;
use crate::compare::on_device::{Burst, DeviceRow, OnDevices};
use crate::results::measurement::{Method, SeenDevice};
use crate::stats::{Bootstrap, Effect, Estimate, ratio_of_medians};

/// Metrics that are compared.
const METRICS: [Metric; 2] = [Metric::Decode, Metric::Ttft];

/// One metric of every variant of the first run on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeedChanges {
    /// The device.
    pub device: String,
    /// The metric.
    pub metric: Metric,
    /// A row per variant.
    pub rows: Vec<SpeedChange>,
}

/// One metric of one variant on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeedChange {
    /// The variant.
    pub variant: String,
    /// The median in either run.
    pub values: [Option<Estimate>; 2],
    /// The second run's median over the first's, or why it is not compared.
    pub change: Result<Estimate, Untimed>,
}

/// Why speeds are not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untimed {
    /// Only the first run measured the variant.
    OnlyInFirst,
    /// The second run measured the variant with packages of another design only.
    OtherDesign,
    /// One of the devices is simulated.
    Simulated,
    /// The devices are of different kinds.
    OtherDevice,
    /// Prompts, numbers of tokens or compute units differ.
    OtherMethod,
    /// One of the devices does not compute the model.
    WrongModel,
    /// Too few repetitions.
    TooLittleData,
}

/// Every metric on every device that both runs measured.
pub(super) fn changes(a: &Side<'_>, b: &Side<'_>) -> Vec<SpeedChanges> {
    let (Some(of_a), Some(of_b)) =
        (OnDevices::of(&a.folder.measured), OnDevices::of(&b.folder.measured))
    else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for first in &of_a.devices {
        let is_same = |name: &str| name == first.device.device;
        let Some(second) = of_b.devices.iter().find(|other| is_same(&other.device.device)) else {
            continue;
        };
        let obstacle = obstacle(
            Setting { method: of_a.method, device: first.device },
            Setting { method: of_b.method, device: second.device },
        );
        all.extend(METRICS.map(|metric| {
            let row = |row: &DeviceRow<'_>| of_variant(metric, row, &second.rows, obstacle);
            let rows = first.rows.iter().map(row).collect();
            SpeedChanges { device: first.device.device.clone(), metric, rows }
        }));
    }
    all
}

/// How and where one run measured.
#[derive(Clone, Copy)]
struct Setting<'a> {
    method: &'a Method,
    device: &'a SeenDevice,
}

impl Setting<'_> {
    fn is_simulated(self) -> bool {
        self.device.description.simulated
    }

    fn kind(&self) -> &str {
        &self.device.description.device.model_identifier
    }

    fn is_measured_as(&self, other: &Setting<'_>) -> bool {
        let way = |method: &Method| {
            let Method { prompt_tokens, tokens, .. } = *method;
            (prompt_tokens, method.prompt_hash.clone(), tokens, method.compute_units.clone())
        };
        way(self.method) == way(other.method)
    }
}

/// Why no speed of two runs on a device can be compared; `None` if all can.
fn obstacle(a: Setting<'_>, b: Setting<'_>) -> Option<Untimed> {
    if a.is_simulated() || b.is_simulated() {
        Some(Untimed::Simulated)
    } else if a.kind() != b.kind() {
        Some(Untimed::OtherDevice)
    } else if !a.is_measured_as(&b) {
        Some(Untimed::OtherMethod)
    } else {
        None
    }
}

fn of_variant(
    metric: Metric,
    row: &DeviceRow<'_>,
    others: &[DeviceRow<'_>],
    obstacle: Option<Untimed>,
) -> SpeedChange {
    let twins = others.iter().filter(|other| other.subject.variant == row.subject.variant);
    let twins: Vec<&DeviceRow<'_>> = twins.collect();
    let other = twins.iter().copied().find(|other| other.subject.design == row.subject.design);
    let is_wrong =
        |row: &DeviceRow<'_>| row.correctness.is_some_and(|correctness| !correctness.holds);
    let change = match (other, obstacle) {
        (None, _) if twins.is_empty() => Err(Untimed::OnlyInFirst),
        (None, _) => Err(Untimed::OtherDesign),
        (_, Some(why)) => Err(why),
        (Some(other), None) if is_wrong(row) || is_wrong(other) => Err(Untimed::WrongModel),
        (Some(other), None) => {
            let effect = change(metric, row, other).ok_or(Untimed::TooLittleData);
            effect.map(|effect| effect.estimate())
        }
    };
    let median = |row: &DeviceRow<'_>| match metric {
        Metric::Decode => row.decode_tokens_per_s,
        _ => row.ttft_ms,
    };
    let values = [median(row), other.and_then(median)];
    SpeedChange { variant: row.subject.variant.clone(), values, change }
}

/// The second median over the first: visits are resampled, then the repetitions within each.
fn change(metric: Metric, a: &DeviceRow<'_>, b: &DeviceRow<'_>) -> Option<Effect> {
    let value = |burst: &Burst| match metric {
        Metric::Decode => burst.decode_tokens_per_s,
        _ => burst.ttft_ms,
    };
    let visits = |row: &DeviceRow<'_>| {
        let mut visits: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for burst in &row.bursts {
            visits.entry(burst.visit).or_default().push(value(burst));
        }
        visits.into_values().collect::<Vec<_>>()
    };
    let (a, b) = (visits(a), visits(b));
    ratio_of_medians(&b, &a, &Bootstrap::new(0, a.len().min(b.len()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::check::tests::measured;
    use crate::results::RunFolder;
    use crate::results::measurement::{AttemptOutcome, Measurement};

    #[test]
    fn packages_of_another_design_are_not_compared() {
        let same = measured(20.0, &AttemptOutcome::Kept);
        let mut other = same.clone();
        for one in &mut other {
            if let Measurement::Subject(subject) = one {
                subject.design = "macos15 ne".into();
            }
        }
        let [same, other] =
            [same, other].map(|measured| RunFolder { measured, ..RunFolder::default() });
        let found = |b: &RunFolder| {
            let [a, b] = [&same, b].map(|folder| Side { folder, summary: None });
            changes(&a, &b)
        };
        let rows = |b: &RunFolder| found(b).into_iter().flat_map(|one| one.rows);
        assert!(rows(&same).all(|row| row.change.is_ok()));
        assert!(rows(&other).all(|row| row.change == Err(Untimed::OtherDesign)));
        assert_eq!(rows(&other).count(), 4);
    }
}
