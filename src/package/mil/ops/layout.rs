//! Operators that move elements without changing them.

use crate::error::Result;
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::literal::Literal;
use crate::package::mil::shape::{axes_of, axis_of, ints, with_axis};
use crate::package::mil::types::TensorType;
use crate::package::mil::value::Value;
use crate::package::spec::DataType;

/// The types that most operators here take.
const PLAIN: &[DataType] = &[
    DataType::Float16,
    DataType::Float32,
    DataType::Int32,
    DataType::Int16,
    DataType::Uint16,
    DataType::Int8,
    DataType::Uint8,
    DataType::Bool,
];
/// The types that `concat`, `split` and `tile` take.
const BASIC: &[DataType] = &[DataType::Float16, DataType::Float32, DataType::Int32, DataType::Bool];
/// The types of indices.
const INDICES: &[DataType] =
    &[DataType::Int32, DataType::Int16, DataType::Uint16, DataType::Int8, DataType::Uint8];
/// The largest rank of a tensor.
const MAX_RANK: usize = 5;

impl FunctionBuilder {
    /// The slices of `x` along `axis` at `indices`; the shape of `indices` replaces the axis.
    /// Indices must be in range and not negative: neither this program nor Core ML checks them.
    pub fn gather(&mut self, x: &Value, indices: &Value, axis: isize) -> Result<Value> {
        let call = self.op("gather")?.typed("x", x, PLAIN)?.typed("indices", indices, INDICES)?;
        let call = call.check(x.data_type() != DataType::Bool, "x", "numbers", x.kind())?;
        let Some(own) = axis_of(axis, x.rank()) else {
            return Err(call.refuse("axis", format!("an axis of {}", x.kind()), axis));
        };
        let shape = [&x.shape()[..own], indices.shape(), &x.shape()[own + 1..]].concat();
        let call = call
            .check(shape.len() <= MAX_RANK, "indices", "a result of rank 5", indices.kind())?
            .literal("axis", Literal::Int(ints(&[own])[0]))
            .literal("batch_dims", Literal::Int(0))
            .literal("validate_indices", Literal::Bool(false));
        Ok(call.makes(x.data_type(), shape))
    }

    /// The values joined along `axis`. They must agree in type and in all other axes.
    pub fn concat(&mut self, values: &[&Value], axis: isize) -> Result<Value> {
        let call = self.op("concat")?;
        let Some(first) = values.first() else {
            return Err(call.refuse("values", "at least one", "none"));
        };
        let Some(own) = axis_of(axis, first.rank()) else {
            return Err(call.refuse("axis", format!("an axis of {}", first.kind()), axis));
        };
        let alike = |value: &&Value| {
            value.rank() == first.rank()
                && value.data_type() == first.data_type()
                && with_axis(value, own, 0) == with_axis(first, own, 0)
        };
        if let Some(other) = values.iter().find(|value| !alike(value)) {
            let expected = format!("the type and shape of {} except for axis {own}", first.kind());
            return Err(call.refuse("values", expected, other.kind()));
        }
        let call = call
            .check(
                BASIC.contains(&first.data_type()),
                "values",
                "fp16, fp32, int32 or bool",
                first.kind(),
            )?
            .values("values", values)?
            .literal("axis", Literal::Int(ints(&[own])[0]))
            .literal("interleave", Literal::Bool(false));
        let len = values.iter().map(|value| value.shape()[own]).sum();
        Ok(call.makes(first.data_type(), with_axis(first, own, len)))
    }

    /// `x` split along `axis` into parts of these lengths.
    pub fn split(&mut self, x: &Value, sizes: &[usize], axis: isize) -> Result<Vec<Value>> {
        let call = self.op("split")?.typed("x", x, BASIC)?;
        let Some(own) = axis_of(axis, x.rank()) else {
            return Err(call.refuse("axis", format!("an axis of {}", x.kind()), axis));
        };
        let len = x.shape()[own];
        let fits = sizes.iter().sum::<usize>() == len && !sizes.contains(&0);
        let found = format!("{sizes:?}");
        let call = call.check(fits, "split_sizes", format!("parts of {len}"), found)?;
        let equal = sizes.windows(2).all(|pair| pair[0] == pair[1]);
        let call = if equal {
            call.literal("num_splits", Literal::Int(ints(&[sizes.len()])[0]))
        } else {
            call.literal("split_sizes", Literal::Ints(&ints(sizes)))
        };
        let part = |size: &usize| TensorType::new(x.data_type(), with_axis(x, own, *size));
        let call = call.literal("axis", Literal::Int(ints(&[own])[0]));
        Ok(call.makes_all(sizes.iter().map(part).collect()))
    }

    /// The elements of `x` from `begin` (inclusive) to `end` (exclusive), with one index per axis.
    pub fn slice_by_index(&mut self, x: &Value, begin: &[usize], end: &[usize]) -> Result<Value> {
        let call = self.op("slice_by_index")?.typed("x", x, PLAIN)?;
        let all = [begin.len(), end.len()] == [x.rank(); 2];
        let within =
            || (0..x.rank()).all(|axis| begin[axis] < end[axis] && end[axis] <= x.shape()[axis]);
        let found = format!("{begin:?} to {end:?}");
        let call = call
            .check(all && within(), "end", format!("a part of {}", x.kind()), found)?
            .literal("begin", Literal::Ints(&ints(begin)))
            .literal("end", Literal::Ints(&ints(end)));
        let shape: Vec<usize> = begin.iter().zip(end).map(|(begin, end)| end - begin).collect();
        Ok(call.makes(x.data_type(), shape))
    }

