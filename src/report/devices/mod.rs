//! Tables of what devices measured, and of the attempts that did not count.
//!
//! The table of a simulated runner says so in its title and in every row. Speeds of a package that a
//! device computes wrongly are struck out.

mod figures;
mod label;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use self::tests::all as fixture;

pub use self::figures::figures;
use self::label::{label, packages};
use super::{Column, Document, Fact, Table, Unit, Value};
use crate::compare::on_device::{DeviceRow, DeviceRows, OnDevices, last_method, subjects};
use crate::compare::origins::is_overcome;
use crate::results::measurement::{FailedStep, Measurement, Method, SeenDevice, Subject};
use crate::results::runner::Device;
use crate::units::Bytes;

/// The document of a folder that holds only measurements.
pub fn document(all: &[Measurement]) -> Document {
    let mut facts = Vec::new();
    let models = subjects(all).into_iter().map(|subject| subject.model.as_str());
    let mut models: Vec<&str> = models.collect();
    models.dedup();
    if let Some(method) = last_method(all) {
        facts.extend([
            Fact::new("prompt_tokens", "prompt tokens", method.prompt_tokens),
            Fact::new("tokens", "generated tokens", method.tokens),
            Fact::new("repetitions", "repetitions", method.repetitions),
            Fact::new("compute_units", "compute units", method.compute_units.as_str()),
            Fact::new("method_id", "method", Value::Hash(method.method_id.clone())),
            Fact::new("evalkit_version", "evalkit", method.evalkit_version.as_str()),
            Fact::new("binary_hash", "program hash", Value::Hash(method.binary_hash.clone()))
                .detail(),
        ]);
    }
    Document {
        title: format!("{} on devices", models.join(", ")),
        facts,
        tables: tables(all),
        figures: figures(all, None),
        notes: notes(all),
        ..Document::default()
    }
}

/// A table of speeds for each device.
pub(super) fn speeds_of(all: &[Measurement]) -> Vec<Table> {
    let Some(OnDevices { method, devices }) = OnDevices::of(all) else { return Vec::new() };
    devices.iter().map(|one| speeds(one, method)).collect()
}

/// Two tables for each device, then one of the attempts that did not count.
pub fn tables(all: &[Measurement]) -> Vec<Table> {
    let Some(OnDevices { method, devices }) = OnDevices::of(all) else { return Vec::new() };
    let mut tables = Vec::new();
    let mut failures = Vec::new();
    for one in &devices {
        failures.extend(one.rows.iter().flat_map(|row| {
            let is_overcome = row.kept >= method.repetitions;
            let named = |what: &String| {
                let variant = label(row.subject, &subjects(all));
                let what = history(what, is_overcome);
                vec![one.device.device.as_str().into(), variant.into(), what.into()]
            };
            row.failures.iter().map(named).collect::<Vec<_>>()
        }));
        tables.push(speeds(one, method));
        tables.push(predictions(one));
    }
    failures.extend(troubles(all, &subjects(all)));
    if !failures.is_empty() {
        tables.push(Table {
            title: "Attempts that did not count".into(),
            columns: vec![
                Column::text("device", "device"),
                Column::text("variant", "variant"),
                Column::text("cause", "what happened"),
            ],
            rows: failures,
            notes: Vec::new(),
        });
    }
    tables
}

/// How these numbers were measured.
pub fn notes(all: &[Measurement]) -> Vec<String> {
    let Some(method) = last_method(all) else { return Vec::new() };
    vec![format!(
        "Speeds are medians over repetitions ({} asked for), each of {} tokens after a prompt of {} \
         tokens. ± and [ ] are intervals of at least 95 % between order statistics, which need 6 \
         repetitions. Packages take turns; a package is loaded anew and warmed up once before its \
         repetitions. TTFT: time from the prompt's arrival to the first token.",
        method.repetitions, method.tokens, method.prompt_tokens
    )]
}

