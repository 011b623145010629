//! How a file's weights were coded, in the form that records have.

use super::coded_file::CodedFile;
use super::variant::Variant;
use crate::results::{Coding, StepError};

impl CodedFile {
    /// How the codes were calibrated; `None` if they were not.
    pub fn coding(&self) -> Option<Coding> {
        if !self.variant.is_calibrated() {
            return None;
        }
        let provenance = &self.calibrated.provenance;
        Some(Coding {
            base: self.variant.clone().uncalibrated().to_string(),
            steps: steps(&self.variant),
            nominal_bits: nominal_bits(&self.variant),
            errors: self.errors(),
            pooled_experts: provenance.pooled_experts,
            dead_inputs: provenance.dead_inputs,
            data_free_tensors: provenance.data_free.len(),
            flatness: self.flatness(),
            tuned: provenance.tuned.clone(),
            tuned_whole: provenance.tuned_whole,
        })
    }

    /// The flatness of errors, a mean over tensors by their numbers of weights; `None` if any calibrated
    /// tensor has none.
    fn flatness(&self) -> Option<f64> {
        let mut sums = [0.0; 2];
        for name in self.calibrated.errors.keys() {
            let weights = self.weights(name);
            sums[0] += self.calibrated.provenance.flatness.get(name)? * weights;
            sums[1] += weights;
        }
        (sums[1] > 0.0).then(|| sums[0] / sums[1])
    }

    fn weights(&self, name: &str) -> f64 {
        let shape = self.tensors.get(name).map_or([0; 2], |described| described.shape);
        shape[0] as f64 * shape[1] as f64
    }

    /// The error after each step, a mean by number of weights over the tensors that have the step. A step
    /// that occurs several times counts as several steps.
    fn errors(&self) -> Vec<StepError> {
        let mut sums: Vec<(String, [f64; 2])> = Vec::new();
        for (name, errors) in &self.calibrated.errors {
            let weights = self.weights(name);
            for (at, (step, error)) in errors.iter().enumerate() {
                let times = errors[..=at].iter().filter(|(other, _)| other == step).count();
                let step = if times > 1 { format!("{step} {times}") } else { step.clone() };
                let place = sums.iter().position(|(other, _)| *other == step);
                let place = place.unwrap_or_else(|| {
                    sums.push((step, [0.0; 2]));
                    sums.len() - 1
                });
                sums[place].1[0] += error * weights;
                sums[place].1[1] += weights;
            }
        }
        let mean = |(step, [sum, weights]): (String, [f64; 2])| {
            (weights > 0.0).then(|| StepError { step, relative_error: sum / weights })
        };
        sums.into_iter().filter_map(mean).collect()
    }
}

/// The steps that any part has.
fn steps(variant: &Variant) -> Vec<String> {
    let parts = [variant.attention, variant.mlp].into_iter().filter_map(|part| part.method.steps());
    let mut words: Vec<String> = Vec::new();
    for word in parts.flat_map(|steps| steps.words()) {
        if words.iter().all(|other| other != word) {
            words.push(word.to_owned());
        }
    }
    words
}

/// The bit-width of the blocks, if attention and MLP have the same one.
fn nominal_bits(variant: &Variant) -> Option<u8> {
    let [attention, mlp] = [variant.attention, variant.mlp].map(|part| part.weights.nominal_bits());
    attention.filter(|_| attention == mlp)
}
