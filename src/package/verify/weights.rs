//! Every weight of every function, decoded from the file, against the coded tensor.

use std::collections::BTreeMap;

use half::f16;

use super::Question;
use crate::checkpoint::TensorId;
use crate::error::{At, Error, Result};
use crate::eval::Coder;
use crate::package::bundle::{PackageEntry, planned, rotary};
use crate::package::constexpr::{self, PackedWeight};
use crate::package::program::{Use, Used, Vector};
use crate::quantize::{CodedArrays, CodedTensor};

/// Says how many weights are the same, or which is not.
pub(super) fn check(question: &Question<'_>) -> Result<String> {
    let mut known = Known { coder: question.coder, last: None };
    let (mut weights, mut uses) = (0, 0);
    for entry in &question.bundle.manifest.packages {
        let (count, found) = check_package(question, entry, &mut known)
            .map_err(|error| error.at(entry.path.clone()))?;
        uses += count;
        weights += found;
    }
    Ok(format!("{weights} weights, bit for bit, used in {uses} places"))
}

/// One package: places where weights are used, and weights.
fn check_package(
    question: &Question<'_>,
    entry: &PackageEntry,
    known: &mut Known<'_>,
) -> Result<(usize, usize)> {
    let package = question.bundle.package(entry)?;
    let functions = planned(&question.coder, &question.bundle.manifest, entry)?;
    let names: Vec<&String> = functions.iter().map(|function| &function.name).collect();
    if let Some(name) = package.functions().keys().find(|name| !names.contains(name)) {
        return Err(
            Error::input("this function does not belong here").at(format!("function {name}"))
        );
    }
    // By tensor first: functions share weights, and each is coded once.
    let mut uses: Vec<(&str, &Use)> = Vec::new();
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
        weights += same(found, &expected).at(place)?;
    }
    Ok((uses.len(), weights))
}

/// The coded tensor that is being compared: uses come tensor by tensor.
struct Known<'a> {
    coder: Coder<'a>,
    last: Option<(TensorId, CodedTensor)>,
}

/// What a weight should be.
struct Expected {
    /// Rows and columns, whatever axes of length 1 surround them.
    shape: [usize; 2],
    values: Vec<f32>,
}

impl Known<'_> {
    fn values(&mut self, used: &Use, question: &Question<'_>) -> Result<Expected> {
        match &used.weight {
            Used::Matrix(id, rows) => {
                let slice = self.tensor(*id)?.slice_rows(rows.clone())?.without_channel_scales();
                Ok(Expected { shape: slice.shape(), values: slice.decode() })
            }
            Used::ChannelScales(id, rows) => {
                let scales = match self.tensor(*id)?.stored() {
                    CodedArrays::Palette { channel_scales: Some(scales), .. }
                    | CodedArrays::Vector { channel_scales: scales, .. } => &scales[rows.clone()],
                    _ => return Err(Error::bug("channel scales of a tensor without any")),
                };
                Ok(Expected::row(scales))
            }
            Used::Vector(Vector::Tensor(id)) => match self.tensor(*id)?.stored() {
                CodedArrays::Half(values) => Ok(Expected::row(values)),
                _ => Err(Error::bug("a vector that is not fp16")),
            },
            Used::Vector(table) => {
                let tokens = question.bundle.manifest.model.context_tokens;
                let values = rotary(&self.coder.checkpoint.config, tokens, *table)?;
                let columns = values.len() / tokens.max(1);
                Ok(Expected { shape: [tokens, columns], ..Expected::row(&values) })
            }
        }
    }

    fn tensor(&mut self, id: TensorId) -> Result<&CodedTensor> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            self.last = Some((id, self.coder.tensor(id)?));
        }
        let last = self.last.as_ref().map(|(_, coded)| coded);
        last.ok_or_else(|| Error::bug("a tensor that was just coded"))
    }
}

impl Expected {
    fn row(values: &[f16]) -> Self {
        let values: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
        Expected { shape: [1, values.len()], values }
    }
}

/// The number of weights, all of them the same bit for bit.
fn same(found: &PackedWeight, expected: &Expected) -> Result<usize> {
    let [rows, columns] = expected.shape;
    let lens: Vec<usize> = found.shape().iter().copied().filter(|len| *len > 1).collect();
    let wanted: Vec<usize> = expected.shape.iter().copied().filter(|len| *len > 1).collect();
    // A vector may be spread over any axes; the rows and columns of a matrix have their order.
    let fits = if rows == 1 { found.len() == columns } else { lens == wanted };
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
        suspicion(&values, expected)
    )))
}

/// What a difference looks like, where it looks like something.
fn suspicion(found: &[f32], expected: &Expected) -> &'static str {
    let [rows, columns] = expected.shape;
    let all = |holds: &dyn Fn(usize) -> bool| (0..found.len()).all(holds);
    let transposed = |at: usize| expected.values[at % rows * columns + at / rows];
    let ratios = || {
        let pairs = found.iter().zip(&expected.values).filter(|(_, b)| **b != 0.0);
        pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).map(|(a, b)| a / b)
    };
    let first = ratios().next().unwrap_or(0.0);
    if rows == columns && all(&|at| found[at] == transposed(at)) {
        ": it is transposed"
    } else if all(&|at| at + 1 == found.len() || found[at] == expected.values[at + 1])
        || all(&|at| at == 0 || found[at] == expected.values[at - 1])
    {
        ": its codes are shifted by one"
    } else if first != 0.0 && ratios().all(|ratio| (ratio / first - 1.0).abs() < 1e-3) {
        ": a scale is wrong"
    } else if is_renamed(found, &expected.values) {
        ": entries of a table are exchanged or wrong"
    } else {
        ""
    }
}

/// Whether every expected value has become one other value wherever it occurs in a row group.
fn is_renamed(found: &[f32], expected: &[f32]) -> bool {
    let differing = found.iter().zip(expected).filter(|(a, b)| a.to_bits() != b.to_bits());
    let mut names: BTreeMap<u32, u32> = BTreeMap::new();
    let mut pairs = differing.take(1 << 16);
    pairs.all(|(a, b)| *names.entry(b.to_bits()).or_insert(a.to_bits()) == a.to_bits())
}

fn tensor_of(used: &Used) -> (Option<TensorId>, usize) {
    match used {
        Used::Matrix(id, rows) | Used::ChannelScales(id, rows) => (Some(*id), rows.start),
        Used::Vector(Vector::Tensor(id)) => (Some(*id), 0),
        Used::Vector(_) => (None, 0),
    }
}

fn title(used: &Used) -> String {
    match used {
        Used::Matrix(id, _) | Used::Vector(Vector::Tensor(id)) => format!("tensor {}", id.name()),
        Used::ChannelScales(id, _) => format!("channel scales of {}", id.name()),
        Used::Vector(table) => format!("rotary table {table:?}"),
    }
}
