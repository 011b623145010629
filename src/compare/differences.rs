//! What differs between two runs apart from their results, and which differences make their scores
//! incomparable.

use std::collections::BTreeSet;

use crate::results::measurement::{Measurement, Method};
use crate::results::{Cell, Run, RunFolder};

/// Hexadecimal digits of a hash that people compare.
const SHORT: usize = 12;

/// Something that differs between two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs: `model`, `machine`, `seed`.
    pub what: &'static str,
    /// What only the first run has; several values are separated by commas.
    pub only_first: String,
    /// What only the second run has.
    pub only_second: String,
}

/// Everything that differs between two runs, apart from their results.
pub fn between(first: &RunFolder, second: &RunFolder) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |what: &'static str, a: BTreeSet<String>, b: BTreeSet<String>| {
        let only = |own: &BTreeSet<String>, other: &BTreeSet<String>| {
            own.difference(other).cloned().collect::<Vec<_>>().join(", ")
        };
        if a != b {
            found.push(Difference { what, only_first: only(&a, &b), only_second: only(&b, &a) });
        }
    };
    for (what, of) in FIELDS {
        let field = |side: &RunFolder| side.index.run().map(of).into_iter().collect();
        compare(what, field(first), field(second));
    }
    for (what, of) in SETS {
        compare(what, of(first), of(second));
    }
    found
}

/// What to say of two runs that are one; `None` if their contents differ.
pub fn sameness(a: &RunFolder, b: &RunFolder) -> Option<&'static str> {
    let is_same = !a.hash.is_empty() && a.hash == b.hash;
    is_same.then_some(
        "a run compared with itself: the two have the same records (one folder, a copy of it, condensed \
         or not, or a repetition by the same program), so no change can be found",
    )
}

/// The setting that keeps scores of two runs from being comparable window by window; `None` if
/// they measure the same text in the same way.
pub fn obstacle(a: &Run, b: &Run) -> Option<&'static str> {
    let same = [
        ("protocol", a.protocol == b.protocol),
        ("begin-of-text token", a.bos == b.bos),
        ("number of tokens per window", a.window_tokens == b.window_tokens),
        ("stride", a.stride_tokens == b.stride_tokens),
        ("text", a.text_hash == b.text_hash),
        ("tokenizer", a.tokenizer_hash == b.tokenizer_hash),
        ("backend", a.backend == b.backend),
    ];
    same.into_iter().find(|(_, is_same)| !is_same).map(|(what, _)| what)
}

/// Why no score of one run can be judged against the other's: a different setting or model. `None`
/// if all of them can.
pub fn incomparable(now: &Run, then: &Run) -> Option<String> {
    let model = (now.model_hash != then.model_hash).then_some("model");
    obstacle(now, then).or(model).map(|what| format!("different {what}"))
}

/// The name of the model that a run scored or measured, if the run names one.
pub fn model_name(side: &RunFolder) -> Option<String> {
    let of_subject = || {
        side.measured.iter().find_map(|one| match one {
            Measurement::Subject(subject) => Some(subject.model.clone()),
            _ => None,
        })
    };
    side.index.run().map(|run| run.model.clone()).or_else(of_subject)
}

type Field = (&'static str, fn(&Run) -> String);
type Set = (&'static str, fn(&RunFolder) -> BTreeSet<String>);

const FIELDS: [Field; 12] = [
    ("evalkit", |run| run.evalkit_version.clone()),
    ("arithmetic", |run| format!("version {}", run.numeric_version)),
    ("backend", |run| run.backend().to_owned()),
    ("model", |run| format!("{} {}", run.model, short(&run.model_hash))),
    ("tokenizer", |run| short(&run.tokenizer_hash)),
    ("text", |run| format!("{} {}", run.text_name, short(&run.text_hash))),
    ("protocol", |run| run.protocol.clone()),
    ("begin-of-text token", |run| run.bos.clone()),
    ("tokens per window", |run| run.window_tokens.to_string()),
    ("stride in tokens", |run| run.stride_tokens.to_string()),
    ("windows", |run| run.windows.to_string()),
    ("seed", |run| run.seed.to_string()),
];

const SETS: [Set; 6] = [
    ("program", |side| {
        let scored = side.index.environments().map(|one| short(&one.binary_hash));
        scored.chain(methods(side).map(|method| short(&method.binary_hash))).collect()
    }),
    ("machine", |side| {
        let machines = side.index.environments();
        machines.map(|one| format!("{} ({}, {})", one.cpu_model, one.os, one.device)).collect()
    }),
    ("recipes", |side| side.index.cells().map(Cell::label).collect()),
    ("packages", |side| {
        let designs = side.measured.iter().filter_map(|one| match one {
            Measurement::Subject(subject) => {
                Some(format!("{}, {}", subject.variant, subject.design))
            }
            _ => None,
        });
        designs.collect()
    }),
    ("devices", |side| {
        let devices = side.measured.iter().filter_map(|one| match one {
            Measurement::Device(seen) => {
                let (device, how) = (&seen.description.device, seen.description.simulated);
                let simulated = if how { ", SIMULATED" } else { "" };
                let os = &device.os;
                Some(format!("{} ({}, {os}{simulated})", seen.device, device.model_identifier))
            }
            _ => None,
        });
        devices.collect()
    }),
    ("method of measuring", |side| {
        let described = |method: &Method| {
            let (prompt, tokens) = (method.prompt_tokens, method.tokens);
            format!("{tokens} tokens after {prompt} ({})", method.compute_units)
        };
        methods(side).map(described).collect()
    }),
];

fn methods(side: &RunFolder) -> impl Iterator<Item = &Method> {
    side.measured.iter().filter_map(|one| match one {
        Measurement::Method(method) => Some(method),
        _ => None,
    })
}

/// The first digits of a hash, enough for people to compare.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(SHORT).collect()
}
