//! Operators along axes: sums, largest elements, softmax, norms.

use half::f16;

use crate::error::Result;
use crate::package::mil::call::{FLOATS, NUMBERS};
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::literal::Literal;
use crate::package::mil::shape::{axes_of, axis_of, ints, with_axis};
use crate::package::mil::types::{TensorType, type_name};
use crate::package::mil::value::Value;
use crate::package::spec::DataType;

impl FunctionBuilder {
    /// The sum over `axes`, which keep length 1 in the result. Negative axes count from the end.
    pub fn reduce_sum(&mut self, x: &Value, axes: &[isize]) -> Result<Value> {
        let call = self.op("reduce_sum")?.typed("x", x, NUMBERS)?;
        let Some(own) = axes_of(axes, x.rank()).filter(|own| !own.is_empty()) else {
            let expected = format!("different axes of {}", x.kind());
            return Err(call.refuse("axes", expected, format!("{axes:?}")));
        };
        let call = call
            .literal("axes", Literal::Ints(&ints(&own)))
            .literal("keep_dims", Literal::Bool(true));
        let mut shape = x.shape().to_vec();
        own.iter().for_each(|axis| shape[*axis] = 1);
        Ok(call.makes(x.data_type(), shape))
    }

    /// The `k` largest elements along `axis`, largest first, and their indices (int32).
    pub fn topk(&mut self, x: &Value, k: usize, axis: isize) -> Result<[Value; 2]> {
        let call = self.op("topk")?.typed("x", x, NUMBERS)?;
        let Some(own) = axis_of(axis, x.rank()).filter(|own| (1..=x.shape()[*own]).contains(&k))
        else {
            return Err(call.refuse("k", format!("1 to the length of axis {axis}"), k));
        };
        let shape = with_axis(x, own, k);
        let kinds = [x.data_type(), DataType::Int32].map(|of| TensorType::new(of, shape.clone()));
        let made = call
            .literal("k", Literal::Int(ints(&[k])[0]))
            .literal("axis", Literal::Int(ints(&[own])[0]))
            .literal("ascending", Literal::Bool(false))
            .literal("sort", Literal::Bool(true))
            .literal("return_indices", Literal::Bool(true))
            .literal("output_indices_dtype", Literal::Text(type_name(DataType::Int32)))
            .makes_all(kinds.into());
        Ok([made[0].clone(), made[1].clone()])
    }

    /// The elements of `x` along `axis` at `indices`, which has the shape of `x` except for that axis.
    pub fn gather_along_axis(&mut self, x: &Value, indices: &Value, axis: isize) -> Result<Value> {
        let call = self.op("gather_along_axis")?.typed("x", x, NUMBERS)?.typed(
            "indices",
            indices,
            &[DataType::Int32],
        )?;
        let own = axis_of(axis, x.rank()).filter(|own| {
            indices.rank() == x.rank() && with_axis(x, *own, 0) == with_axis(indices, *own, 0)
        });
        let Some(own) = own else {
            let expected = format!("the shape of {} except for axis {axis}", x.kind());
            return Err(call.refuse("indices", expected, indices.kind()));
        };
        let call = call
            .literal("axis", Literal::Int(ints(&[own])[0]))
            .literal("validate_indices", Literal::Bool(false));
        Ok(call.makes(x.data_type(), indices.shape()))
    }

    /// For each index a new last axis of `len` fp16 numbers: 1 at the index, 0 elsewhere.
    pub fn one_hot(&mut self, indices: &Value, len: usize) -> Result<Value> {
        let call = self.op("one_hot")?.typed("indices", indices, &[DataType::Int32])?;
        let call = call
            .literal("one_hot_vector_size", Literal::Int(ints(&[len])[0]))
            .literal("axis", Literal::Int(-1))
            .literal("on_value", Literal::Float16(f16::ONE))
            .literal("off_value", Literal::Float16(f16::ZERO));
        Ok(call.makes(DataType::Float16, [indices.shape(), &[len]].concat()))
    }

    /// `e^x` divided by its sum along `axis`.
    pub fn softmax(&mut self, x: &Value, axis: isize) -> Result<Value> {
        let call = self.op("softmax")?.typed("x", x, FLOATS)?;
        let Some(own) = axis_of(axis, x.rank()) else {
            return Err(call.refuse("axis", format!("an axis of {}", x.kind()), axis));
        };
        let call = call.literal("axis", Literal::Int(ints(&[own])[0]));
        Ok(call.makes(x.data_type(), x.shape()))
    }

    /// `(x - mean) / sqrt(variance + epsilon)` over `axes`.
    pub fn layer_norm(&mut self, x: &Value, axes: &[isize], epsilon: f32) -> Result<Value> {
        let call = self.op("layer_norm")?.typed("x", x, FLOATS)?;
        let Some(own) = axes_of(axes, x.rank()).filter(|own| !own.is_empty()) else {
            let expected = format!("different axes of {}", x.kind());
            return Err(call.refuse("axes", expected, format!("{axes:?}")));
        };
        let call = call.literal("axes", Literal::Ints(&ints(&own))).float(
            "epsilon",
            epsilon,
            x.data_type(),
        )?;
        Ok(call.makes(x.data_type(), x.shape()))
    }
}
