//! Operators that look along axes: reductions, softmax, layer norm, the largest elements.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::call::Call;
use crate::package::execute::multiply::{sum, sum_of};
use crate::package::execute::tensor::{Data, Tensor, map_data};
use crate::package::execute::view::View;

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "reduce_mean" => |call| floats(call, |row| sum(row) / row.len() as f32),
        "reduce_sum" => {
            |call| numbers(call, sum, |row| row.iter().fold(0, |s, v| s.wrapping_add(*v)))
        }
        "reduce_max" => {
            |call| numbers(call, maximum, |row| row.iter().copied().fold(i32::MIN, i32::max))
        }
        "reduce_min" => |call| {
            numbers(
                call,
                |row| row.iter().copied().fold(f32::INFINITY, f32::min),
                |row| row.iter().copied().fold(i32::MAX, i32::min),
            )
        },
        "reduce_sum_square" => |call| floats(call, |row| row.iter().map(|v| v * v).sum()),
        "reduce_l2_norm" => {
            |call| floats(call, |row| row.iter().map(|v| v * v).sum::<f32>().sqrt())
        }
        "reduce_argmax" => |call| arg(call, |new, best| new > best),
        "reduce_argmin" => |call| arg(call, |new, best| new < best),
        "softmax" => |call| {
            let rank = call.tensor("x")?.shape().len();
            let axis = call.axis_or("axis", rank, -1)?;
            let mut rows = Rows::new(call.take("x")?, &[axis])?;
            rows.each(softmax)?;
            Ok(vec![rows.back()?])
        },
        "layer_norm" => layer_norm,
        "topk" => topk,
        _ => return None,
    })
}

/// A tensor with some axes moved to its end, where they make up rows.
struct Rows {
    /// Axes in their new order, and the shape in that order.
    order: Vec<usize>,
    shape: Vec<usize>,
    row: usize,
    data: Data,
}

impl Rows {
    fn new(x: Tensor, axes: &[usize]) -> Result<Self> {
        let rank = x.shape().len();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != axes.len() {
            return Err(Error::input(format!("the axes {axes:?} name one twice")));
        }
        let order: Vec<usize> =
            (0..rank).filter(|axis| !sorted.contains(axis)).chain(sorted.iter().copied()).collect();
        let shape: Vec<usize> = order.iter().map(|axis| x.shape()[*axis]).collect();
        let row = sorted.iter().map(|axis| x.shape()[*axis]).product();
        let (own, data) = x.into_parts();
        let data = if order.is_sorted() {
            data
        } else {
            let view = View::of(&own).transposed(&order);
            map_data!(data, values => view.copy(&values))
        };
        Ok(Rows { order, shape, row, data })
    }

    /// Changes each row of floats.
    fn each(&mut self, change: impl Fn(&mut [f32])) -> Result<()> {
        match &mut self.data {
            Data::Float(values) => values.chunks_mut(self.row.max(1)).for_each(change),
            other => return Err(Error::input(format!("expected floats, found {}", other.name()))),
        }
        Ok(())
    }

    /// The tensor with its axes in their first order again.
    fn back(self) -> Result<Tensor> {
        if self.order.is_sorted() {
            return Tensor::new(self.shape, self.data);
        }
        let place = |axis| self.order.iter().position(|moved| *moved == axis).unwrap_or(axis);
        let inverse: Vec<usize> = (0..self.order.len()).map(place).collect();
        let view = View::of(&self.shape).transposed(&inverse);
        Tensor::new(view.shape(), map_data!(self.data, values => view.copy(&values)))
    }
}

fn maximum(row: &[f32]) -> f32 {
    let larger = |max: f32, v: &f32| if max.is_nan() || max > *v { max } else { *v };
    row.iter().fold(f32::NEG_INFINITY, larger)
}

/// Softmax of a row in place. A row of nothing but -inf gives NaN, as everywhere.
pub(super) fn softmax(row: &mut [f32]) {
    let max = maximum(row);
    let max = if max.is_finite() { max } else { 0.0 };
    // Most of a masked row is hidden, and an exponential takes its time.
    let share = |value: f32| if value == f32::NEG_INFINITY { 0.0 } else { (value - max).exp() };
    row.iter_mut().for_each(|value| *value = share(*value));
    let total = sum(row);
    row.iter_mut().for_each(|value| *value /= total);
}

