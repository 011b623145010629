//! Quantizes activations to eight-bit integers, and dequantizes them.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::arguments::Arguments;
use crate::package::execute::tensor::{Data, Tensor};
use crate::package::execute::view::StridedView;

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "quantize" => quantize,
        "dequantize" => dequantize,
        _ => return None,
    })
}

/// A parameter that is one number, or one number per index of an axis, broadcast to `shape`.
fn broadcast(args: &Arguments, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>> {
    let Some(tensor) = args.tensor_or_none(name)? else { return Ok(None) };
    let values: Vec<f32> = match tensor.data() {
        Data::Float(values) => values.clone(),
        Data::Int(values) => values.iter().map(|value| *value as f32).collect(),
        Data::Bool(_) => return Err(Error::input(format!("{name}: expected numbers"))),
    };
    let mut own = vec![1; shape.len()];
    if !tensor.shape().is_empty() {
        let axis = args.axis_or("axis", shape.len(), 0)?;
        own[axis] = values.len();
    }
    args.allow_shape(shape, 1)?;
    Ok(Some(StridedView::of(&own).broadcast(shape)?.copy(&values)))
}

fn scales(args: &Arguments, shape: &[usize]) -> Result<Vec<f32>> {
    let scales = broadcast(args, "scale", shape)?;
    scales.ok_or_else(|| Error::input("the parameter `scale` is missing"))
}

fn quantize(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let input = args.tensor("input")?;
    args.allow_shape(input.shape(), 1)?;
    let scales = scales(args, input.shape())?;
    let zeros = broadcast(args, "zero_point", input.shape())?;
    let (low, high) = match args.text("output_dtype")? {
        Some("int8") => (-128.0, 127.0),
        Some("uint8") => (0.0, 255.0),
        other => {
            return Err(Error::input(format!(
                "expected output_dtype int8 or uint8, found {other:?}"
            )));
        }
    };
    let values = input.as_floats()?.iter().zip(scales).enumerate().map(|(i, (value, scale))| {
        let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[i]);
        ((value / scale).round_ties_even() + zero).clamp(low, high) as i32
    });
    Ok(vec![Tensor::ints(input.shape().to_vec(), values.collect())?])
}

fn dequantize(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let input = args.tensor("input")?;
    args.allow_shape(input.shape(), 1)?;
    let scales = scales(args, input.shape())?;
    let zeros = broadcast(args, "zero_point", input.shape())?;
    let values = input.as_ints()?.iter().zip(scales).enumerate().map(|(i, (value, scale))| {
        (*value as f32 - zeros.as_ref().map_or(0.0, |zeros| zeros[i])) * scale
    });
    Ok(vec![Tensor::floats(input.shape().to_vec(), values.collect())?])
}
