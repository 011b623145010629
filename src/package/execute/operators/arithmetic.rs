//! Element-wise operators on two tensors, with broadcasting.

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::arguments::Arguments;
use crate::package::execute::tensor::{Data, Tensor};
use crate::package::execute::view::{StridedView, common_shape};

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "add" => |args| numbers(args, |x, y| x + y, |x, y| Ok(x.wrapping_add(y))),
        "sub" => |args| numbers(args, |x, y| x - y, |x, y| Ok(x.wrapping_sub(y))),
        "mul" => |args| numbers(args, |x, y| x * y, |x, y| Ok(x.wrapping_mul(y))),
        "maximum" => |args| numbers(args, maximum, |x, y| Ok(x.max(y))),
        "minimum" => |args| numbers(args, minimum, |x, y| Ok(x.min(y))),
        "real_div" => |args| numbers(args, |x, y| x / y, |x, y| divide(x, y, i32::wrapping_div)),
        "floor_div" => |args| numbers(args, |x, y| (x / y).floor(), |x, y| divide(x, y, floor_div)),
        "mod" => |args| numbers(args, modulo, |x, y| divide(x, y, int_modulo)),
        "pow" => |args| numbers(args, power, int_power),
        "equal" => |args| compare(args, |x, y| x == y, |x, y| x == y),
        "not_equal" => |args| compare(args, |x, y| x != y, |x, y| x != y),
        "greater" => |args| compare(args, |x, y| x > y, |x, y| x > y),
        "greater_equal" => |args| compare(args, |x, y| x >= y, |x, y| x >= y),
        "less" => |args| compare(args, |x, y| x < y, |x, y| x < y),
        "less_equal" => |args| compare(args, |x, y| x <= y, |x, y| x <= y),
        "logical_and" => |args| logic(args, |x, y| x && y),
        "logical_or" => |args| logic(args, |x, y| x || y),
        "logical_xor" => |args| logic(args, |x, y| x != y),
        _ => return None,
    })
}

/// If either is NaN, the result is NaN, as in numpy.
fn maximum(x: f32, y: f32) -> f32 {
    if x.is_nan() || x > y { x } else { y }
}

/// As [`maximum`]; NaN gives NaN.
fn minimum(x: f32, y: f32) -> f32 {
    if x.is_nan() || x < y { x } else { y }
}

fn divide(x: i32, y: i32, quotient: fn(i32, i32) -> i32) -> Result<i32> {
    if y == 0 { Err(Error::input("division of an integer by 0")) } else { Ok(quotient(x, y)) }
}

fn floor_div(x: i32, y: i32) -> i32 {
    x.wrapping_sub(int_modulo(x, y)).wrapping_div(y)
}

/// The remainder, with the sign of the divisor.
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
    let exponent = exponent
        .map_err(|_| Error::input(format!("an integer cannot be raised to the power {y}")))?;
    Ok(x.wrapping_pow(exponent))
}

fn numbers(
    args: &mut Arguments,
    floats: fn(f32, f32) -> f32,
    ints: fn(i32, i32) -> Result<i32>,
) -> Result<Vec<Tensor>> {
    let (x, y) = (args.take("x")?, args.tensor("y")?);
    let shape = common_shape(x.shape(), y.shape())?;
    let data = match (x.data(), y.data()) {
        (Data::Float(a), Data::Float(b)) => {
            // In place if `x` is not broadcast.
            if x.shape() == y.shape() || (b.len() == 1 && shape == x.shape()) {
                return in_place(x, b, floats);
            }
            args.allow_shape(&shape, 3)?;
            Data::Float(each(&shape, Operand::of(&x, a), Operand::of(&y, b), floats)?)
        }
        (Data::Int(a), Data::Int(b)) => {
            args.allow_shape(&shape, 3)?;
            let (x, y) =
                (Operand::of(&x, a).broadcast(&shape)?, Operand::of(&y, b).broadcast(&shape)?);
            Data::Int(x.into_iter().zip(y).map(|(x, y)| ints(x, y)).collect::<Result<_>>()?)
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
    args: &mut Arguments,
    floats: fn(f32, f32) -> bool,
    ints: fn(i32, i32) -> bool,
) -> Result<Vec<Tensor>> {
    let (x, y) = (args.tensor("x")?, args.tensor("y")?);
    let shape = common_shape(x.shape(), y.shape())?;
    args.allow_shape(&shape, 3)?;
    let results = match (x.data(), y.data()) {
        (Data::Float(a), Data::Float(b)) => {
            each(&shape, Operand::of(&x, a), Operand::of(&y, b), floats)?
        }
        (Data::Int(a), Data::Int(b)) => each(&shape, Operand::of(&x, a), Operand::of(&y, b), ints)?,
        (Data::Bool(a), Data::Bool(b)) => {
            each(&shape, Operand::of(&x, a), Operand::of(&y, b), |x, y| ints(x.into(), y.into()))?
        }
        (a, b) => return Err(mixed(a, b)),
    };
    Ok(vec![Tensor::new(shape, Data::Bool(results))?])
}

fn logic(args: &mut Arguments, result: fn(bool, bool) -> bool) -> Result<Vec<Tensor>> {
    let (x, y) = (args.tensor("x")?, args.tensor("y")?);
    let shape = common_shape(x.shape(), y.shape())?;
    args.allow_shape(&shape, 1)?;
    match (x.data(), y.data()) {
        (Data::Bool(a), Data::Bool(b)) => {
            let results = each(&shape, Operand::of(&x, a), Operand::of(&y, b), result)?;
            Ok(vec![Tensor::new(shape, Data::Bool(results))?])
        }
        (a, b) => Err(mixed(a, b)),
    }
}

fn mixed(x: &Data, y: &Data) -> Error {
    Error::input(format!(
        "expected both operands to have one type, found {} and {}",
        x.name(),
        y.name()
    ))
}

/// The elements of a tensor and their shape.
struct Operand<'a, T> {
    shape: &'a [usize],
    values: &'a [T],
}

impl<'a, T: Copy> Operand<'a, T> {
    /// `values` are the elements of `tensor`.
    fn of(tensor: &'a Tensor, values: &'a [T]) -> Self {
        Operand { shape: tensor.shape(), values }
    }

    fn broadcast(&self, shape: &[usize]) -> Result<Vec<T>> {
        Ok(StridedView::of(self.shape).broadcast(shape)?.copy(self.values))
    }
}

/// Broadcasts both operands to `shape`, for which there must be room, and computes `result` of each pair
/// of elements.
fn each<T: Copy, U>(
    shape: &[usize],
    x: Operand<'_, T>,
    y: Operand<'_, T>,
    result: impl Fn(T, T) -> U,
) -> Result<Vec<U>> {
    let (x, y) = (x.broadcast(shape)?, y.broadcast(shape)?);
    Ok(x.into_iter().zip(y).map(|(x, y)| result(x, y)).collect())
}
