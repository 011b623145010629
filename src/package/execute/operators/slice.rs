//! Operators that read or replace a slice of a tensor.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::arguments::Arguments;
use crate::package::execute::tensor::{Data, Tensor, map_data};
use crate::package::execute::value::{RuntimeValue, TensorSlice};
use crate::package::execute::view::StridedView;

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "slice_by_index" => |args| {
            let x = args.tensor("x")?;
            let (view, shape) = region(args, x.shape())?;
            args.allow_shape(&shape, 1)?;
            Ok(vec![Tensor::new(shape, map_data!(x.data(), values => view.copy(values)))?])
        },
        "slice_by_size" => by_size,
        "slice_update" => update,
        _ => return None,
    })
}

/// The result of `slice_by_index` without a copy; `None` if the slice is not contiguous.
pub(in crate::package::execute) fn without_copy(args: &Arguments) -> Result<Option<TensorSlice>> {
    let RuntimeValue::Tensor(x) = args.value("x")? else { return Ok(None) };
    let (view, shape) = region(args, x.shape())?;
    Ok(TensorSlice::of(x, &view, shape))
}

/// The slice that `begin`, `end`, `stride` and their masks select from a tensor of `shape`, by
/// numpy's rules, and its shape without the axes to squeeze.
fn region(args: &Arguments, shape: &[usize]) -> Result<(StridedView, Vec<usize>)> {
    let rank = shape.len();
    let one_per_axis =
        |name: &str| Error::input(format!("{name}: expected one element for each of {rank} axes"));
    let vector = |name: &str| -> Result<Option<Vec<i64>>> {
        let ints = args.ints(name)?;
        let fits = ints.as_ref().is_none_or(|ints| ints.len() == rank);
        if fits { Ok(ints) } else { Err(one_per_axis(name)) }
    };
    let mask = |name: &str| -> Result<Vec<bool>> {
        let flags = args.flags(name)?.unwrap_or_else(|| vec![false; rank]);
        if flags.len() == rank { Ok(flags) } else { Err(one_per_axis(name)) }
    };
    let needed = |name: &str| Error::input(format!("the parameter `{name}` is missing"));
    let begin = vector("begin")?.ok_or_else(|| needed("begin"))?;
    let end = vector("end")?.ok_or_else(|| needed("end"))?;
    let stride = vector("stride")?.unwrap_or_else(|| vec![1; rank]);
    let (from_start, to_end) = (mask("begin_mask")?, mask("end_mask")?);
    let squeezed = mask("squeeze_mask")?;
    let mut view = StridedView::of(shape);
    for axis in 0..rank {
        let len = shape[axis] as i64;
        let (first, count, step) = if squeezed[axis] {
            let at = if from_start[axis] { 0 } else { begin[axis] };
            let at = if at < 0 { at + len } else { at };
            if !(0..len).contains(&at) {
                return Err(Error::input(format!(
                    "axis {axis} of a tensor of shape {shape:?} has no element {at}"
                )));
            }
            (at, 1, 1)
        } else {
            let begin = (!from_start[axis]).then_some(begin[axis]);
            let end = (!to_end[axis]).then_some(end[axis]);
            range(len, begin, end, stride[axis])?
        };
        view = view.sliced(axis, first as usize, count as usize, step as isize);
    }
    let kept = view.shape().into_iter().zip(squeezed).filter(|(_, squeezed)| !squeezed);
    let kept = kept.map(|(len, _)| len).collect();
    Ok((view, kept))
}

/// The first element, the number of elements and the step of `begin:end:step` on an axis of `len`
/// elements.
fn range(len: i64, begin: Option<i64>, end: Option<i64>, step: i64) -> Result<(i64, i64, i64)> {
    if step == 0 {
        return Err(Error::input("stride: expected a number other than 0"));
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

fn by_size(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let x = args.tensor("x")?;
    let needed = |name: &str| Error::input(format!("the parameter `{name}` is missing"));
    let begin = args.ints("begin")?.ok_or_else(|| needed("begin"))?;
    let size = args.ints("size")?.ok_or_else(|| needed("size"))?;
    if begin.len() != x.shape().len() || size.len() != begin.len() {
        return Err(Error::input(format!(
            "begin and size: expected one number per axis of {:?}, found {begin:?} and {size:?}",
            x.shape()
        )));
    }
    let mut view = StridedView::of(x.shape());
    for (axis, (begin, size)) in begin.iter().zip(&size).enumerate() {
        let len = x.shape()[axis] as i64;
        let first = if *begin < 0 { begin + len } else { *begin };
        let size = if *size == -1 { len - first } else { *size };
        if first < 0 || size < 0 || first.checked_add(size).is_none_or(|end| end > len) {
            return Err(Error::input(format!(
                "{size} elements from {begin} on exceed axis {axis}, which has {len}"
            )));
        }
        view = view.sliced(axis, first as usize, size as usize, 1);
    }
    args.allow_shape(&view.shape(), 1)?;
    Ok(vec![Tensor::new(view.shape(), map_data!(x.data(), values => view.copy(values)))?])
}

fn update(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let update = args.tensor("update")?;
    let shape = args.value("x")?.shape().unwrap_or_default().to_vec();
    let (view, _) = region(args, &shape)?;
    if view.shape().iter().product::<usize>() != update.data().len() {
        return Err(Error::input(format!(
            "an update of shape {:?} does not fit a slice of shape {:?}",
            update.shape(),
            view.shape()
        )));
    }
    let mut x = args.take("x")?;
    match (x.data_mut(), update.data()) {
        (Data::Float(x), Data::Float(update)) => view.write(x, update),
        (Data::Int(x), Data::Int(update)) => view.write(x, update),
        (Data::Bool(x), Data::Bool(update)) => view.write(x, update),
        (x, update) => {
            return Err(Error::input(format!(
                "expected x and update of one type, found {} and {}",
                x.name(),
                update.name()
            )));
        }
    }
    Ok(vec![x])
}
