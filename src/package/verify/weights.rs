//! Compares every weight of every function, decoded from the file, with the coded tensor.

use std::collections::BTreeMap;

use half::f16;

use super::VerificationInput;
use crate::checkpoint::TensorId;
use crate::error::{At, Error, Result};
use crate::eval::Coder;
use crate::package::bundle::{PackageEntry, planned_functions, position_table};
use crate::package::constexpr::{self, PackedWeight};
use crate::package::program::{HalfVector, WeightSource, WeightUse};
use crate::quantize::{CodedArrays, CodedTensor};

/// Compares all weights. Returns a sentence with their number, or an error that names the first one
/// that differs.
pub(super) fn check(question: &VerificationInput<'_>) -> Result<String> {
    let mut known = CodedTensorCache { coder: question.coder, last: None };
    let (mut weights, mut uses) = (0, 0);
    for entry in &question.bundle.manifest.packages {
        let (count, found) = check_package(question, entry, &mut known)
            .map_err(|error| error.at(entry.path.clone()))?;
        uses += count;
        weights += found;
    }
    Ok(format!(
        "{weights} weights are bit for bit the same, in {uses} places (every function counts its own)"
    ))
}

/// Compares the weights of one package. Returns the number of places where weights are used, and
/// the number of weights.
fn check_package(
    question: &VerificationInput<'_>,
    entry: &PackageEntry,
    known: &mut CodedTensorCache<'_>,
) -> Result<(usize, usize)> {
    let package = question.bundle.package(entry)?;
    let functions = planned_functions(&question.coder, &question.bundle.manifest, entry)?;
    let names: Vec<&String> = functions.iter().map(|function| &function.name).collect();
    if let Some(name) = package.functions().keys().find(|name| !names.contains(name)) {
        return Err(Error::input("the package should not have this function")
            .at(format!("function {name}")));
    }
    // Sorted by tensor, so that each is coded once though functions share it.
    let mut uses: Vec<(&str, &WeightUse)> = Vec::new();
    for function in &functions {
        uses.extend(function.uses.iter().map(|used| (function.name.as_str(), used)));
    }
    uses.sort_by_key(|(_, used)| tensor_of(&used.weight));
    let mut values = BTreeMap::new();
    for name in names {
        values.insert(name.as_str(), constexpr::weights(&package, name)?);
    }
    let mut weights = 0;
    for (function, used) in &uses {
        let found = values.get(function).and_then(|values| values.get(&used.value));
        let place = || format!("{} in function {function}", title(&used.weight));
        let found = found.ok_or_else(|| Error::input("this weight is missing")).at(place)?;
        let expected = known.values(used, question)?;
        weights += compare(found, &expected).at(place)?;
    }
    Ok((uses.len(), weights))
}

/// Keeps the coded tensor that was used last, since uses are sorted by tensor.
struct CodedTensorCache<'a> {
    coder: Coder<'a>,
    last: Option<(TensorId, CodedTensor)>,
}

/// The shape and elements that a weight should have.
struct ExpectedWeight {
    /// Rows and columns, without axes of length 1.
    shape: [usize; 2],
    values: Vec<f32>,
}

impl CodedTensorCache<'_> {
    fn values(
        &mut self,
        used: &WeightUse,
        question: &VerificationInput<'_>,
    ) -> Result<ExpectedWeight> {
        match &used.weight {
            WeightSource::Matrix(id, rows) => {
                let slice = self.tensor(*id)?.slice_rows(rows.clone())?.without_channel_scales();
                Ok(ExpectedWeight { shape: slice.shape(), values: slice.decode() })
            }
            WeightSource::ChannelScales(id, rows) => {
                let scales = match self.tensor(*id)?.stored() {
                    CodedArrays::Palette { channel_scales: Some(scales), .. }
                    | CodedArrays::Vector { channel_scales: scales, .. } => &scales[rows.clone()],
                    _ => return Err(Error::bug("this tensor has no channel scales")),
                };
                Ok(ExpectedWeight::row(scales))
            }
            WeightSource::Vector(HalfVector::Tensor(id)) => match self.tensor(*id)?.stored() {
                CodedArrays::Half(values) => Ok(ExpectedWeight::row(values)),
                _ => Err(Error::bug("a vector must be fp16")),
            },
            WeightSource::Vector(HalfVector::Part(id, first, end)) => {
                match self.tensor(*id)?.stored() {
                    CodedArrays::Half(values) => {
                        Ok(ExpectedWeight::row(values.get(*first..*end).unwrap_or_default()))
                    }
                    _ => Err(Error::bug("a vector must be fp16")),
                }
            }
            WeightSource::Vector(table) => {
                let tokens = question.bundle.manifest.model.context_tokens;
                let values = position_table(&self.coder.checkpoint.config, tokens, *table)?;
                let columns = values.len() / tokens.max(1);
                Ok(ExpectedWeight { shape: [tokens, columns], ..ExpectedWeight::row(&values) })
            }
        }
    }

    fn tensor(&mut self, id: TensorId) -> Result<&CodedTensor> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            self.last = Some((id, self.coder.tensor(id)?));
        }
        let last = self.last.as_ref().map(|(_, coded)| coded);
        last.ok_or_else(|| Error::bug("a tensor is missing that was just coded"))
    }
}

