//! Operators that move elements or make them: reshaping, joining, repeating, filling.

use std::sync::Arc;

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::call::{Call, axis};
use crate::package::execute::tensor::{Data, Tensor, element_count, map_data};
use crate::package::execute::view::View;

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "reshape" => reshape,
        "transpose" => transpose,
        "expand_dims" => expand_dims,
        "squeeze" => squeeze,
        "tile" => tile,
        "concat" => concat,
        "stack" => stack,
        "split" => split,
        "fill" => fill,
        "range_1d" => range,
        "shape" => |call| {
            let shape: Vec<i32> = call
                .value("x")?
                .shape()
                .unwrap_or_default()
                .iter()
                .map(|len| *len as i32)
                .collect();
            Ok(vec![Tensor::ints(vec![shape.len()], shape)?])
        },
        _ => return None,
    })
}

fn needed(call: &Call, name: &str) -> Result<Vec<i64>> {
    let ints = call.ints(name)?;
    ints.ok_or_else(|| Error::input(format!("the parameter `{name}` is missing")))
}

/// Lengths that a program computes.
fn lengths(ints: &[i64]) -> Result<Vec<usize>> {
    let lengths: Option<Vec<usize>> = ints.iter().map(|len| usize::try_from(*len).ok()).collect();
    lengths.ok_or_else(|| Error::input(format!("expected lengths, found {ints:?}")))
}

/// 0 keeps a length, -1 is what remains.
fn reshape(call: &mut Call) -> Result<Vec<Tensor>> {
    let wanted = needed(call, "shape")?;
    let x = call.take("x")?;
    let keeps = wanted.len() == x.shape().len();
    let resolve = |(at, len): (usize, &i64)| match *len {
        0 if keeps => x.shape()[at] as i64,
        len => len,
    };
    let mut shape: Vec<i64> = wanted.iter().enumerate().map(resolve).collect();
    let given = shape.iter().filter(|len| **len != -1);
    let known = given.copied().try_fold(1i64, i64::checked_mul).unwrap_or(i64::MAX);
    if let Some(rest) = shape.iter_mut().find(|len| **len == -1) {
        *rest = x.data().len() as i64 / known.max(1);
    }
    Ok(vec![x.reshaped(lengths(&shape)?)?])
}

fn transpose(call: &mut Call) -> Result<Vec<Tensor>> {
    let order = needed(call, "perm")?;
    let x = call.take("x")?;
    let rank = x.shape().len();
    let order = order.iter().map(|at| axis(*at, rank)).collect::<Result<Vec<_>>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        return Err(Error::input(format!("{order:?} is not an order of {rank} axes")));
    }
    let view = View::of(x.shape()).transposed(&order);
    let shape = view.shape();
    // Moving axes of length 1 moves no elements.
    let moved = order.iter().filter(|axis| x.shape()[**axis] != 1);
    if moved.is_sorted() {
        return Ok(vec![x.reshaped(shape)?]);
    }
    Ok(vec![Tensor::new(shape, map_data!(x.data(), values => view.copy(values)))?])
}

fn expand_dims(call: &mut Call) -> Result<Vec<Tensor>> {
    let axes = needed(call, "axes")?;
    let x = call.take("x")?;
    let rank = x.shape().len() + axes.len();
    let mut axes = axes.iter().map(|at| axis(*at, rank)).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    let mut shape = x.shape().to_vec();
    axes.iter().for_each(|axis| shape.insert((*axis).min(shape.len()), 1));
    Ok(vec![x.reshaped(shape)?])
}

