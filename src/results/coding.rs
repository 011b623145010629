//! How codes were chosen on a text: the error after each step, which is part of the records, and how
//! long it took, which is not, because it never repeats.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::head::{from_line, to_line};
use super::ranges::millis;
use crate::error::Result;

/// How the codes of a calibrated variant were chosen. The same for any number of threads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Coding {
    /// The variant with the same recipes, coded from the weights alone.
    pub base: String,
    /// The steps that were on: `eq`, `rep`, `comp`, `alt`, `desc`, `blocks`, `ft`.
    pub steps: Vec<String>,
    /// Nominal bits per weight of the blocks; `None` if attention and MLP have different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_bits: Option<u8>,
    /// The error after each step, in order; without tuning, which minimizes something else.
    pub errors: Vec<StepError>,
    /// The rate-distortion bound of the relative error for Gaussian weights is this times `2^(-2R)`, at
    /// `R` bits per weight: the mean over tensors, weighted by their number of weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flatness: Option<f64>,
    /// Experts that had too few tokens of their own and were coded on the inputs of all experts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pooled_experts: usize,
    /// Inputs of linear layers that were always zero, over all layers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dead_inputs: usize,
    /// Tensors whose codes were found from the weights alone, because calibrated codes had a larger
    /// error on held-out windows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub data_free_tensors: usize,
    /// Loss before and after tuning, by layer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tuned: BTreeMap<usize, TunedLayer>,
    /// The same for tuning all layers together: mean KL divergences from the reference, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned_whole: Option<TunedLayer>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's calling convention
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The error after a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    /// `rounded`, `compensated`, `fitted` or `descended`; a repeated step has its number appended.
    pub step: String,
    /// `tr(E H Eᵀ) / tr(W H Wᵀ)`: the mean over tensors, weighted by their number of weights.
    pub relative_error: f64,
}

/// What tuning changed in one layer, or in all of them, on held-out windows. Tuned codes are kept only if
/// the loss is smaller afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TunedLayer {
    /// Loss before tuning.
    pub before: f64,
    /// Loss after tuning.
    pub after: f64,
}

impl Coding {
    /// The error after the last step; `None` if no tensor was calibrated.
    pub fn relative_error(&self) -> Option<f64> {
        self.errors.last().map(|error| error.relative_error)
    }

    /// Every number that must be finite.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f64> {
        let tuned = self
            .tuned
            .values()
            .chain(&self.tuned_whole)
            .flat_map(|tuned| [tuned.before, tuned.after]);
        self.errors.iter().map(|error| error.relative_error).chain(self.flatness).chain(tuned)
    }
}

/// How long it took to code one layer of one variant: a line of `coding.jsonl`.
///
/// A layer that was coded again after an interruption has several lines; the last one is about the
/// codes that were kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CodedLayer {
    /// The variant.
    pub cell_id: String,
    /// The layer, from 0; the number of layers stands for tuning all of them together.
    pub layer: usize,
    /// Wall time of coding it.
    pub elapsed_ms: f64,
    /// Threads used.
    pub threads: usize,
}

impl CodedLayer {
    /// The layer as one line of JSON, without the line feed.
    ///
    /// # Errors
    /// A bug-class error.
    pub fn to_line(&self) -> Result<String> {
        to_line(self, "a coded layer")
    }

    /// Reads a line written by this or an older version.
    ///
    /// # Errors
    /// Input errors: bad JSON, a missing field, a newer schema.
    pub fn from_line(line: &str) -> Result<CodedLayer> {
        let layer: CodedLayer = from_line(line, "a coded layer")?;
        millis("elapsed_ms", layer.elapsed_ms)?;
        Ok(layer)
    }
}

/// Wall time of coding each variant, by cell: the sum over its layers.
pub(super) fn coding_ms(layers: &[CodedLayer]) -> BTreeMap<String, f64> {
    let last: BTreeMap<(&str, usize), f64> =
        layers.iter().map(|one| ((one.cell_id.as_str(), one.layer), one.elapsed_ms)).collect();
    let mut sums = BTreeMap::new();
    for ((cell_id, _), elapsed_ms) in last {
        *sums.entry(cell_id.to_owned()).or_default() += elapsed_ms;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_was_coded_twice_counts_once() {
        let layer = |cell_id: &str, layer, elapsed_ms| CodedLayer {
            cell_id: cell_id.into(),
            layer,
            elapsed_ms,
            threads: 2,
        };
        let layers =
            [layer("a", 0, 1.0), layer("a", 0, 2.0), layer("b", 0, 8.0), layer("a", 1, 4.0)];
        let sums = coding_ms(&layers);
        assert_eq!(sums, [("a".to_owned(), 6.0), ("b".to_owned(), 8.0)].into());
        let line = layers[3].to_line().unwrap();
        assert_eq!(CodedLayer::from_line(&line).unwrap(), layers[3]);
        assert!(CodedLayer::from_line("{}").is_err());
    }
}
