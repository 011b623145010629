//! Operators along axes: reductions, softmax, layer norm, the largest elements.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::arguments::Arguments;
use crate::package::execute::multiply::{sum, sum_of};
use crate::package::execute::tensor::{Data, Tensor, map_data};
use crate::package::execute::view::StridedView;

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "reduce_mean" => |args| floats(args, |row| sum(row) / row.len() as f32),
        "reduce_sum" => {
            |args| numbers(args, sum, |row| row.iter().fold(0, |s, v| s.wrapping_add(*v)))
        }
        "reduce_max" => {
            |args| numbers(args, maximum, |row| row.iter().copied().fold(i32::MIN, i32::max))
        }
        "reduce_min" => |args| {
            numbers(
                args,
                |row| row.iter().copied().fold(f32::INFINITY, f32::min),
                |row| row.iter().copied().fold(i32::MAX, i32::min),
            )
        },
        "reduce_sum_square" => |args| floats(args, |row| row.iter().map(|v| v * v).sum()),
        "reduce_l2_norm" => {
            |args| floats(args, |row| row.iter().map(|v| v * v).sum::<f32>().sqrt())
        }
        "reduce_argmax" => |args| arg(args, |new, best| new > best),
        "reduce_argmin" => |args| arg(args, |new, best| new < best),
        "softmax" => |args| {
            let rank = args.tensor("x")?.shape().len();
            let axis = args.axis_or("axis", rank, -1)?;
            let mut rows = Rows::of(args, &[axis])?;
            rows.each(softmax)?;
            Ok(vec![rows.restore_order()?])
        },
        "layer_norm" => layer_norm,
        "topk" => topk,
        _ => return None,
    })
}

/// A tensor whose axes of interest are moved to the end, where their elements form rows.
struct Rows {
    /// The axes in their new order.
    order: Vec<usize>,
    /// The lengths of the axes in their new order.
    shape: Vec<usize>,
    /// The number of elements in a row.
    row: usize,
    data: Data,
}

impl Rows {
    /// The tensor `x` of the arguments.
    fn of(args: &mut Arguments, axes: &[usize]) -> Result<Self> {
        let x = args.take("x")?;
        // A copy in each order.
        args.allow_shape(x.shape(), 2)?;
        Self::new(x, axes)
    }

    fn new(x: Tensor, axes: &[usize]) -> Result<Self> {
        let rank = x.shape().len();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != axes.len() {
            return Err(Error::input(format!("expected different axes, found {axes:?}")));
        }
        let order: Vec<usize> =
            (0..rank).filter(|axis| !sorted.contains(axis)).chain(sorted.iter().copied()).collect();
        let shape: Vec<usize> = order.iter().map(|axis| x.shape()[*axis]).collect();
        let row = sorted.iter().map(|axis| x.shape()[*axis]).product();
        let (own, data) = x.into_parts();
        let data = if order.is_sorted() {
            data
        } else {
            let view = StridedView::of(&own).transposed(&order);
            map_data!(data, values => view.copy(&values))
        };
        Ok(Rows { order, shape, row, data })
    }

    /// Calls `change` on each row. Returns an input error unless the elements are floats.
    fn each(&mut self, change: impl Fn(&mut [f32])) -> Result<()> {
        match &mut self.data {
            Data::Float(values) => values.chunks_mut(self.row.max(1)).for_each(change),
            other => return Err(Error::input(format!("expected floats, found {}", other.name()))),
        }
        Ok(())
    }

    /// The tensor with its axes in their original order.
    fn restore_order(self) -> Result<Tensor> {
        if self.order.is_sorted() {
            return Tensor::new(self.shape, self.data);
        }
        let place = |axis| self.order.iter().position(|moved| *moved == axis).unwrap_or(axis);
        let inverse: Vec<usize> = (0..self.order.len()).map(place).collect();
        let view = StridedView::of(&self.shape).transposed(&inverse);
        Tensor::new(view.shape(), map_data!(self.data, values => view.copy(&values)))
    }
}