    /// `x` with the elements from `begin` (inclusive) to `end` (exclusive) replaced by `update`.
    /// Both are int32 `[rank]` and may be computed at run time. From iOS 18.
    pub fn slice_update(
        &mut self,
        x: &Value,
        update: &Value,
        begin: &Value,
        end: &Value,
    ) -> Result<Value> {
        let of = x.data_type();
        let smaller = update.rank() == x.rank()
            && update.shape().iter().zip(x.shape()).all(|(part, whole)| part <= whole);
        let mut call = self
            .op("slice_update")?
            .typed("x", x, PLAIN)?
            .typed("update", update, &[of])?
            .check(smaller, "update", format!("a part of {}", x.kind()), update.kind())?;
        for (parameter, value) in [("begin", begin), ("end", end)] {
            let expected = format!("int32[{}]", x.rank());
            call = call.typed(parameter, value, &[DataType::Int32])?.check(
                value.shape() == [x.rank()],
                parameter,
                expected,
                value.kind(),
            )?;
        }
        Ok(call.makes(of, x.shape()))
    }

    /// The elements of `x` in another shape with the same number of elements.
    pub fn reshape(&mut self, x: &Value, shape: &[usize]) -> Result<Value> {
        let fits = shape.iter().product::<usize>() == x.shape().iter().product::<usize>()
            && (1..=MAX_RANK).contains(&shape.len());
        let expected = format!("at most 5 axes with the elements of {}", x.kind());
        let call = self
            .op("reshape")?
            .typed("x", x, PLAIN)?
            .check(fits, "shape", expected, format!("{shape:?}"))?
            .literal("shape", Literal::Ints(&ints(shape)));
        Ok(call.makes(x.data_type(), shape))
    }

    /// The axes of `x` in the order `perm`.
    pub fn transpose(&mut self, x: &Value, perm: &[usize]) -> Result<Value> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        let fits = sorted.iter().copied().eq(0..x.rank());
        let call = self
            .op("transpose")?
            .typed("x", x, PLAIN)?
            .check(fits, "perm", format!("every axis of {}", x.kind()), format!("{perm:?}"))?
            .literal("perm", Literal::Ints(&ints(perm)));
        let shape: Vec<usize> = perm.iter().map(|axis| x.shape()[*axis]).collect();
        Ok(call.makes(x.data_type(), shape))
    }

    /// `x` with new axes of length 1. `axes` are their positions in the result.
    pub fn expand_dims(&mut self, x: &Value, axes: &[isize]) -> Result<Value> {
        let call = self.op("expand_dims")?.typed("x", x, PLAIN)?;
        let rank = x.rank() + axes.len();
        let Some(own) = axes_of(axes, rank).filter(|_| rank <= MAX_RANK) else {
            let expected = "different axes of a result of at most rank 5";
            return Err(call.refuse("axes", expected, format!("{axes:?}")));
        };
        let mut lens = x.shape().iter();
        let shape: Vec<usize> = (0..rank)
            .filter_map(|axis| if own.contains(&axis) { Some(1) } else { lens.next().copied() })
            .collect();
        let call = call.literal("axes", Literal::Ints(&ints(&own)));
        Ok(call.makes(x.data_type(), shape))
    }

    /// `x` without the axes `axes`, which must have length 1.
    pub fn squeeze(&mut self, x: &Value, axes: &[isize]) -> Result<Value> {
        let call = self.op("squeeze")?.typed("x", x, PLAIN)?;
        let own = axes_of(axes, x.rank())
            .filter(|own| !own.is_empty() && own.iter().all(|axis| x.shape()[*axis] == 1));
        let Some(own) = own else {
            let expected = format!("different axes of length 1 of {}", x.kind());
            return Err(call.refuse("axes", expected, format!("{axes:?}")));
        };
        let left = x.shape().iter().enumerate().filter(|(axis, _)| !own.contains(axis));
        let shape: Vec<usize> = left.map(|(_, len)| *len).collect();
        let call = call.literal("axes", Literal::Ints(&ints(&own)));
        Ok(call.makes(x.data_type(), shape))
    }

    /// `x` repeated `reps[axis]` times along each axis.
    pub fn tile(&mut self, x: &Value, reps: &[usize]) -> Result<Value> {
        let fits = reps.len() == x.rank() && !reps.contains(&0);
        let call = self
            .op("tile")?
            .typed("x", x, BASIC)?
            .check(fits, "reps", format!("one per axis of {}", x.kind()), format!("{reps:?}"))?
            .literal("reps", Literal::Ints(&ints(reps)));
        let shape: Vec<usize> = x.shape().iter().zip(reps).map(|(len, reps)| len * reps).collect();
        Ok(call.makes(x.data_type(), shape))
    }
}