fn squeeze(call: &mut Call) -> Result<Vec<Tensor>> {
    let axes = call.ints("axes")?;
    let x = call.take("x")?;
    let rank = x.shape().len();
    let axes = match axes {
        Some(axes) => axes.iter().map(|at| axis(*at, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).filter(|axis| x.shape()[*axis] == 1).collect(),
    };
    let shape = x.shape().iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    let shape: Vec<usize> = shape.map(|(_, len)| *len).collect();
    Ok(vec![x.reshaped(shape)?])
}

fn tile(call: &mut Call) -> Result<Vec<Tensor>> {
    let times = lengths(&needed(call, "reps")?)?;
    let x = call.tensor("x")?;
    if times.len() != x.shape().len() {
        return Err(Error::input(format!("{times:?} repetitions of {:?}", x.shape())));
    }
    let longer = x.shape().iter().zip(&times).map(|(len, times)| len.saturating_mul(*times));
    let shape: Vec<usize> = longer.collect();
    element_count(&shape)?;
    let view = View::of(x.shape()).tiled(&times);
    Ok(vec![Tensor::new(shape, map_data!(x.data(), values => view.copy(values)))?])
}

fn concat(call: &mut Call) -> Result<Vec<Tensor>> {
    let values = call.tensors("values")?;
    let rank = values.first().map_or(0, |first| first.shape().len().max(1));
    let at = call.axis_or("axis", rank, 0)?;
    if call.flag_or("interleave", false)? {
        return Err(Error::input("concat with interleave is not known here"));
    }
    join(&values, rank, at)
}

fn stack(call: &mut Call) -> Result<Vec<Tensor>> {
    let values = call.tensors("values")?;
    let rank = values.first().map_or(0, |first| first.shape().len()) + 1;
    let at = call.axis_or("axis", rank, 0)?;
    let expand = |tensor: &Arc<Tensor>| {
        let mut shape = tensor.shape().to_vec();
        shape.insert(at.min(shape.len()), 1);
        (**tensor).clone().reshaped(shape).map(Arc::new)
    };
    join(&values.iter().map(expand).collect::<Result<Vec<_>>>()?, rank, at)
}

/// Joins tensors of `rank` along the axis `at`; a scalar counts as one element.
fn join(values: &[Arc<Tensor>], rank: usize, at: usize) -> Result<Vec<Tensor>> {
    let shape_of = |tensor: &Tensor| match tensor.shape() {
        [] => vec![1],
        shape => shape.to_vec(),
    };
    let mut shape = values.first().map(|first| shape_of(first)).unwrap_or_default();
    let mut len = 0usize;
    for tensor in values {
        let mut own = shape_of(tensor);
        if own.len() != rank {
            return Err(Error::input(format!("{own:?} cannot be joined to {shape:?}")));
        }
        len += own[at];
        own[at] = shape[at];
        if own != shape {
            return Err(Error::input(format!("{own:?} cannot be joined to {shape:?} on {at}")));
        }
    }
    shape[at] = len;
    let outer: usize = shape[..at].iter().product();
    macro_rules! joined {
        ($class:ident) => {{
            let mut lists = Vec::with_capacity(values.len());
            for tensor in values {
                match tensor.data() {
                    Data::$class(list) => lists.push(list),
                    other => {
                        return Err(Error::input(format!("{} cannot be joined", other.name())));
                    }
                }
            }
            let mut out = Vec::with_capacity(element_count(&shape)?);
            for i in 0..outer {
                for list in &lists {
                    let row = list.len() / outer;
                    out.extend_from_slice(&list[i * row..(i + 1) * row]);
                }
            }
            Data::$class(out)
        }};
    }
    let data = match values.first().map(|first| first.data()) {
        Some(Data::Float(_)) => joined!(Float),
        Some(Data::Int(_)) => joined!(Int),
        Some(Data::Bool(_)) => joined!(Bool),
        None => return Err(Error::input("there is nothing to join")),
    };
    Ok(vec![Tensor::new(shape, data)?])
}

fn split(call: &mut Call) -> Result<Vec<Tensor>> {
    let x = call.tensor("x")?;
    let at = call.axis_or("axis", x.shape().len(), 0)?;
    let len = x.shape()[at];
    let sizes = match call.ints("split_sizes")? {
        Some(sizes) => lengths(&sizes)?,
        None => {
            let parts = usize::try_from(call.int("num_splits")?).unwrap_or(0);
            let divides = parts > 0 && len.is_multiple_of(parts);
            if !divides {
                return Err(Error::input(format!("{len} cannot be split into {parts}")));
            }
            vec![len / parts; parts]
        }
    };
    if sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size)) != Some(len) {
        return Err(Error::input(format!("{len} cannot be split into {sizes:?}")));
    }
    let mut start = 0;
    let part = |size: usize| {
        let view = View::of(x.shape()).sliced(at, start, size, 1);
        start += size;
        Tensor::new(view.shape(), map_data!(x.data(), values => view.copy(values)))
    };
    sizes.into_iter().map(part).collect()
}

fn fill(call: &mut Call) -> Result<Vec<Tensor>> {
    let shape = lengths(&needed(call, "shape")?)?;
    let len = element_count(&shape)?;
    let value = call.tensor("value")?;
    if value.data().len() != 1 {
        return Err(Error::input("value: expected a scalar"));
    }
    Ok(vec![Tensor::new(shape, map_data!(value.data(), values => vec![values[0]; len]))?])
}

fn range(call: &mut Call) -> Result<Vec<Tensor>> {
    let (start, end) = (call.tensor("start")?, call.tensor("end")?);
    if let (Data::Int(_), Data::Int(_)) = (start.data(), end.data()) {
        let (start, end, step) = (call.int("start")?, call.int("end")?, call.int_or("step", 1)?);
        let len = count(start as f64, end as f64, step as f64)?;
        let values: Vec<i32> = (0..len as i64).map(|i| (start + i * step) as i32).collect();
        return Ok(vec![Tensor::ints(vec![len], values)?]);
    }
    let (start, end) = (call.float_or("start", 0.0)?, call.float_or("end", 0.0)?);
    let step = call.float_or("step", 1.0)?;
    let len = count(start.into(), end.into(), step.into())?;
    let values = (0..len).map(|i| start + i as f32 * step).collect();
    Ok(vec![Tensor::floats(vec![len], values)?])
}

fn count(start: f64, end: f64, step: f64) -> Result<usize> {
    let len = ((end - start) / step).ceil().max(0.0);
    if !len.is_finite() {
        return Err(Error::input(format!("a range from {start} to {end} in steps of {step}")));
    }
    element_count(&[len as usize])
}
