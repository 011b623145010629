//! What differs between two runs apart from their results.

use std::collections::BTreeSet;

use super::Side;
use crate::report::{Column, Table};
use crate::results::Run;
use crate::results::measurement::Measurement;

/// Hexadecimal digits of a hash that people compare.
const SHORT: usize = 12;

/// A row for everything that differs.
pub(super) fn table(a: &Side<'_>, b: &Side<'_>) -> Table {
    let mut rows = Vec::new();
    let mut compare = |what: &str, a: BTreeSet<String>, b: BTreeSet<String>| {
        // A comma between what is only on one side; what both have is left out.
        let only = |own: &BTreeSet<String>, other: &BTreeSet<String>| {
            own.difference(other).cloned().collect::<Vec<_>>().join(", ")
        };
        if a != b {
            rows.push(vec![what.into(), only(&a, &b).into(), only(&b, &a).into()]);
        }
    };
    for (what, of) in FIELDS {
        let field = |side: &Side<'_>| side.folder.index.run().map(of).into_iter().collect();
        compare(what, field(a), field(b));
    }
    for (what, of) in SETS {
        compare(what, of(a), of(b));
    }
    let notes = match rows.is_empty() {
        true => vec!["Nothing: the same question, asked of the same program.".to_owned()],
        false => Vec::new(),
    };
    Table {
        title: "What differs".into(),
        columns: vec![
            Column::text("what", "what"),
            Column::text("a", "only in A"),
            Column::text("b", "only in B"),
        ],
        rows,
        notes,
    }
}

type Field = (&'static str, fn(&Run) -> String);
type Set = (&'static str, fn(&Side<'_>) -> BTreeSet<String>);

const FIELDS: [Field; 11] = [
    ("evalkit", |run| run.evalkit_version.clone()),
    ("arithmetic", |run| format!("version {}", run.numeric_version)),
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
        let scored = side.folder.index.environments().map(|one| short(&one.binary_hash));
        scored.chain(methods(side).map(|method| short(&method.binary_hash))).collect()
    }),
    ("machine", |side| {
        let machines = side.folder.index.environments();
        machines.map(|one| format!("{} ({}, {})", one.cpu_model, one.os, one.device)).collect()
    }),
    ("recipes", |side| side.folder.index.cells().map(crate::results::Cell::label).collect()),
    ("packages", |side| {
        let designs = side.folder.measured.iter().filter_map(|one| match one {
            Measurement::Subject(subject) => {
                Some(format!("{}, {}", subject.variant, subject.design))
            }
            _ => None,
        });
        designs.collect()
    }),
    ("devices", |side| {
        let devices = side.folder.measured.iter().filter_map(|one| match one {
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
        let told = |method: &crate::results::measurement::Method| {
            let (prompt, tokens) = (method.prompt_tokens, method.tokens);
            format!("{tokens} tokens after {prompt} ({})", method.compute_units)
        };
        methods(side).map(told).collect()
    }),
];

fn methods<'a>(side: &Side<'a>) -> impl Iterator<Item = &'a crate::results::measurement::Method> {
    side.folder.measured.iter().filter_map(|one| match one {
        Measurement::Method(method) => Some(method),
        _ => None,
    })
}

fn short(hash: &str) -> String {
    hash.chars().take(SHORT).collect()
}
