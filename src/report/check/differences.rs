//! What differs between two runs apart from their results: said before any number.

use std::collections::BTreeSet;

use super::Side;
use crate::results::measurement::Measurement;
use crate::results::{Environment, Record, Run};

/// Hexadecimal digits of a hash that people compare.
const SHORT: usize = 12;

/// Everything that explains a difference of numbers, one sentence each.
pub(super) fn between(now: Side<'_>, then: Side<'_>) -> Vec<String> {
    let mut said = Vec::new();
    if let (Some(now), Some(then)) = (now.index.run(), then.index.run()) {
        let pairs = of_run(now).into_iter().zip(of_run(then));
        let differing = pairs.filter(|((_, now), (_, then))| now != then);
        said.extend(
            differing.map(|((what, now), (_, then))| format!("other {what}: {now}, was {then}")),
        );
    }
    let sets = [
        ("program", programs(now), programs(then)),
        ("machine", machines(now), machines(then)),
        ("recipes", recipes(now), recipes(then)),
        ("devices", devices(now), devices(then)),
    ];
    // What one side does not say cannot be compared.
    let differing = sets
        .into_iter()
        .filter(|(_, now, then)| now != then && !now.is_empty() && !then.is_empty());
    said.extend(
        differing.map(|(what, now, then)| {
            format!("other {what}: {}, was {}", joined(&now), joined(&then))
        }),
    );
    said
}

/// What a run is about, in words that people compare.
fn of_run(run: &Run) -> [(&'static str, String); 10] {
    [
        ("evalkit", run.evalkit_version.clone()),
        ("arithmetic", format!("version {}", run.numeric_version)),
        ("model", format!("{} {}", run.model, short(&run.model_hash))),
        ("tokenizer", short(&run.tokenizer_hash)),
        ("text", format!("{} {}", run.text_name, short(&run.text_hash))),
        ("protocol", run.protocol.clone()),
        ("BOS", run.bos.clone()),
        ("tokens per window", run.window_tokens.to_string()),
        ("number of windows", run.windows.to_string()),
        ("seed", run.seed.to_string()),
    ]
}

/// Why no score of one run can be held against the other's; nothing where all can.
pub fn incomparable(now: &Run, then: &Run) -> Option<String> {
    let fields = [
        ("protocol", now.protocol.clone(), then.protocol.clone()),
        ("BOS", now.bos.clone(), then.bos.clone()),
        ("tokens per window", now.window_tokens.to_string(), then.window_tokens.to_string()),
        ("stride", now.stride_tokens.to_string(), then.stride_tokens.to_string()),
        ("text", short(&now.text_hash), short(&then.text_hash)),
        ("tokenizer", short(&now.tokenizer_hash), short(&then.tokenizer_hash)),
        ("model", short(&now.model_hash), short(&then.model_hash)),
    ];
    let (what, now, then) = fields.into_iter().find(|(_, now, then)| now != then)?;
    Some(format!("other {what}: {now}, was {then}"))
}

fn joined(of: &BTreeSet<String>) -> String {
    of.iter().cloned().collect::<Vec<_>>().join(" and ")
}

pub(super) fn short(hash: &str) -> String {
    hash.chars().take(SHORT).collect()
}

fn environments(side: Side<'_>) -> impl Iterator<Item = &Environment> {
    side.index.records().iter().filter_map(|record| match record {
        Record::Environment(environment) => Some(environment),
        _ => None,
    })
}

fn programs(side: Side<'_>) -> BTreeSet<String> {
    let of_methods = side.measured.iter().filter_map(|one| match one {
        Measurement::Method(method) => Some(short(&method.binary_hash)),
        _ => None,
    });
    environments(side).map(|e| short(&e.binary_hash)).chain(of_methods).collect()
}

fn machines(side: Side<'_>) -> BTreeSet<String> {
    environments(side).map(|e| format!("{} ({}, {})", e.cpu_model, e.os, e.device)).collect()
}

fn recipes(side: Side<'_>) -> BTreeSet<String> {
    side.index.cells().filter(|cell| !cell.is_reference).map(|cell| cell.label()).collect()
}

fn devices(side: Side<'_>) -> BTreeSet<String> {
    let named = side.measured.iter().filter_map(|one| match one {
        Measurement::Device(seen) => Some(super::speed::describe(seen)),
        _ => None,
    });
    named.collect()
}

/// The model's name.
pub(super) fn model(side: Side<'_>) -> Option<String> {
    let of_subject = || {
        side.measured.iter().find_map(|one| match one {
            Measurement::Subject(subject) => Some(subject.model.clone()),
            _ => None,
        })
    };
    side.index.run().map(|run| run.model.clone()).or_else(of_subject)
}
