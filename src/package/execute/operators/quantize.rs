//! Activations to eight-bit integers and back.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::call::Call;
use crate::package::execute::tensor::{Data, Tensor};
use crate::package::execute::view::View;

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "quantize" => quantize,
        "dequantize" => dequantize,
        _ => return None,
    })
}

/// A parameter, one number or one for each place on an axis, spread over `shape`.
fn spread(call: &Call, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>> {
    let Some(tensor) = call.tensor_or_none(name)? else { return Ok(None) };
    let values: Vec<f32> = match tensor.data() {
        Data::Float(values) => values.clone(),
        Data::Int(values) => values.iter().map(|value| *value as f32).collect(),
        Data::Bool(_) => return Err(Error::input(format!("{name}: expected numbers"))),
    };
    let mut own = vec![1; shape.len()];
    if !tensor.shape().is_empty() {
        let axis = call.axis_or("axis", shape.len(), 0)?;
        own[axis] = values.len();
    }
    Ok(Some(View::of(&own).broadcast(shape)?.copy(&values)))
}

fn scales(call: &Call, shape: &[usize]) -> Result<Vec<f32>> {
    let scales = spread(call, "scale", shape)?;
    scales.ok_or_else(|| Error::input("the parameter `scale` is missing"))
}

fn quantize(call: &mut Call) -> Result<Vec<Tensor>> {
    let input = call.tensor("input")?;
    let scales = scales(call, input.shape())?;
    let zeros = spread(call, "zero_point", input.shape())?;
    let (low, high) = match call.text("output_dtype")? {
        Some("int8") => (-128.0, 127.0),
        Some("uint8") => (0.0, 255.0),
        other => return Err(Error::input(format!("output_dtype {other:?} is not known"))),
    };
    let values = input.as_floats()?.iter().zip(scales).enumerate().map(|(i, (value, scale))| {
        let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[i]);
        ((value / scale).round_ties_even() + zero).clamp(low, high) as i32
    });
    Ok(vec![Tensor::ints(input.shape().to_vec(), values.collect())?])
}

fn dequantize(call: &mut Call) -> Result<Vec<Tensor>> {
    let input = call.tensor("input")?;
    let scales = scales(call, input.shape())?;
    let zeros = spread(call, "zero_point", input.shape())?;
    let values = input.as_ints()?.iter().zip(scales).enumerate().map(|(i, (value, scale))| {
        (*value as f32 - zeros.as_ref().map_or(0.0, |zeros| zeros[i])) * scale
    });
    Ok(vec![Tensor::floats(input.shape().to_vec(), values.collect())?])
}