/// The tensor in rows along the axes to reduce, and the reduced shape.
fn rows(call: &mut Call) -> Result<(Rows, Vec<usize>)> {
    let shape = call.tensor("x")?.shape().to_vec();
    let axes = call.axes("axes", shape.len())?.filter(|axes| !axes.is_empty());
    let axes = axes.unwrap_or_else(|| (0..shape.len()).collect());
    let keep = call.flag_or("keep_dims", false)?;
    Ok((Rows::new(call.take("x")?, &axes)?, reduced(&shape, &axes, keep)))
}

fn reduced(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let len = |(axis, len): (usize, &usize)| match axes.contains(&axis) {
        false => Some(*len),
        true => keep.then_some(1),
    };
    shape.iter().enumerate().filter_map(len).collect()
}

fn floats(call: &mut Call, result: fn(&[f32]) -> f32) -> Result<Vec<Tensor>> {
    let (rows, shape) = rows(call)?;
    match &rows.data {
        Data::Float(values) => {
            let results = values.chunks(rows.row.max(1)).map(result).collect();
            Ok(vec![Tensor::floats(shape, results)?])
        }
        other => Err(Error::input(format!("expected floats, found {}", other.name()))),
    }
}

fn numbers(
    call: &mut Call,
    float: fn(&[f32]) -> f32,
    int: fn(&[i32]) -> i32,
) -> Result<Vec<Tensor>> {
    let (rows, shape) = rows(call)?;
    let row = rows.row.max(1);
    let data = match &rows.data {
        Data::Float(values) => Data::Float(values.chunks(row).map(float).collect()),
        Data::Int(values) => Data::Int(values.chunks(row).map(int).collect()),
        Data::Bool(_) => return Err(Error::input("expected numbers, found booleans")),
    };
    Ok(vec![Tensor::new(shape, data)?])
}

/// The index of the first best element along an axis.
fn arg(call: &mut Call, is_better: fn(f64, f64) -> bool) -> Result<Vec<Tensor>> {
    let shape = call.tensor("x")?.shape().to_vec();
    let axis = call.axis_or("axis", shape.len(), -1)?;
    let keep = call.flag_or("keep_dims", true)?;
    let rows = Rows::new(call.take("x")?, &[axis])?;
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

fn layer_norm(call: &mut Call) -> Result<Vec<Tensor>> {
    let rank = call.tensor("x")?.shape().len();
    let last = rank.checked_sub(1).ok_or_else(|| Error::input("layer_norm of a scalar"))?;
    let axes = call.axes("axes", rank)?.unwrap_or_else(|| vec![last]);
    let epsilon = call.float_or("epsilon", 1e-5)?;
    let (gamma, beta) = (call.tensor_or_none("gamma")?, call.tensor_or_none("beta")?);
    let mut rows = Rows::new(call.take("x")?, &axes)?;
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
                "expected {} gains and biases, found {}",
                rows.row,
                values.len()
            )));
        }
        rows.each(|row| match is_gain {
            true => row.iter_mut().zip(values).for_each(|(value, gain)| *value *= gain),
            false => row.iter_mut().zip(values).for_each(|(value, bias)| *value += bias),
        })?;
    }
    Ok(vec![rows.back()?])
}

/// The `k` largest (or smallest) elements along an axis, and their indices; the first of equals
/// comes first.
fn topk(call: &mut Call) -> Result<Vec<Tensor>> {
    let x = call.tensor("x")?;
    let axis = call.axis_or("axis", x.shape().len(), -1)?;
    let len = x.shape()[axis];
    let k = call.int_or("k", 1)?;
    let k = usize::try_from(k).ok().or((k == -1).then_some(len)).filter(|k| *k <= len);
    let k = k.ok_or_else(|| Error::input(format!("more than the {len} elements are asked for")))?;
    let ascending = call.flag_or("ascending", false)?;
    drop(x);
    let rows = Rows::new(call.take("x")?, &[axis])?;
    let Data::Float(values) = &rows.data else {
        return Err(Error::input("expected floats"));
    };
    let (mut best, mut indices) = (Vec::new(), Vec::new());
    for row in values.chunks(rows.row.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| match ascending {
            true => row[*a].total_cmp(&row[*b]),
            false => row[*b].total_cmp(&row[*a]),
        });
        best.extend(order[..k].iter().map(|i| row[*i]));
        indices.extend(order[..k].iter().map(|i| *i as i32));
    }
    let mut shape = rows.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = k;
    }
    let back = |data| Rows { order: rows.order.clone(), shape: shape.clone(), row: k, data }.back();
    Ok(vec![back(Data::Float(best))?, back(Data::Int(indices))?])
}
