//! Operators that select elements by indices or conditions.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::arguments::{Arguments, MatrixWeight};
use crate::package::execute::tensor::{Data, Tensor, map_data};
use crate::package::execute::view::{StridedView, common_shape};

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "gather" => gather,
        "gather_along_axis" => gather_along_axis,
        "scatter_along_axis" => scatter_along_axis,
        "select" => select,
        "one_hot" => one_hot,
        _ => return None,
    })
}

/// Indices into an axis of `len` elements. Negative ones in the tensor count from the end.
fn resolve_indices(args: &Arguments, indices: &Tensor, len: usize) -> Result<Vec<usize>> {
    args.allow(indices.data().len(), size_of::<usize>())?;
    let resolve = |index: &i32| {
        let from_start = i64::from(*index) + if *index < 0 { len as i64 } else { 0 };
        usize::try_from(from_start).ok().filter(|index| *index < len)
    };
    let found: Option<Vec<usize>> = indices.as_ints()?.iter().map(resolve).collect();
    found.ok_or_else(|| {
        Error::input(format!("an index is out of range for an axis of {len} elements"))
    })
}

fn gather(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let (x, indices) = (args.weight("x")?, args.tensor("indices")?);
    let rank = x.shape().len();
    let axis = args.axis_or("axis", rank, 0)?;
    let batch = usize::try_from(args.int_or("batch_dims", 0)?).unwrap_or(usize::MAX);
    if batch > axis
        || batch > indices.shape().len()
        || x.shape()[..batch] != indices.shape()[..batch]
    {
        return Err(Error::input(format!(
            "expected {batch} equal batch axes before `axis`, found shapes {:?} and {:?}",
            x.shape(),
            indices.shape()
        )));
    }
    let (outer, inner) = (&x.shape()[batch..axis], &x.shape()[axis + 1..]);
    let shape = [&x.shape()[..axis], &indices.shape()[batch..], inner].concat();
    let len = x.shape()[axis];
    let total = args.allow_shape(&shape, 1)?;
    let resolved = resolve_indices(args, &indices, len)?;
    let (outer, inner): (usize, usize) = (outer.iter().product(), inner.iter().product());
    let per_batch = indices.shape()[batch..].iter().product::<usize>().max(1);
    let starts = resolved.chunks(per_batch).enumerate().flat_map(|(batch, indices)| {
        (0..outer).flat_map(move |outer_at| {
            indices.iter().map(move |index| ((batch * outer + outer_at) * len + index) * inner)
        })
    });
    let data = match &x {
        MatrixWeight::Packed(weight) => {
            let mut out = vec![0.0; total];
            for (start, out) in starts.zip(out.chunks_mut(inner.max(1))) {
                weight.fill(start, out);
            }
            Data::Float(out)
        }
        MatrixWeight::Dense(tensor) => map_data!(tensor.data(), values => {
            let mut out = Vec::with_capacity(total);
            starts.for_each(|start| out.extend_from_slice(&values[start..start + inner]));
            out
        }),
    };
    Ok(vec![Tensor::new(shape, data)?])
}

/// Calls `pair(position in indices, position in data)` for every index along `axis`.
fn along_axis(
    args: &Arguments,
    data: &[usize],
    indices: &Tensor,
    axis: usize,
    mut pair: impl FnMut(usize, usize),
) -> Result<()> {
    let own = indices.shape();
    let fits = |(at, (own, len)): (usize, (&usize, &usize))| at == axis || own <= len;
    if own.len() != data.len() || !own.iter().zip(data).enumerate().all(fits) {
        return Err(Error::input(format!(
            "indices of shape {own:?} do not fit axis {axis} of the shape {data:?}"
        )));
    }
    let inner: usize = data[axis + 1..].iter().product();
    let mut element = 0;
    let resolved = resolve_indices(args, indices, data[axis])?;
    let mut view = StridedView::of(data);
    for (at, len) in own.iter().enumerate() {
        view = if at == axis { view.sliced(at, 0, *len, 0) } else { view.sliced(at, 0, *len, 1) };
    }
    view.runs(|start, len, step| {
        for i in 0..len as isize {
            pair(element, (start + i * step) as usize + resolved[element] * inner);
            element += 1;
        }
    });
    Ok(())
}

fn gather_along_axis(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let (x, indices) = (args.tensor("x")?, args.tensor("indices")?);
    let axis = args.axis_or("axis", x.shape().len(), 0)?;
    args.allow(indices.data().len(), size_of::<usize>() + size_of::<f32>())?;
    let mut from = vec![0; indices.data().len()];
    along_axis(args, x.shape(), &indices, axis, |element, place| from[element] = place)?;
    let data = map_data!(x.data(), values => from.iter().map(|place| values[*place]).collect());
    Ok(vec![Tensor::new(indices.shape().to_vec(), data)?])
}

