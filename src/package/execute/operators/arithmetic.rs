//! Operators on two tensors, element by element, with broadcasting.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::call::Call;
use crate::package::execute::tensor::{Data, Tensor};
use crate::package::execute::view::{View, common_shape};

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "add" => |call| numbers(call, |x, y| x + y, |x, y| Ok(x.wrapping_add(y))),
        "sub" => |call| numbers(call, |x, y| x - y, |x, y| Ok(x.wrapping_sub(y))),
        "mul" => |call| numbers(call, |x, y| x * y, |x, y| Ok(x.wrapping_mul(y))),
        "maximum" => |call| numbers(call, maximum, |x, y| Ok(x.max(y))),
        "minimum" => |call| numbers(call, minimum, |x, y| Ok(x.min(y))),
        "real_div" => |call| numbers(call, |x, y| x / y, |x, y| divide(x, y, i32::wrapping_div)),
        "floor_div" => |call| numbers(call, |x, y| (x / y).floor(), |x, y| divide(x, y, floor_div)),
        "mod" => |call| numbers(call, modulo, |x, y| divide(x, y, int_modulo)),
        "pow" => |call| numbers(call, power, int_power),
        "equal" => |call| compare(call, |x, y| x == y, |x, y| x == y),
        "not_equal" => |call| compare(call, |x, y| x != y, |x, y| x != y),
        "greater" => |call| compare(call, |x, y| x > y, |x, y| x > y),
        "greater_equal" => |call| compare(call, |x, y| x >= y, |x, y| x >= y),
        "less" => |call| compare(call, |x, y| x < y, |x, y| x < y),
        "less_equal" => |call| compare(call, |x, y| x <= y, |x, y| x <= y),
        "logical_and" => |call| logic(call, |x, y| x && y),
        "logical_or" => |call| logic(call, |x, y| x || y),
        "logical_xor" => |call| logic(call, |x, y| x != y),
        _ => return None,
    })
}

/// NaN wins, as in numpy.
fn maximum(x: f32, y: f32) -> f32 {
    if x.is_nan() || x > y { x } else { y }
}

fn minimum(x: f32, y: f32) -> f32 {
    if x.is_nan() || x < y { x } else { y }
}

fn divide(x: i32, y: i32, quotient: fn(i32, i32) -> i32) -> Result<i32> {
    if y == 0 { Err(Error::input("an integer is divided by 0")) } else { Ok(quotient(x, y)) }
}

fn floor_div(x: i32, y: i32) -> i32 {
    x.wrapping_sub(int_modulo(x, y)).wrapping_div(y)
}

/// The remainder with the divisor's sign.
fn int_modulo(x: i32, y: i32) -> i32 {
    let rest = x.wrapping_rem(y);
    if rest != 0 && (rest < 0) != (y < 0) { rest + y } else { rest }
}

fn modulo(x: f32, y: f32) -> f32 {
    let rest = x % y;
    if rest != 0.0 && (rest < 0.0) != (y < 0.0) { rest + y } else { rest }
}

fn power(x: f32, y: f32) -> f32 {
    if y == 2.0 { x * x } else { x.powf(y) }
}

fn int_power(x: i32, y: i32) -> Result<i32> {
    let exponent = u32::try_from(y);
    let exponent = exponent.map_err(|_| Error::input(format!("an integer to the power {y}")))?;
    Ok(x.wrapping_pow(exponent))
}

fn numbers(
    call: &mut Call,
    floats: fn(f32, f32) -> f32,
    ints: fn(i32, i32) -> Result<i32>,
) -> Result<Vec<Tensor>> {
    let (x, y) = (call.take("x")?, call.tensor("y")?);
    let shape = common_shape(x.shape(), y.shape())?;
    let data = match (x.data(), y.data()) {
        (Data::Float(a), Data::Float(b)) => {
            // In place where nothing is broadcast.
            if x.shape() == y.shape() || (b.len() == 1 && shape == x.shape()) {
                let b = b.clone();
                return in_place(x, &b, floats);
            }
            Data::Float(each(&shape, (&x, a), (&y, b), floats)?)
        }
        (Data::Int(a), Data::Int(b)) => {
            let results = each(&shape, (&x, a), (&y, b), ints)?;
            Data::Int(results.into_iter().collect::<Result<_>>()?)
        }
        (a, b) => return Err(mixed(a, b)),
    };
    Ok(vec![Tensor::new(shape, data)?])
}

fn in_place(mut x: Tensor, y: &[f32], result: fn(f32, f32) -> f32) -> Result<Vec<Tensor>> {
    let values = x.as_floats_mut()?;
    match y {
        [y] => values.iter_mut().for_each(|x| *x = result(*x, *y)),
        _ => values.iter_mut().zip(y).for_each(|(x, y)| *x = result(*x, *y)),
    }
    Ok(vec![x])
}

fn compare(
    call: &mut Call,
    floats: fn(f32, f32) -> bool,
    ints: fn(i32, i32) -> bool,
) -> Result<Vec<Tensor>> {
    let (x, y) = (call.tensor("x")?, call.tensor("y")?);
    let shape = common_shape(x.shape(), y.shape())?;
    let results = match (x.data(), y.data()) {
        (Data::Float(a), Data::Float(b)) => each(&shape, (&x, a), (&y, b), floats)?,
        (Data::Int(a), Data::Int(b)) => each(&shape, (&x, a), (&y, b), ints)?,
        (Data::Bool(a), Data::Bool(b)) => {
            each(&shape, (&x, a), (&y, b), |x, y| ints(x.into(), y.into()))?
        }
        (a, b) => return Err(mixed(a, b)),
    };
    Ok(vec![Tensor::new(shape, Data::Bool(results))?])
}

fn logic(call: &mut Call, result: fn(bool, bool) -> bool) -> Result<Vec<Tensor>> {
    let (x, y) = (call.tensor("x")?, call.tensor("y")?);
    let shape = common_shape(x.shape(), y.shape())?;
    match (x.data(), y.data()) {
        (Data::Bool(a), Data::Bool(b)) => {
            let results = each(&shape, (&x, a), (&y, b), result)?;
            Ok(vec![Tensor::new(shape, Data::Bool(results))?])
        }
        (a, b) => Err(mixed(a, b)),
    }
}

fn mixed(x: &Data, y: &Data) -> Error {
    Error::input(format!("the operator does not take {} with {}", x.name(), y.name()))
}

/// `result` of each pair of elements, both broadcast to `shape`.
fn each<T: Copy, U>(
    shape: &[usize],
    (x, a): (&Tensor, &[T]),
    (y, b): (&Tensor, &[T]),
    result: impl Fn(T, T) -> U,
) -> Result<Vec<U>> {
    crate::package::execute::tensor::element_count(shape)?;
    let spread = |tensor: &Tensor, values: &[T]| -> Result<Vec<T>> {
        Ok(View::of(tensor.shape()).broadcast(shape)?.copy(values))
    };
    let (a, b) = (spread(x, a)?, spread(y, b)?);
    Ok(a.into_iter().zip(b).map(|(a, b)| result(a, b)).collect())
}
