//! Figures of what devices measured: quality against speed, times of tokens, memory, thermal state.

use super::label::{label, packages};
use crate::compare::on_device::{DeviceRow, DeviceRows, OnDevices};
use crate::compare::summary::Summary;
use crate::report::{Axis, Bar, Bound, Distribution, Figure, Front, Point, Rise, Series, Unit};
use crate::results::measurement::{AttemptOutcome, Measurement, Method, SeenDevice};
use crate::results::runner::{Figures, Thermal};

/// The figures of every device; those of quality only if the variants were `scored`.
pub fn figures(all: &[Measurement], scored: Option<&Summary>) -> Vec<Figure> {
    let Some(OnDevices { method, devices }) = OnDevices::of(all) else { return Vec::new() };
    let mut figures = Vec::new();
    for DeviceRows { device, rows, own } in devices {
        let rows: Vec<DeviceRow<'_>> = rows.into_iter().filter(|row| row.kept > 0).collect();
        figures.extend(scored.and_then(|scored| speed(device, &rows, scored)));
        figures.extend(latencies(device, method, &rows, &own));
        figures.extend(memory(device, &rows));
        figures.extend(heat(device, &own));
    }
    figures
}

/// The device's name, marked if it is simulated.
fn on(device: &SeenDevice) -> String {
    let simulated = if device.description.simulated { " (SIMULATED)" } else { "" };
    format!("{}{simulated}", device.device)
}

/// Divergence against measured speed, without packages that the device computes wrongly.
fn speed(device: &SeenDevice, rows: &[DeviceRow<'_>], scored: &Summary) -> Option<Figure> {
    let among = packages(rows);
    let point = |row: &DeviceRow<'_>| {
        if row.correctness.is_some_and(|correctness| !correctness.holds)
            && !device.description.simulated
        {
            return None;
        }
        let cell_id = row.subject.cell_id.as_ref();
        let own = scored.rows.iter().find(|own| Some(&own.cell_id) == cell_id)?;
        let y = own.outcome.as_ref().ok()?.quality.kl_mean_nats;
        let x = row.decode_tokens_per_s?.point;
        (y.point > 0.0).then(|| Point { label: label(row.subject, &among), x, y })
    };
    let points: Vec<Point> = rows.iter().filter_map(point).collect();
    (!points.is_empty()).then(|| Figure::Scatter {
        title: format!("KL divergence against speed on {}", on(device)),
        x: Axis::new("decode", Unit::TokensPerSecond),
        y: Axis::new("KL mean", Unit::Nats),
        points,
        front: Some(Front::More),
    })
}

/// Distributions of the time per token, over all kept repetitions.
fn latencies(
    device: &SeenDevice,
    method: &Method,
    rows: &[DeviceRow<'_>],
    all: &[&Measurement],
) -> Option<Figure> {
    let among = packages(rows);
    let distribution = |row: &DeviceRow<'_>| {
        let kept = all.iter().filter_map(|one| match one {
            Measurement::Repetition(one)
                if one.attempt.device == device.device
                    && one.attempt.package == row.subject.package
                    && one.attempt.method_id == method.method_id
                    && one.attempt.outcome == AttemptOutcome::Kept
                    && one.sustained_at_ms.is_none() =>
            {
                one.generated.as_ref()
            }
            _ => None,
        });
        let times = kept.flat_map(|generated| generated.token_ms.iter().copied());
        Distribution::of(&label(row.subject, &among), times.collect())
    };
    let rows: Vec<Distribution> = rows.iter().filter_map(distribution).collect();
    let title = format!("Time per token on {}", on(device));
    (!rows.is_empty()).then_some(Figure::Distributions { title, unit: Unit::Millis, rows })
}

/// Peak memory, with the limit that the device reports.
fn memory(device: &SeenDevice, rows: &[DeviceRow<'_>]) -> Option<Figure> {
    let among = packages(rows);
    let bar = |row: &DeviceRow<'_>| {
        let remark = match row.neural_bytes.filter(|bytes| *bytes > 0) {
            Some(bytes) => format!("plus {} of the Neural Engine", crate::units::Bytes(bytes)),
            None => String::new(),
        };
        let (label, value) = (label(row.subject, &among), row.footprint_peak_bytes? as f64);
        Some(Bar { label, value, remark })
    };
    let bars: Vec<Bar> = rows.iter().filter_map(bar).collect();
    let limit = device.description.memory_limit_bytes;
    let limit = limit.map(|bytes| Bound {
        name: "limit reported by the device".to_owned(),
        value: bytes as f64,
    });
    let against = if limit.is_some() { " against its limit" } else { "" };
    let title = format!("Peak memory on {}{against}", on(device));
    (!bars.is_empty()).then_some(Figure::Bars { title, unit: Unit::Bytes, bars, limit })
}

/// The thermal state over measured time, if the device reports it: jobs in sequence, without pauses.
fn heat(device: &SeenDevice, all: &[&Measurement]) -> Option<Figure> {
    let mut elapsed_ms = 0.0;
    let mut points = Vec::new();
    for job in all.iter().filter_map(|one| job(device, one)) {
        for now in &job {
            let level = now.thermal.map(|thermal| match thermal {
                Thermal::Nominal => 0.0,
                Thermal::Fair => 1.0,
                Thermal::Serious => 2.0,
                Thermal::Critical => 3.0,
            });
            points.extend(level.map(|level| (elapsed_ms + now.at_ms, level)));
        }
        elapsed_ms += job.last().map_or(0.0, |after| after.at_ms);
    }
    if points.len() < 2 {
        return None;
    }
    // A line needs only its corners.
    let is_corner = |at: usize| {
        let same =
            |other: usize| points.get(other).is_some_and(|p: &(f64, f64)| p.1 == points[at].1);
        at == 0 || at + 1 == points.len() || !(same(at - 1) && same(at + 1))
    };
    let corners = (0..points.len()).filter(|at| is_corner(*at)).map(|at| points[at]).collect();
    Some(Figure::Lines {
        title: format!("Thermal state of {} over the measured time", on(device)),
        x: Axis::new("measured time", Unit::Millis),
        y: Axis::new("thermal state", Unit::None),
        rise: Rise::Levels(vec!["nominal", "fair", "serious", "critical"]),
        series: vec![Series { label: device.device.clone(), points: corners }],
    })
}

/// What the system reported during a job on the device, in order.
fn job<'a>(device: &SeenDevice, one: &'a Measurement) -> Option<Vec<&'a Figures>> {
    let (attempt, before, samples, after) = match one {
        Measurement::Load(load) => {
            let loaded = load.loaded.as_ref()?;
            (&load.attempt, &loaded.before, &loaded.samples, &loaded.after)
        }
        Measurement::Repetition(repetition) => {
            let generated = repetition.generated.as_ref()?;
            (&repetition.attempt, &generated.before, &generated.samples, &generated.after)
        }
        _ => return None,
    };
    let figures = std::iter::once(before).chain(samples).chain([after]);
    (attempt.device == device.device).then(|| figures.collect())
}