fn maximum(row: &[f32]) -> f32 {
    let larger = |max: f32, v: &f32| if max.is_nan() || max > *v { max } else { *v };
    row.iter().fold(f32::NEG_INFINITY, larger)
}

/// The exponential of anything below this is 0 in f32, whose smallest number is the exponential of
/// -103.3.
const VANISHES: f32 = -104.0;

/// Computes the softmax of a row in place. If all elements are -inf, the result is NaN.
pub(super) fn softmax(row: &mut [f32]) {
    let max = maximum(row);
    let max = if max.is_finite() { max } else { 0.0 };
    // Most elements of a masked row vanish; this saves their exponentials.
    let share = |value: f32| if value - max < VANISHES { 0.0 } else { (value - max).exp() };
    row.iter_mut().for_each(|value| *value = share(*value));
    let total = sum(row);
    row.iter_mut().for_each(|value| *value /= total);
}

/// The tensor as rows along the axes to reduce, and the shape of the result.
fn rows(args: &mut Arguments) -> Result<(Rows, Vec<usize>)> {
    let shape = args.tensor("x")?.shape().to_vec();
    let axes = args.axes("axes", shape.len())?.filter(|axes| !axes.is_empty());
    let axes = axes.unwrap_or_else(|| (0..shape.len()).collect());
    let keep = args.flag_or("keep_dims", false)?;
    Ok((Rows::of(args, &axes)?, reduced(&shape, &axes, keep)))
}

fn reduced(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let len = |(axis, len): (usize, &usize)| {
        if axes.contains(&axis) { keep.then_some(1) } else { Some(*len) }
    };
    shape.iter().enumerate().filter_map(len).collect()
}

fn floats(args: &mut Arguments, result: fn(&[f32]) -> f32) -> Result<Vec<Tensor>> {
    let (rows, shape) = rows(args)?;
    match &rows.data {
        Data::Float(values) => {
            let results = values.chunks(rows.row.max(1)).map(result).collect();
            Ok(vec![Tensor::floats(shape, results)?])
        }
        other => Err(Error::input(format!("expected floats, found {}", other.name()))),
    }
}

fn numbers(
    args: &mut Arguments,
    float: fn(&[f32]) -> f32,
    int: fn(&[i32]) -> i32,
) -> Result<Vec<Tensor>> {
    let (rows, shape) = rows(args)?;
    let row = rows.row.max(1);
    let data = match &rows.data {
        Data::Float(values) => Data::Float(values.chunks(row).map(float).collect()),
        Data::Int(values) => Data::Int(values.chunks(row).map(int).collect()),
        Data::Bool(_) => return Err(Error::input("expected numbers, found booleans")),
    };
    Ok(vec![Tensor::new(shape, data)?])
}

/// The index of the best element along an axis; of equal ones the first.
fn arg(args: &mut Arguments, is_better: fn(f64, f64) -> bool) -> Result<Vec<Tensor>> {
    let shape = args.tensor("x")?.shape().to_vec();
    let axis = args.axis_or("axis", shape.len(), -1)?;
    let keep = args.flag_or("keep_dims", true)?;
    args.allow_shape(&shape, 2)?;
    let rows = Rows::of(args, &[axis])?;
    let values: Vec<f64> = match &rows.data {
        Data::Float(values) => values.iter().map(|v| f64::from(*v)).collect(),
        Data::Int(values) => values.iter().map(|v| f64::from(*v)).collect(),
        Data::Bool(_) => return Err(Error::input("expected numbers, found booleans")),
    };
    let best = |row: &[f64]| {
        let best =
            (1..row.len()).fold(0, |best, i| if is_better(row[i], row[best]) { i } else { best });
        best as i32
    };
    let results = values.chunks(rows.row.max(1)).map(best).collect();
    Ok(vec![Tensor::ints(reduced(&shape, &[axis], keep), results)?])
}

