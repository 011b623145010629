//! What differs between two runs apart from their results: said before any number.

use crate::report::versus::differences::between as differences;
use crate::report::versus::quality::obstacle;
use crate::results::measurement::Measurement;
use crate::results::{Run, RunFolder};

/// Everything that explains a difference of numbers, one sentence each.
pub(super) fn between(now: &RunFolder, then: &RunFolder) -> Vec<String> {
    let sentence = |(what, now, then): (&str, String, String)| match (&*now, &*then) {
        (now, "") => format!("{what} in this run only: {now}"),
        ("", then) => format!("{what} in the baseline only: {then}"),
        (now, then) => format!("other {what}: {now}, was {then}"),
    };
    differences(now, then).into_iter().map(sentence).collect()
}

/// Why no score of one run can be held against the other's; nothing where all can.
pub fn incomparable(now: &Run, then: &Run) -> Option<String> {
    let model = (now.model_hash != then.model_hash).then_some("model");
    obstacle(now, then).or(model).map(|what| format!("other {what}"))
}

/// The model's name.
pub(super) fn model(side: &RunFolder) -> Option<String> {
    let of_subject = || {
        side.measured.iter().find_map(|one| match one {
            Measurement::Subject(subject) => Some(subject.model.clone()),
            _ => None,
        })
    };
    side.index.run().map(|run| run.model.clone()).or_else(of_subject)
}
