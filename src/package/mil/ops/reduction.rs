//! Operators that look along axes: sums, extremes, softmax, norms.

use crate::error::Result;
use crate::package::mil::call::{FLOATS, NUMBERS};
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::literal::Literal;
use crate::package::mil::shape::{axes_of, axis_of, ints, with_axis};
use crate::package::mil::types::{TensorType, type_name};
use crate::package::mil::value::Value;
use crate::package::spec::DataType;

impl FunctionBuilder {
    /// The mean over `axes`, which stay with length 1 when `keep_dims`. Negative axes count from
    /// the end.
    pub fn reduce_mean(&mut self, x: &Value, axes: &[isize], keep_dims: bool) -> Result<Value> {
        self.reduce("reduce_mean", x, axes, keep_dims)
    }

    /// The sum over `axes`, as [`reduce_mean`](Self::reduce_mean).
    pub fn reduce_sum(&mut self, x: &Value, axes: &[isize], keep_dims: bool) -> Result<Value> {
        self.reduce("reduce_sum", x, axes, keep_dims)
    }

    /// The largest element over `axes`, as [`reduce_mean`](Self::reduce_mean).
    pub fn reduce_max(&mut self, x: &Value, axes: &[isize], keep_dims: bool) -> Result<Value> {
        self.reduce("reduce_max", x, axes, keep_dims)
    }

    fn reduce(&mut self, kind: &str, x: &Value, axes: &[isize], keep: bool) -> Result<Value> {
        let call = self.op(kind)?.typed("x", x, NUMBERS)?;
        let Some(own) = axes_of(axes, x.rank()).filter(|own| !own.is_empty()) else {
            let expected = format!("different axes of {}", x.kind());
            return Err(call.refuse("axes", expected, format!("{axes:?}")));
        };
        let call = call
            .literal("axes", Literal::Ints(&ints(&own)))
            .literal("keep_dims", Literal::Bool(keep));
        Ok(call.makes(x.data_type(), reduced(x.shape(), &own, keep)))
    }

    /// Where along `axis` the largest element is, as int32.
    pub fn reduce_argmax(&mut self, x: &Value, axis: isize, keep_dims: bool) -> Result<Value> {
        let call = self.op("reduce_argmax")?.typed("x", x, NUMBERS)?;
        let Some(own) = axis_of(axis, x.rank()) else {
            return Err(call.refuse("axis", format!("an axis of {}", x.kind()), axis));
        };
        let call = call
            .literal("axis", Literal::Int(ints(&[own])[0]))
            .literal("keep_dims", Literal::Bool(keep_dims))
            .literal("output_dtype", Literal::Text(type_name(DataType::Int32)));
        Ok(call.makes(DataType::Int32, reduced(x.shape(), &[own], keep_dims)))
    }

    /// The `k` largest elements along `axis`, largest first, and where they are (int32).
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

    /// `e^x` over its sum along `axis`.
    pub fn softmax(&mut self, x: &Value, axis: isize) -> Result<Value> {
        let call = self.op("softmax")?.typed("x", x, FLOATS)?;
        let Some(own) = axis_of(axis, x.rank()) else {
            return Err(call.refuse("axis", format!("an axis of {}", x.kind()), axis));
        };
        let call = call.literal("axis", Literal::Int(ints(&[own])[0]));
        Ok(call.makes(x.data_type(), x.shape()))
    }

    /// `(x - mean) / sqrt(variance + epsilon)` over `axes`, times `gamma`, plus `beta`: constants
    /// with the lengths of these axes.
    pub fn layer_norm(
        &mut self,
        x: &Value,
        axes: &[isize],
        gamma: Option<&Value>,
        beta: Option<&Value>,
        epsilon: f32,
    ) -> Result<Value> {
        let mut call = self.op("layer_norm")?.typed("x", x, FLOATS)?;
        let Some(own) = axes_of(axes, x.rank()).filter(|own| !own.is_empty()) else {
            let expected = format!("different axes of {}", x.kind());
            return Err(call.refuse("axes", expected, format!("{axes:?}")));
        };
        let lens: Vec<usize> = own.iter().map(|axis| x.shape()[*axis]).collect();
        for (parameter, value) in [("gamma", gamma), ("beta", beta)] {
            if let Some(value) = value {
                let fits = value.shape() == lens;
                call = call.constant(parameter, value, x.data_type())?.check(
                    fits,
                    parameter,
                    format!("{lens:?}"),
                    value.kind(),
                )?;
            }
        }
        let call = call.literal("axes", Literal::Ints(&ints(&own))).float(
            "epsilon",
            epsilon,
            x.data_type(),
        )?;
        Ok(call.makes(x.data_type(), x.shape()))
    }
}

fn reduced(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let lens = shape.iter().enumerate();
    let left = lens.filter(|(axis, _)| keep || !axes.contains(axis));
    left.map(|(axis, len)| if axes.contains(&axis) { 1 } else { *len }).collect()
}