fn layer_norm(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let rank = args.tensor("x")?.shape().len();
    let last = rank
        .checked_sub(1)
        .ok_or_else(|| Error::input("expected rank 1 or more, found a scalar"))?;
    let axes = args.axes("axes", rank)?.unwrap_or_else(|| vec![last]);
    let epsilon = args.float_or("epsilon", 1e-5)?;
    let (gamma, beta) = (args.tensor_or_none("gamma")?, args.tensor_or_none("beta")?);
    let mut rows = Rows::of(args, &axes)?;
    rows.each(|row| {
        let mean = sum(row) / row.len() as f32;
        row.iter_mut().for_each(|value| *value -= mean);
        let factor = (sum_of(row, |value| value * value) / row.len() as f32 + epsilon).sqrt();
        row.iter_mut().for_each(|value| *value /= factor);
    })?;
    for (parameter, is_gain) in [(&gamma, true), (&beta, false)] {
        let Some(tensor) = parameter else { continue };
        let values = tensor.as_floats()?;
        if values.len() != rows.row {
            return Err(Error::input(format!(
                "expected gamma and beta of {} elements, found {}",
                rows.row,
                values.len()
            )));
        }
        rows.each(|row| {
            let pairs = row.iter_mut().zip(values);
            if is_gain {
                pairs.for_each(|(value, gain)| *value *= gain);
            } else {
                pairs.for_each(|(value, bias)| *value += bias);
            }
        })?;
    }
    Ok(vec![rows.restore_order()?])
}

/// The `k` largest elements along an axis (or the smallest ones, if `ascending`), and their
/// indices. Of equal elements, the first comes first.
fn topk(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let x = args.tensor("x")?;
    let axis = args.axis_or("axis", x.shape().len(), -1)?;
    let len = x.shape()[axis];
    let k = args.int_or("k", 1)?;
    let k = usize::try_from(k).ok().or((k == -1).then_some(len)).filter(|k| *k <= len);
    let k = k.ok_or_else(|| {
        Error::input(format!("k: expected at most {len}, the length of the axis"))
    })?;
    let ascending = args.flag_or("ascending", false)?;
    args.count_products(&[x.data().len(), len.max(2).ilog2() as usize, 16])?;
    args.allow(len, 2 * size_of::<usize>())?;
    args.allow_shape(x.shape(), 2)?;
    drop(x);
    let rows = Rows::of(args, &[axis])?;
    let Data::Float(values) = &rows.data else {
        return Err(Error::input(format!("expected floats, found {}", rows.data.name())));
    };
    let (mut best, mut indices) = (Vec::new(), Vec::new());
    for row in values.chunks(rows.row.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| {
            if ascending { row[*a].total_cmp(&row[*b]) } else { row[*b].total_cmp(&row[*a]) }
        });
        best.extend(order[..k].iter().map(|i| row[*i]));
        indices.extend(order[..k].iter().map(|i| *i as i32));
    }
    let mut shape = rows.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = k;
    }
    let back = |data| {
        Rows { order: rows.order.clone(), shape: shape.clone(), row: k, data }.restore_order()
    };
    Ok(vec![back(Data::Float(best))?, back(Data::Int(indices))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finite_mask_leaves_no_share_and_changes_no_bit_of_the_others() {
        assert!((VANISHES.exp(), (-103.2f32).exp() > 0.0) == (0.0, true));
        let scores = |i: usize| ((i * 7919 % 613) as f32 - 300.0) / 3.0;
        for masked in [-40_000.0f32, -1e4, -65_504.0] {
            let row = |mask: f32| -> Vec<f32> {
                let column = |i: usize| scores(i) + if i % 5 < 2 { 0.0 } else { mask };
                (0..200).map(column).collect()
            };
            let (mut finite, mut infinite) = (row(masked), row(f32::NEG_INFINITY));
            softmax(&mut finite);
            softmax(&mut infinite);
            assert_eq!(finite, infinite, "{masked}");
            assert!(finite.iter().enumerate().all(|(i, share)| i % 5 < 2 || *share == 0.0));
        }
    }
}