fn scatter_along_axis(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let (indices, updates) = (args.tensor("indices")?, args.tensor("updates")?);
    let mode = args.text("mode")?.unwrap_or("add").to_owned();
    let mut data = args.take("data")?;
    let axis = args.axis_or("axis", data.shape().len(), 0)?;
    if updates.shape() != indices.shape() {
        return Err(Error::input(format!(
            "expected updates of the shape of the indices, found shapes {:?} and {:?}",
            updates.shape(),
            indices.shape()
        )));
    }
    let shape = data.shape().to_vec();
    let is_sum = match mode.as_str() {
        "add" => true,
        "update" => false,
        _ => {
            return Err(Error::input(format!(
                "scatter_along_axis with mode {mode:?} is not supported"
            )));
        }
    };
    match (data.data_mut(), updates.data()) {
        (Data::Float(data), Data::Float(updates)) => {
            along_axis(args, &shape, &indices, axis, |element, place| {
                data[place] = updates[element] + if is_sum { data[place] } else { 0.0 };
            })?;
        }
        (Data::Int(data), Data::Int(updates)) => {
            along_axis(args, &shape, &indices, axis, |element, place| {
                let before = if is_sum { data[place] } else { 0 };
                data[place] = before.wrapping_add(updates[element]);
            })?;
        }
        _ => return Err(Error::input("expected data and updates to be numbers of one type")),
    }
    Ok(vec![data])
}

fn select(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let (cond, a, b) = (args.tensor("cond")?, args.tensor("a")?, args.tensor("b")?);
    let shape = common_shape(cond.shape(), &common_shape(a.shape(), b.shape())?)?;
    args.allow_shape(&shape, 4)?;
    let view = |tensor: &Tensor| StridedView::of(tensor.shape()).broadcast(&shape);
    let cond = match cond.data() {
        Data::Bool(values) => view(&cond)?.copy(values),
        other => {
            return Err(Error::input(format!("cond: expected booleans, found {}", other.name())));
        }
    };
    let (a_view, b_view) = (view(&a)?, view(&b)?);
    macro_rules! chosen {
        ($class:ident, $a:expr, $b:expr) => {{
            let both = a_view.copy($a).into_iter().zip(b_view.copy($b));
            Data::$class(cond.iter().zip(both).map(|(c, (a, b))| if *c { a } else { b }).collect())
        }};
    }
    let data = match (a.data(), b.data()) {
        (Data::Float(a), Data::Float(b)) => chosen!(Float, a, b),
        (Data::Int(a), Data::Int(b)) => chosen!(Int, a, b),
        (Data::Bool(a), Data::Bool(b)) => chosen!(Bool, a, b),
        (a, b) => {
            return Err(Error::input(format!(
                "expected a and b of one type, found {} and {}",
                a.name(),
                b.name()
            )));
        }
    };
    Ok(vec![Tensor::new(shape, data)?])
}

fn one_hot(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let indices = args.tensor("indices")?;
    let size = usize::try_from(args.int("one_hot_vector_size")?).unwrap_or(0);
    let axis = args.axis_or("axis", indices.shape().len() + 1, -1)?;
    let mut shape = indices.shape().to_vec();
    shape.insert(axis, size);
    let len = args.allow_shape(&shape, 2)?;
    let inner: usize = shape[axis + 1..].iter().product();
    let list = indices.as_ints()?;
    let mut hot = vec![false; len];
    for (i, index) in list.iter().enumerate() {
        if let Some(index) = usize::try_from(*index).ok().filter(|index| *index < size) {
            hot[(i / inner * size + index) * inner + i % inner] = true;
        }
    }
    let (on, off) = (args.tensor_or_none("on_value")?, args.tensor_or_none("off_value")?);
    let is_float = |value: &Option<_>| {
        value.as_ref().is_some_and(|value: &std::sync::Arc<Tensor>| value.as_floats().is_ok())
    };
    let data = if is_float(&on) || is_float(&off) {
        let (on, off) = (args.float_or("on_value", 1.0)?, args.float_or("off_value", 0.0)?);
        Data::Float(hot.iter().map(|hot| if *hot { on } else { off }).collect())
    } else {
        let (on, off) = (args.int_or("on_value", 1)?, args.int_or("off_value", 0)?);
        Data::Int(hot.iter().map(|hot| if *hot { on as i32 } else { off as i32 }).collect())
    };
    Ok(vec![Tensor::new(shape, data)?])
}
