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
    let mut differs = |what: &str, now: BTreeSet<String>, then: BTreeSet<String>| {
        // What one side does not say cannot be compared.
        if now != then && !now.is_empty() && !then.is_empty() {
            said.push(format!("other {what}: {}, was {}", joined(&now), joined(&then)));
        }
    };
    let run = |side: Side<'_>, of: &dyn Fn(&Run) -> String| {
        side.index.run().map(of).into_iter().collect()
    };
    let fields: [(&str, &dyn Fn(&Run) -> String); 10] = [
        ("evalkit", &|run| run.evalkit_version.clone()),
        ("arithmetic", &|run| format!("version {}", run.numeric_version)),
        ("model", &|run| format!("{} {}", run.model, short(&run.model_hash))),
        ("tokenizer", &|run| short(&run.tokenizer_hash)),
        ("text", &|run| format!("{} {}", run.text_name, short(&run.text_hash))),
        ("protocol", &|run| run.protocol.clone()),
        ("BOS", &|run| run.bos.clone()),
        ("tokens per window", &|run| run.window_tokens.to_string()),
        ("number of windows", &|run| run.windows.to_string()),
        ("seed", &|run| run.seed.to_string()),
    ];
    for (what, of) in fields {
        differs(what, run(now, of), run(then, of));
    }
    differs("program", programs(now), programs(then));
    differs("machine", machines(now), machines(then));
    differs("recipes", recipes(now), recipes(then));
    differs("devices", devices(now), devices(then));
    said
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
