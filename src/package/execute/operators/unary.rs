//! Operators on one tensor, element by element.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::call::Call;
use crate::package::execute::tensor::{Data, Tensor};

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "exp" => |call| floats(call, f32::exp),
        "sqrt" => |call| floats(call, f32::sqrt),
        "tanh" => |call| floats(call, f32::tanh),
        "cos" => |call| floats(call, f32::cos),
        "sin" => |call| floats(call, f32::sin),
        "erf" => |call| floats(call, erf),
        "ceil" => |call| floats(call, f32::ceil),
        "floor" => |call| floats(call, f32::floor),
        "round" => |call| floats(call, f32::round_ties_even),
        "sigmoid" => |call| floats(call, sigmoid),
        "silu" => |call| floats(call, |x| x * sigmoid(x)),
        "relu" => |call| floats(call, |x| x.max(0.0)),
        "softplus" => |call| floats(call, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        "rsqrt" => |call| {
            let epsilon = call.float_or("epsilon", 1e-12)?;
            floats(call, |x| 1.0 / (x + epsilon).sqrt())
        },
        "inverse" => |call| {
            let epsilon = call.float_or("epsilon", 1e-4)?;
            floats(call, |x| 1.0 / (x + epsilon))
        },
        "log" => |call| {
            let epsilon = call.float_or("epsilon", 1e-45)?;
            floats(call, |x| (x + epsilon).ln())
        },
        "clip" => |call| {
            let (low, high) = (call.float_or("alpha", f32::MIN)?, call.float_or("beta", f32::MAX)?);
            floats(call, |x| {
                if x < low {
                    low
                } else if x > high {
                    high
                } else {
                    x
                }
            })
        },
        "gelu" => gelu,
        "abs" => |call| numbers(call, f32::abs, i32::wrapping_abs),
        "square" => |call| numbers(call, |x| x * x, |x| x.wrapping_mul(x)),
        "identity" => |call| Ok(vec![call.take("x")?]),
        "logical_not" => not,
        "cast" => cast,
        _ => return None,
    })
}

pub(super) fn sigmoid(x: f32) -> f32 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

fn erf(x: f32) -> f32 {
    statrs::function::erf::erf(f64::from(x)) as f32
}

fn floats(call: &mut Call, result: impl Fn(f32) -> f32) -> Result<Vec<Tensor>> {
    let mut x = call.take("x")?;
    x.as_floats_mut()?.iter_mut().for_each(|value| *value = result(*value));
    Ok(vec![x])
}

fn numbers(call: &mut Call, float: fn(f32) -> f32, int: fn(i32) -> i32) -> Result<Vec<Tensor>> {
    let mut x = call.take("x")?;
    match x.data_mut() {
        Data::Float(values) => values.iter_mut().for_each(|value| *value = float(*value)),
        Data::Int(values) => values.iter_mut().for_each(|value| *value = int(*value)),
        Data::Bool(_) => return Err(Error::input("expected numbers, found booleans")),
    }
    Ok(vec![x])
}

fn gelu(call: &mut Call) -> Result<Vec<Tensor>> {
    /// sqrt(2 / pi)
    const SLOPE: f32 = 0.797_884_6;
    match call.text("mode")?.unwrap_or("EXACT").to_owned().as_str() {
        "EXACT" => floats(call, |x| 0.5 * x * (1.0 + erf(x / std::f32::consts::SQRT_2))),
        "TANH_APPROXIMATION" => {
            floats(call, |x| 0.5 * x * (1.0 + (SLOPE * (x + 0.044_715 * x * x * x)).tanh()))
        }
        "SIGMOID_APPROXIMATION" => floats(call, |x| x * sigmoid(1.702 * x)),
        mode => Err(Error::input(format!("gelu in the mode {mode:?} is not known"))),
    }
}

fn not(call: &mut Call) -> Result<Vec<Tensor>> {
    let mut x = call.take("x")?;
    match x.data_mut() {
        Data::Bool(values) => values.iter_mut().for_each(|value| *value = !*value),
        other => return Err(Error::input(format!("expected booleans, found {}", other.name()))),
    }
    Ok(vec![x])
}

fn cast(call: &mut Call) -> Result<Vec<Tensor>> {
    let to = call.text("dtype")?.unwrap_or_default().to_owned();
    let (shape, data) = call.take("x")?.into_parts();
    let is_float = matches!(to.as_str(), "fp16" | "fp32");
    let data = match (data, to.as_str()) {
        (Data::Float(values), _) if is_float => Data::Float(values),
        (Data::Int(values), _) if is_float => {
            Data::Float(values.into_iter().map(|value| value as f32).collect())
        }
        (Data::Bool(values), _) if is_float => {
            Data::Float(values.into_iter().map(|value| f32::from(u8::from(value))).collect())
        }
        (Data::Float(values), "bool") => Data::Bool(values.iter().map(|v| *v != 0.0).collect()),
        (Data::Int(values), "bool") => Data::Bool(values.iter().map(|v| *v != 0).collect()),
        (data @ Data::Bool(_), "bool") => data,
        (data, to) => {
            let wrap = wrapping(to)?;
            Data::Int(match data {
                Data::Float(values) => values.iter().map(|v| wrap(*v as i64)).collect(),
                Data::Int(values) => values.iter().map(|v| wrap(i64::from(*v))).collect(),
                Data::Bool(values) => values.iter().map(|v| i32::from(*v)).collect(),
            })
        }
    };
    Ok(vec![Tensor::new(shape, data)?])
}

/// How an integer becomes one of the type that MIL calls `name`.
fn wrapping(name: &str) -> Result<fn(i64) -> i32> {
    Ok(match name {
        "int32" => |value| value as i32,
        "int16" => |value| i32::from(value as i16),
        "uint16" => |value| i32::from(value as u16),
        "int8" => |value| i32::from(value as i8),
        "uint8" => |value| i32::from(value as u8),
        _ => return Err(Error::input(format!("a cast to {name:?} is not known"))),
    })
}
