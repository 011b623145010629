//! Cutting pieces out of a tensor and putting pieces in.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::call::Call;
use crate::package::execute::tensor::{Data, Tensor, map_data};
use crate::package::execute::value::{Part, Value};
use crate::package::execute::view::View;

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "slice_by_index" => |call| {
            let x = call.tensor("x")?;
            let (view, shape) = region(call, x.shape())?;
            Ok(vec![Tensor::new(shape, map_data!(x.data(), values => view.copy(values)))?])
        },
        "slice_by_size" => by_size,
        "slice_update" => update,
        _ => return None,
    })
}

/// The result of `slice_by_index` as a part of its argument, where it is one.
pub(in crate::package::execute) fn part(call: &Call) -> Result<Option<Part>> {
    let Value::Tensor(x) = call.value("x")? else { return Ok(None) };
    let (view, shape) = region(call, x.shape())?;
    Ok(Part::of(x, &view, shape))
}

/// The part of a tensor of `shape` that begin, end, stride and their masks name, as numpy's
/// slices do, and its shape without the axes to squeeze.
fn region(call: &Call, shape: &[usize]) -> Result<(View, Vec<usize>)> {
    let rank = shape.len();
    let vector = |name: &str| -> Result<Option<Vec<i64>>> {
        let ints = call.ints(name)?;
        match ints.as_ref().is_none_or(|ints| ints.len() == rank) {
            true => Ok(ints),
            false => Err(Error::input(format!("{name}: expected one of each of {rank} axes"))),
        }
    };
    let mask = |name: &str| -> Result<Vec<bool>> {
        let flags = call.flags(name)?.unwrap_or_else(|| vec![false; rank]);
        match flags.len() == rank {
            true => Ok(flags),
            false => Err(Error::input(format!("{name}: expected one of each of {rank} axes"))),
        }
    };
    let needed = |name: &str| Error::input(format!("the parameter `{name}` is missing"));
    let begin = vector("begin")?.ok_or_else(|| needed("begin"))?;
    let end = vector("end")?.ok_or_else(|| needed("end"))?;
    let stride = vector("stride")?.unwrap_or_else(|| vec![1; rank]);
    let (from_start, to_end) = (mask("begin_mask")?, mask("end_mask")?);
    let squeezed = mask("squeeze_mask")?;
    let mut view = View::of(shape);
    for axis in 0..rank {
        let len = shape[axis] as i64;
        let (first, count, step) = if squeezed[axis] {
            let at = if from_start[axis] { 0 } else { begin[axis] };
            let at = if at < 0 { at + len } else { at };
            if !(0..len).contains(&at) {
                return Err(Error::input(format!("no element {at} on axis {axis} of {shape:?}")));
            }
            (at, 1, 1)
        } else {
            let begin = (!from_start[axis]).then_some(begin[axis]);
            let end = (!to_end[axis]).then_some(end[axis]);
            stretch(len, begin, end, stride[axis])?
        };
        view = view.sliced(axis, first as usize, count as usize, step as isize);
    }
    let kept = view.shape().into_iter().zip(squeezed).filter(|(_, squeezed)| !squeezed);
    let kept = kept.map(|(len, _)| len).collect();
    Ok((view, kept))
}

/// First element, count and step of `begin:end:step` on an axis of `len` elements.
fn stretch(len: i64, begin: Option<i64>, end: Option<i64>, step: i64) -> Result<(i64, i64, i64)> {
    if step == 0 {
        return Err(Error::input("a stride of 0"));
    }
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let bound = |at: Option<i64>, default: i64| match at {
        Some(at) => (if at < 0 { at + len } else { at }).clamp(low, high),
        None => default,
    };
    let (default_begin, default_end) = if step > 0 { (low, high) } else { (high, low) };
    let (first, last) = (bound(begin, default_begin), bound(end, default_end));
    let count = (last - first + step - step.signum()) / step;
    Ok(if count > 0 { (first, count, step) } else { (0, 0, 1) })
}

fn by_size(call: &mut Call) -> Result<Vec<Tensor>> {
    let x = call.tensor("x")?;
    let needed = |name: &str| Error::input(format!("the parameter `{name}` is missing"));
    let begin = call.ints("begin")?.ok_or_else(|| needed("begin"))?;
    let size = call.ints("size")?.ok_or_else(|| needed("size"))?;
    if begin.len() != x.shape().len() || size.len() != begin.len() {
        return Err(Error::input(format!("begin {begin:?}, size {size:?} of {:?}", x.shape())));
    }
    let mut view = View::of(x.shape());
    for (axis, (begin, size)) in begin.iter().zip(&size).enumerate() {
        let len = x.shape()[axis] as i64;
        let first = if *begin < 0 { begin + len } else { *begin };
        let size = if *size == -1 { len - first } else { *size };
        if first < 0 || size < 0 || first.checked_add(size).is_none_or(|end| end > len) {
            return Err(Error::input(format!("{size} from {begin} on axis {axis} of {len}")));
        }
        view = view.sliced(axis, first as usize, size as usize, 1);
    }
    Ok(vec![Tensor::new(view.shape(), map_data!(x.data(), values => view.copy(values)))?])
}

fn update(call: &mut Call) -> Result<Vec<Tensor>> {
    let update = call.tensor("update")?;
    let shape = call.value("x")?.shape().unwrap_or_default().to_vec();
    let (view, _) = region(call, &shape)?;
    if view.shape().iter().product::<usize>() != update.data().len() {
        return Err(Error::input(format!(
            "an update {:?} for a slice {:?}",
            update.shape(),
            view.shape()
        )));
    }
    let mut x = call.take("x")?;
    match (x.data_mut(), update.data()) {
        (Data::Float(x), Data::Float(update)) => view.write(x, update),
        (Data::Int(x), Data::Int(update)) => view.write(x, update),
        (Data::Bool(x), Data::Bool(update)) => view.write(x, update),
        (x, update) => {
            return Err(Error::input(format!("{} into {}", update.name(), x.name())));
        }
    }
    Ok(vec![x])
}