fn speed_columns() -> Vec<Column> {
    vec![
        Column::text("variant", "variant"),
        Column::text("how", "how").rank(1),
        Column::number("size", "size", Unit::Bytes).rank(2),
        Column::number("load_first", "first load", Unit::Millis).rank(3),
        Column::estimate("load_cached", "load", Unit::Millis),
        Column::estimate("ttft", "TTFT", Unit::Millis),
        Column::estimate("prefill", "prefill", Unit::TokensPerSecond).rank(2),
        Column::estimate("decode", "decode", Unit::TokensPerSecond),
        Column::number("token_p95", "p95 per token", Unit::Millis).rank(3),
        Column::number("footprint_peak", "peak memory", Unit::Bytes),
        Column::number("neural", "Neural Engine memory", Unit::Bytes).rank(4),
        Column::number("kept", "repetitions", Unit::None).rank(2),
        Column::text("correctness", "correctness"),
        Column::data("device", "device"),
        Column::data("design", "design"),
    ]
}

fn speeds(DeviceRows { device, rows, .. }: &DeviceRows<'_>, method: &Method) -> Table {
    let how = if device.description.simulated { "SIMULATED" } else { "measured" };
    let among = packages(rows);
    let name = |row: &DeviceRow<'_>| label(row.subject, &among);
    let row = |row: &DeviceRow<'_>| {
        let wrong = row
            .correctness
            .filter(|correctness| !correctness.holds && !device.description.simulated);
        let shown = |value: Value| match (wrong, &value) {
            (None, _) | (_, Value::Empty) => value,
            (Some(correctness), _) => {
                Value::Struck(value.into(), format!("wrong: {}", correctness.what))
            }
        };
        vec![
            Value::from(name(row)),
            Value::from(how),
            Value::from(row.subject.size_bytes),
            shown(row.load_first_ms.into()),
            shown(row.load_ms.into()),
            shown(row.ttft_ms.into()),
            shown(row.prefill_tokens_per_s.into()),
            shown(row.decode_tokens_per_s.into()),
            shown(row.token_p95_ms.into()),
            shown(row.footprint_peak_bytes.into()),
            shown(row.neural_bytes.into()),
            Value::from(row.kept),
            Value::from(verdict(row, device)),
            Value::from(device.device.as_str()),
            Value::from(row.subject.design.as_str()),
        ]
    };
    let wrong = rows.iter().filter_map(|row| {
        let correctness = row.correctness.filter(|correctness| !correctness.holds)?;
        let what =
            if device.description.simulated { "simulated, so not the model" } else { "WRONG" };
        Some(format!("{}: {what}: {}", name(row), correctness.what))
    });
    let few = rows.iter().filter(|row| row.kept < method.repetitions).map(|row| {
        let (variant, kept) = (name(row), row.kept);
        format!("{variant}: only {kept} of {} repetitions count", method.repetitions)
    });
    let alone = rows.iter().filter_map(|row| {
        let (alone, both) = (row.decode_alone_peak_bytes?, row.footprint_peak_bytes?);
        let (variant, alone, both) = (name(row), Bytes(alone), Bytes(both));
        Some(format!(
            "{variant}: peak memory with decode alone {alone}, with decode and prefill {both}"
        ))
    });
    Table {
        title: title(device),
        columns: speed_columns(),
        rows: rows.iter().map(row).collect(),
        notes: wrong.chain(few).chain(alone).collect(),
    }
}

fn title(device: &SeenDevice) -> String {
    let Device { model_identifier, chip, os, .. } = &device.description.device;
    let name = device.marketing_name.as_deref().unwrap_or(model_identifier);
    let chip = chip.as_ref().map(|chip| format!(", {chip}")).unwrap_or_default();
    let (simulated, runtime) = (simulated(device), &device.description.runtime);
    format!("{simulated}On {}: {name}{chip}, {os}, {runtime}", device.device)
}

/// The beginning of every title of a simulated runner; empty for others.
fn simulated(device: &SeenDevice) -> &'static str {
    if device.description.simulated { "SIMULATED: " } else { "" }
}

fn verdict(row: &DeviceRow<'_>, device: &SeenDevice) -> String {
    match row.correctness {
        None => "not checked".into(),
        Some(_) if device.description.simulated => "simulated".into(),
        Some(correctness) if correctness.holds => "correct".into(),
        Some(_) => "WRONG".into(),
    }
}