impl ExpectedWeight {
    fn row(values: &[f16]) -> Self {
        let values: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
        ExpectedWeight { shape: [1, values.len()], values }
    }
}

/// Compares a weight bit for bit. Returns the number of its elements, or an error that describes
/// the difference.
fn compare(found: &PackedWeight, expected: &ExpectedWeight) -> Result<usize> {
    let [rows, columns] = expected.shape;
    let lens: Vec<usize> = found.shape().iter().copied().filter(|len| *len > 1).collect();
    let wanted: Vec<usize> = expected.shape.iter().copied().filter(|len| *len > 1).collect();
    // A vector may have any shape with that many elements; a matrix must have its rows and columns.
    let fits = if rows == 1 { found.elements() == columns } else { lens == wanted };
    if !fits {
        let what = format!("expected shape [{rows}, {columns}], found {:?}", found.shape());
        return Err(Error::input(what));
    }
    let values = found.decode();
    let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
    let count = values.iter().zip(&expected.values).filter(|(a, b)| differs((a, b))).count();
    if count == 0 {
        return Ok(values.len());
    }
    let at = values.iter().zip(&expected.values).position(differs).unwrap_or(0);
    Err(Error::input(format!(
        "{count} of {} weights differ, the first in row {}, column {}: expected {:e}, found {:e}{}",
        values.len(),
        at / columns,
        at % columns,
        expected.values[at],
        values[at],
        likely_cause(&values, expected)
    )))
}

/// A guess at what is wrong, from how the elements differ; empty if there is none.
fn likely_cause(found: &[f32], expected: &ExpectedWeight) -> &'static str {
    let [rows, columns] = expected.shape;
    let all = |holds: &dyn Fn(usize) -> bool| (0..found.len()).all(holds);
    let transposed = |at: usize| expected.values[at % rows * columns + at / rows];
    let ratios = || {
        let pairs = found.iter().zip(&expected.values).filter(|(_, b)| **b != 0.0);
        pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).map(|(a, b)| a / b)
    };
    let first = ratios().next().unwrap_or(0.0);
    if rows == columns && all(&|at| found[at] == transposed(at)) {
        ": the weight is transposed"
    } else if all(&|at| at + 1 == found.len() || found[at] == expected.values[at + 1])
        || all(&|at| at == 0 || found[at] == expected.values[at - 1])
    {
        ": the codes are shifted by one"
    } else if first != 0.0 && ratios().all(|ratio| (ratio / first - 1.0).abs() < 1e-3) {
        ": a scale is wrong"
    } else if has_wrong_entries(found, &expected.values) {
        ": entries of a table are swapped or wrong"
    } else {
        ""
    }
}

/// Whether equal expected values were replaced by equal values, as wrong table entries would do.
fn has_wrong_entries(found: &[f32], expected: &[f32]) -> bool {
    let differing = found.iter().zip(expected).filter(|(a, b)| a.to_bits() != b.to_bits());
    let mut replaced: BTreeMap<u32, u32> = BTreeMap::new();
    let mut pairs = differing.take(1 << 16);
    pairs.all(|(a, b)| *replaced.entry(b.to_bits()).or_insert(a.to_bits()) == a.to_bits())
}

fn tensor_of(used: &WeightSource) -> (Option<TensorId>, usize) {
    match used {
        WeightSource::Matrix(id, rows) | WeightSource::ChannelScales(id, rows) => {
            (Some(*id), rows.start)
        }
        WeightSource::Vector(HalfVector::Tensor(id)) => (Some(*id), 0),
        WeightSource::Vector(HalfVector::Part(id, first, _)) => (Some(*id), *first),
        WeightSource::Vector(_) => (None, 0),
    }
}

fn title(used: &WeightSource) -> String {
    match used {
        WeightSource::Matrix(id, _)
        | WeightSource::Vector(HalfVector::Tensor(id) | HalfVector::Part(id, ..)) => {
            format!("tensor {}", id.name())
        }
        WeightSource::ChannelScales(id, _) => format!("channel scales of {}", id.name()),
        WeightSource::Vector(table) => format!("table {table:?}"),
    }
}
