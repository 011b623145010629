//! Operators that move, join, repeat or create elements.

use std::sync::Arc;

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::arguments::{Arguments, axis};
use crate::package::execute::tensor::{Data, Tensor, map_data};
use crate::package::execute::view::StridedView;

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
        "shape" => |args| {
            let shape: Vec<i32> = args
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

fn needed(args: &Arguments, name: &str) -> Result<Vec<i64>> {
    let ints = args.ints(name)?;
    ints.ok_or_else(|| Error::input(format!("the parameter `{name}` is missing")))
}

/// Converts the integers of a shape to lengths.
fn lengths(ints: &[i64]) -> Result<Vec<usize>> {
    let lengths: Option<Vec<usize>> = ints.iter().map(|len| usize::try_from(*len).ok()).collect();
    lengths.ok_or_else(|| Error::input(format!("expected lengths, found {ints:?}")))
}

/// In the new shape, 0 keeps the length of the axis, and -1 takes the remaining elements.
fn reshape(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let wanted = needed(args, "shape")?;
    let x = args.take("x")?;
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

fn transpose(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let order = needed(args, "perm")?;
    let x = args.take("x")?;
    let rank = x.shape().len();
    let order = order.iter().map(|at| axis(*at, rank)).collect::<Result<Vec<_>>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        return Err(Error::input(format!(
            "perm: expected a permutation of {rank} axes, found {order:?}"
        )));
    }
    let view = StridedView::of(x.shape()).transposed(&order);
    let shape = view.shape();
    // Moving axes of length 1 does not move elements.
    let moved = order.iter().filter(|axis| x.shape()[**axis] != 1);
    if moved.is_sorted() {
        return Ok(vec![x.reshaped(shape)?]);
    }
    args.allow_shape(&shape, 1)?;
    Ok(vec![Tensor::new(shape, map_data!(x.data(), values => view.copy(values)))?])
}

fn expand_dims(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let axes = needed(args, "axes")?;
    let x = args.take("x")?;
    let rank = x.shape().len() + axes.len();
    let mut axes = axes.iter().map(|at| axis(*at, rank)).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    let mut shape = x.shape().to_vec();
    axes.iter().for_each(|axis| shape.insert((*axis).min(shape.len()), 1));
    Ok(vec![x.reshaped(shape)?])
}

fn squeeze(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let axes = args.ints("axes")?;
    let x = args.take("x")?;
    let rank = x.shape().len();
    let axes = match axes {
        Some(axes) => axes.iter().map(|at| axis(*at, rank)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).filter(|axis| x.shape()[*axis] == 1).collect(),
    };
    let shape = x.shape().iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    let shape: Vec<usize> = shape.map(|(_, len)| *len).collect();
    Ok(vec![x.reshaped(shape)?])
}

fn tile(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let times = lengths(&needed(args, "reps")?)?;
    let x = args.tensor("x")?;
    if times.len() != x.shape().len() {
        return Err(Error::input(format!(
            "reps: expected one number per axis of {:?}, found {times:?}",
            x.shape()
        )));
    }
    let longer = x.shape().iter().zip(&times).map(|(len, times)| len.saturating_mul(*times));
    let shape: Vec<usize> = longer.collect();
    args.allow_shape(&shape, 1)?;
    let view = StridedView::of(x.shape()).tiled(&times);
    Ok(vec![Tensor::new(shape, map_data!(x.data(), values => view.copy(values)))?])
}

fn concat(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let values = args.tensors("values")?;
    let rank = values.first().map_or(0, |first| first.shape().len().max(1));
    let at = args.axis_or("axis", rank, 0)?;
    if args.flag_or("interleave", false)? {
        return Err(Error::input("concat with interleave is not supported"));
    }
    join(args, &values, rank, at)
}

fn stack(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let values = args.tensors("values")?;
    let rank = values.first().map_or(0, |first| first.shape().len()) + 1;
    let at = args.axis_or("axis", rank, 0)?;
    let expand = |tensor: &Arc<Tensor>| {
        args.allow_shape(tensor.shape(), 1)?;
        let mut shape = tensor.shape().to_vec();
        shape.insert(at.min(shape.len()), 1);
        (**tensor).clone().reshaped(shape).map(Arc::new)
    };
    join(args, &values.iter().map(expand).collect::<Result<Vec<_>>>()?, rank, at)
}

/// Joins tensors of rank `rank` along the axis `at`. A scalar counts as a vector of one element.
fn join(args: &Arguments, values: &[Arc<Tensor>], rank: usize, at: usize) -> Result<Vec<Tensor>> {
    if values.is_empty() {
        return Err(Error::input("values: expected one or more, found none"));
    }
    let shape_of = |tensor: &Tensor| match tensor.shape() {
        [] => vec![1],
        shape => shape.to_vec(),
    };
    let mut shape = values.first().map(|first| shape_of(first)).unwrap_or_default();
    let mut len = 0usize;
    for tensor in values {
        let mut own = shape_of(tensor);
        if own.len() != rank {
            return Err(Error::input(format!("a shape {own:?} cannot be joined to {shape:?}")));
        }
        len += own[at];
        own[at] = shape[at];
        if own != shape {
            return Err(Error::input(format!(
                "a shape {own:?} cannot be joined to {shape:?} along axis {at}"
            )));
        }
    }
    shape[at] = len;
    let len = args.allow_shape(&shape, 1)?;
    let outer: usize = shape[..at].iter().product();
    macro_rules! joined {
        ($class:ident) => {{
            let mut lists = Vec::with_capacity(values.len());
            for tensor in values {
                match tensor.data() {
                    Data::$class(list) => lists.push(list),
                    other => {
                        return Err(Error::input(format!(
                            "expected values of one type, found also {}",
                            other.name()
                        )));
                    }
                }
            }
            let mut out = Vec::with_capacity(len);
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
        None => return Err(Error::input("expected at least one tensor")),
    };
    Ok(vec![Tensor::new(shape, data)?])
}

fn split(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let x = args.tensor("x")?;
    let at = args.axis_or("axis", x.shape().len(), 0)?;
    let len = x.shape()[at];
    let sizes = match args.ints("split_sizes")? {
        Some(sizes) => lengths(&sizes)?,
        None => {
            let parts = usize::try_from(args.int("num_splits")?).unwrap_or(0);
            let divides = parts == args.outputs() && parts > 0 && len.is_multiple_of(parts);
            if !divides {
                return Err(Error::input(format!(
                    "an axis of length {len} cannot be split into {parts} equal parts for {} outputs",
                    args.outputs()
                )));
            }
            vec![len / parts; parts]
        }
    };
    let total = sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
    if total != Some(len) || sizes.len() != args.outputs() {
        let outputs = args.outputs();
        return Err(Error::input(format!(
            "an axis of length {len} cannot be split into parts of {sizes:?} for {outputs} outputs"
        )));
    }
    args.allow_shape(x.shape(), 1)?;
    let mut start = 0;
    let part = |size: usize| {
        let view = StridedView::of(x.shape()).sliced(at, start, size, 1);
        start += size;
        Tensor::new(view.shape(), map_data!(x.data(), values => view.copy(values)))
    };
    sizes.into_iter().map(part).collect()
}

fn fill(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let shape = lengths(&needed(args, "shape")?)?;
    let len = args.allow_shape(&shape, 1)?;
    let value = args.tensor("value")?;
    if value.data().len() != 1 {
        return Err(Error::input("value: expected one element"));
    }
    Ok(vec![Tensor::new(shape, map_data!(value.data(), values => vec![values[0]; len]))?])
}

fn range(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let (start, end) = (args.tensor("start")?, args.tensor("end")?);
    if let (Data::Int(_), Data::Int(_)) = (start.data(), end.data()) {
        let (start, end, step) = (args.int("start")?, args.int("end")?, args.int_or("step", 1)?);
        let len = count(args, start as f64, end as f64, step as f64)?;
        let values: Vec<i32> = (0..len as i64).map(|i| (start + i * step) as i32).collect();
        return Ok(vec![Tensor::ints(vec![len], values)?]);
    }
    let (start, end) = (args.float_or("start", 0.0)?, args.float_or("end", 0.0)?);
    let step = args.float_or("step", 1.0)?;
    let len = count(args, start.into(), end.into(), step.into())?;
    let values = (0..len).map(|i| start + i as f32 * step).collect();
    Ok(vec![Tensor::floats(vec![len], values)?])
}

fn count(args: &Arguments, start: f64, end: f64, step: f64) -> Result<usize> {
    let len = ((end - start) / step).ceil().max(0.0);
    if !len.is_finite() {
        return Err(Error::input(format!(
            "a range from {start} to {end} in steps of {step} does not end"
        )));
    }
    args.allow_shape(&[len as usize], 1)
}
