//! How codes were chosen on a text: what every step left of the error, which records keep, and how
//! long it took, which they do not, because it never repeats.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::head::check_schema;
use super::record::SCHEMA;
use crate::error::{Error, Result};

/// How the codes of a calibrated variant came about. The same for any number of threads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Coding {
    /// The variant with the same recipes, coded from the weights alone.
    pub base: String,
    /// The steps that were on: `eq`, `rep`, `comp`, `alt`, `desc`, `blocks`, `ft`.
    pub steps: Vec<String>,
    /// Nominal bits per weight of the blocks; none where attention and MLP have different ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal_bits: Option<u8>,
    /// What each step left, in order; fine-tuning, which has another target, is not among them.
    pub errors: Vec<StepError>,
    /// Times `2^(-2R)` the least relative error that any code of `R` bits per weight can have, for
    /// Gaussian weights: the mean over tensors, each counted by its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flatness: Option<f64>,
    /// Experts that had too few tokens of their own and were coded on those of all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pooled_experts: usize,
    /// Inputs of linear layers that were always zero, over all layers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dead_inputs: usize,
    /// What fine-tuning did, by layer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tuned: BTreeMap<usize, TunedLayer>,
    /// What tuning all layers together did: mean KL divergences from the reference, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned_whole: Option<TunedLayer>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's calling convention
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What was left of the error after a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    /// `rounded`, `compensated`, `fitted`, `descended`; from its second time on with its number.
    pub step: String,
    /// `tr(E H Eᵀ) / tr(W H Wᵀ)`: the arithmetic mean over tensors, each counted by its weights.
    pub relative_error: f64,
}

/// What fine-tuning did to a layer, or to all, on windows held out; kept only where it is less afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TunedLayer {
    /// Loss before tuning.
    pub before: f64,
    /// Loss after tuning.
    pub after: f64,
}

impl Coding {
    /// What the last step left; nothing where no tensor was calibrated.
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

/// How long one layer of one variant took to be coded: a line of `coding.jsonl`.
///
/// A layer may have several lines, where it was coded again after an interruption; the last one is
/// of the codes that were kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CodedLayer {
    /// The variant.
    pub cell_id: String,
    /// The layer, from 0; one more than the last for tuning all layers together.
    pub layer: usize,
    /// Wall time of coding it.
    pub elapsed_ms: f64,
    /// Threads used.
    pub threads: usize,
}

#[derive(Serialize, Deserialize)]
struct Line<C> {
    schema: u32,
    #[serde(flatten)]
    layer: C,
}

impl CodedLayer {
    /// The layer as one line of JSON, without the line feed.
    ///
    /// # Errors
    /// A bug-class error.
    pub fn to_line(&self) -> Result<String> {
        serde_json::to_string(&Line { schema: SCHEMA, layer: self })
            .map_err(|e| Error::bug("cannot write a coded layer as JSON").because(e))
    }

    /// Reads a line written by this or an older version.
    ///
    /// # Errors
    /// Input errors: bad JSON, a missing field, a newer schema.
    pub fn from_line(line: &str) -> Result<CodedLayer> {
        let line: Line<CodedLayer> =
            serde_json::from_str(line).map_err(|e| Error::input("not a coded layer").because(e))?;
        check_schema(line.schema)?;
        Ok(line.layer)
    }
}

/// Wall time of coding each variant, by cell: the sum over its layers.
pub fn coding_ms(layers: &[CodedLayer]) -> BTreeMap<&str, f64> {
    let last: BTreeMap<(&str, usize), f64> =
        layers.iter().map(|one| ((one.cell_id.as_str(), one.layer), one.elapsed_ms)).collect();
    let mut sums = BTreeMap::new();
    for ((cell_id, _), elapsed_ms) in last {
        *sums.entry(cell_id).or_default() += elapsed_ms;
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
        assert_eq!(sums.into_iter().collect::<Vec<_>>(), [("a", 6.0), ("b", 8.0)]);
        let line = layers[3].to_line().unwrap();
        assert_eq!(CodedLayer::from_line(&line).unwrap(), layers[3]);
        assert!(CodedLayer::from_line("{}").is_err());
    }
}