/// The correctness check in numbers, and what memory bandwidth and the system's plan predict.
fn predictions(DeviceRows { device, rows, own }: &DeviceRows<'_>) -> Table {
    let columns = vec![
        Column::text("variant", "variant"),
        Column::number("kl_host", "KL to this machine", Unit::Nats),
        Column::number("top1_host", "top-1 agreement", Unit::Share),
        Column::number("max_logit", "largest logit difference", Unit::Nats).rank(3),
        Column::number("read_per_token", "read per token, predicted", Unit::Bytes),
        Column::number("ceiling", "ceiling, predicted", Unit::TokensPerSecond),
        Column::number("attained", "share of ceiling", Unit::Share),
        Column::number("neural_engine", "Neural Engine, predicted", Unit::Share).rank(2),
        Column::number("gpu", "GPU, predicted", Unit::Share).rank(2),
        Column::number("cpu", "CPU, predicted", Unit::Share).rank(2),
        Column::data("device", "device"),
        Column::data("design", "design"),
    ];
    let among = packages(rows);
    let row = |row: &DeviceRow<'_>| {
        let correctness = row.correctness.filter(|correctness| correctness.tokens > 0);
        let read_bytes = row.subject.weight_bytes_per_token;
        let ceiling = device
            .bandwidth_gb_per_s
            .filter(|_| read_bytes > 0.0)
            .map(|bandwidth| bandwidth * 1e9 / read_bytes);
        let attained = ceiling.zip(row.decode_tokens_per_s).map(|(most, own)| own.point / most);
        let is_believed = row.correctness.is_some_and(|correctness| correctness.holds);
        let plan = own.iter().rev().find_map(|one| match one {
            Measurement::Plan(plan)
                if plan.device == device.device && plan.package == row.subject.package =>
            {
                Some(plan)
            }
            _ => None,
        });
        vec![
            Value::from(label(row.subject, &among)),
            correctness
                .and_then(|correctness| Some(correctness.kl_nats? / correctness.tokens as f64))
                .into(),
            correctness
                .map(|correctness| correctness.top1_agree as f64 / correctness.tokens as f64)
                .into(),
            correctness.and_then(|correctness| correctness.max_logit_difference).into(),
            Value::from(read_bytes),
            ceiling.into(),
            attained.filter(|_| is_believed).into(),
            plan.and_then(|plan| plan.neural_engine).into(),
            plan.and_then(|plan| plan.gpu).into(),
            plan.and_then(|plan| plan.cpu).into(),
            Value::from(device.device.as_str()),
            Value::from(row.subject.design.as_str()),
        ]
    };
    let bandwidth = match (&device.bandwidth_gb_per_s, &device.bandwidth_confidence) {
        (Some(bandwidth), confidence) => format!(
            "Ceiling: memory bandwidth of {bandwidth} GB/s ({}) divided by the bytes read per token.",
            confidence.as_deref().unwrap_or("source unknown")
        ),
        (None, _) => "No ceiling: the memory bandwidth of this device is unknown.".into(),
    };
    Table {
        title: format!("{}On {}: correctness and predictions", simulated(device), device.device),
        columns,
        rows: rows.iter().map(row).collect(),
        notes: vec![bandwidth],
    }
}

/// What happened, marked as history if it was overcome.
fn history(what: &str, is_overcome: bool) -> String {
    if is_overcome { format!("{what} (overcome later)") } else { what.to_owned() }
}

/// Failed steps, as rows of the attempts that did not count.
fn troubles(all: &[Measurement], subjects: &[&Subject]) -> Vec<Vec<Value>> {
    let row = |(at, one): (usize, &Measurement)| {
        let Measurement::FailedStep(FailedStep { device, package, step, reason }) = one else {
            return None;
        };
        let subject = subjects.iter().find(|subject| Some(&subject.package) == package.as_ref());
        if package.is_some() && subject.is_none() {
            return None;
        }
        let variant = subject.map_or(String::new(), |subject| label(subject, subjects));
        let what = history(&format!("{step}: {reason}"), is_overcome(all, at));
        Some(vec![Value::from(device.as_str()), Value::from(variant), Value::from(what)])
    };
    all.iter().enumerate().filter_map(row).collect()
}
