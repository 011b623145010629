//! Element-wise operators on one tensor.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::arguments::Arguments;
use crate::package::execute::tensor::{Data, Tensor};

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "exp" => |args| floats(args, f32::exp),
        "sqrt" => |args| floats(args, f32::sqrt),
        "tanh" => |args| floats(args, f32::tanh),
        "cos" => |args| floats(args, f32::cos),
        "sin" => |args| floats(args, f32::sin),
        "erf" => |args| floats(args, erf),
        "ceil" => |args| floats(args, f32::ceil),
        "floor" => |args| floats(args, f32::floor),
        "round" => |args| floats(args, f32::round_ties_even),
        "sigmoid" => |args| floats(args, sigmoid),
        "silu" => |args| floats(args, |x| x * sigmoid(x)),
        "relu" => |args| floats(args, |x| x.max(0.0)),
        "softplus" => |args| floats(args, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        "rsqrt" => |args| {
            let epsilon = args.float_or("epsilon", 1e-12)?;
            floats(args, |x| 1.0 / (x + epsilon).sqrt())
        },
        "inverse" => |args| {
            let epsilon = args.float_or("epsilon", 1e-4)?;
            floats(args, |x| 1.0 / (x + epsilon))
        },
        "log" => |args| {
            let epsilon = args.float_or("epsilon", 1e-45)?;
            floats(args, |x| (x + epsilon).ln())
        },
        "clip" => |args| {
            let (low, high) = (args.float_or("alpha", f32::MIN)?, args.float_or("beta", f32::MAX)?);
            floats(args, |x| {
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
        "abs" => |args| numbers(args, f32::abs, i32::wrapping_abs),
        "square" => |args| numbers(args, |x| x * x, |x| x.wrapping_mul(x)),
        "identity" => |args| Ok(vec![args.take("x")?]),
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

fn floats(args: &mut Arguments, result: impl Fn(f32) -> f32) -> Result<Vec<Tensor>> {
    let mut x = args.take("x")?;
    x.as_floats_mut()?.iter_mut().for_each(|value| *value = result(*value));
    Ok(vec![x])
}

fn numbers(
    args: &mut Arguments,
    float: fn(f32) -> f32,
    int: fn(i32) -> i32,
) -> Result<Vec<Tensor>> {
    let mut x = args.take("x")?;
    match x.data_mut() {
        Data::Float(values) => values.iter_mut().for_each(|value| *value = float(*value)),
        Data::Int(values) => values.iter_mut().for_each(|value| *value = int(*value)),
        Data::Bool(_) => return Err(Error::input("expected numbers, found booleans")),
    }
    Ok(vec![x])
}

fn gelu(args: &mut Arguments) -> Result<Vec<Tensor>> {
    /// `sqrt(2 / pi)`.
    const SLOPE: f32 = 0.797_884_6;
    match args.text("mode")?.unwrap_or("EXACT").to_owned().as_str() {
        "EXACT" => floats(args, |x| 0.5 * x * (1.0 + erf(x / std::f32::consts::SQRT_2))),
        "TANH_APPROXIMATION" => {
            floats(args, |x| 0.5 * x * (1.0 + (SLOPE * (x + 0.044_715 * x * x * x)).tanh()))
        }
        "SIGMOID_APPROXIMATION" => floats(args, |x| x * sigmoid(1.702 * x)),
        mode => Err(Error::input(format!("gelu with mode {mode:?} is not supported"))),
    }
}

fn not(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let mut x = args.take("x")?;
    match x.data_mut() {
        Data::Bool(values) => values.iter_mut().for_each(|value| *value = !*value),
        other => return Err(Error::input(format!("expected booleans, found {}", other.name()))),
    }
    Ok(vec![x])
}

fn cast(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let to = args.text("dtype")?.unwrap_or_default().to_owned();
    let (shape, data) = args.take("x")?.into_parts();
    args.allow_shape(&shape, 1)?;
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

/// The conversion of an integer to the type that MIL calls `name`. It wraps.
fn wrapping(name: &str) -> Result<fn(i64) -> i32> {
    Ok(match name {
        "int32" => |value| value as i32,
        "int16" => |value| i32::from(value as i16),
        "uint16" => |value| i32::from(value as u16),
        "int8" => |value| i32::from(value as i8),
        "uint8" => |value| i32::from(value as u8),
        _ => return Err(Error::input(format!("a cast to {name:?} is not supported"))),
    })
}
