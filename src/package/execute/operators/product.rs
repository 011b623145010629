//! Matrix products: `linear`, `conv` with kernels of one element, `matmul`, attention.

use rayon::prelude::*;

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::call::{Call, Weight};
use crate::package::execute::multiply::{
    multiply, multiply_dense, multiply_transposed, transposed,
};
use crate::package::execute::tensor::{Data, Tensor, element_count};
use crate::package::execute::view::{View, common_shape};

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "linear" => linear,
        "conv" => conv,
        "matmul" => matmul,
        _ => return None,
    })
}

/// The weight times each row of `x`, as `[out, rows]`, plus the bias.
fn weighted(call: &Call, weight: &Weight, x: &[f32]) -> Result<Vec<f32>> {
    let outputs = weight.shape()[0];
    let inputs: usize = weight.shape()[1..].iter().product();
    let mut out = match weight {
        Weight::Packed(weight) => multiply(weight, x),
        Weight::Dense(weight) => {
            let mut out = vec![0.0; outputs * (x.len() / inputs.max(1))];
            multiply_transposed(weight.as_floats()?, x, inputs, &mut out);
            out
        }
    };
    if let Some(bias) = call.tensor_or_none("bias")? {
        let bias = bias.as_floats()?;
        if bias.len() != outputs {
            return Err(Error::input(format!("{} biases for {outputs} outputs", bias.len())));
        }
        let rows = out.len() / outputs.max(1);
        for (out, bias) in out.chunks_mut(rows.max(1)).zip(bias) {
            out.iter_mut().for_each(|value| *value += bias);
        }
    }
    Ok(out)
}

/// `x` `[.., in]` times `weight` `[out, in]` transposed, plus `bias` `[out]`.
fn linear(call: &mut Call) -> Result<Vec<Tensor>> {
    let (x, weight) = (call.tensor("x")?, call.weight("weight")?);
    let (&[outputs, inputs], Some(last)) = (weight.shape(), x.shape().last()) else {
        return Err(Error::input(format!("weight {:?} times {:?}", weight.shape(), x.shape())));
    };
    if *last != inputs {
        return Err(Error::input(format!("weight {:?} times {:?}", weight.shape(), x.shape())));
    }
    let out = weighted(call, &weight, x.as_floats()?)?;
    let rows = out.len() / outputs.max(1);
    let mut shape = x.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    Ok(vec![Tensor::floats(shape, transposed(out, rows))?])
}

/// `x` `[n, in, ..]` with `weight` `[out, in, 1, ..]`.
fn conv(call: &mut Call) -> Result<Vec<Tensor>> {
    let (x, weight) = (call.tensor("x")?, call.weight("weight")?);
    let all = |name: &str, value: i64| -> Result<bool> {
        Ok(call.ints(name)?.is_none_or(|ints| ints.iter().all(|int| *int == value)))
    };
    let is_plain = call.int_or("groups", 1)? == 1 && all("strides", 1)? && all("pad", 0)?;
    let kernel = weight.shape().get(2..).unwrap_or_default();
    if !is_plain || kernel.is_empty() || kernel.iter().any(|len| *len != 1) {
        return Err(Error::input(format!(
            "conv is known here with kernels of one element, one group and no stride or padding \
             only; found a weight {:?}",
            weight.shape()
        )));
    }
    let &[batch, channels, ref space @ ..] = x.shape() else {
        return Err(Error::input(format!("conv of {:?}", x.shape())));
    };
    let [outputs, inputs, ..] = *weight.shape() else { return Ok(Vec::new()) };
    if inputs != channels || space.len() != kernel.len() {
        return Err(Error::input(format!("weight {:?} with {:?}", weight.shape(), x.shape())));
    }
    let places: usize = space.iter().product();
    let mut out = Vec::with_capacity(batch * outputs * places);
    for x in x.as_floats()?.chunks(channels * places) {
        out.extend(weighted(call, &weight, &transposed(x.to_vec(), places))?);
    }
    let shape = [&[batch, outputs], space].concat();
    Ok(vec![Tensor::floats(shape, out)?])
}

/// A stack of matrices in row-major order.
struct Matrices {
    /// Axes before the last two.
    stack: Vec<usize>,
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Matrices {
    fn of(tensor: Tensor) -> Result<Self> {
        let (shape, data) = tensor.into_parts();
        match (shape.as_slice(), data) {
            (&[ref stack @ .., rows, columns], Data::Float(values)) => {
                Ok(Matrices { stack: stack.to_vec(), rows, columns, values })
            }
            (_, data) => Err(Error::input(format!("a product of {} {shape:?}", data.name()))),
        }
    }

    /// Each matrix transposed.
    fn transposed(self) -> Self {
        let (rows, columns) = (self.columns, self.rows);
        let size = rows * columns;
        let flip = |matrix: &[f32]| transposed(matrix.to_vec(), self.columns);
        let values = self.values.chunks(size.max(1)).flat_map(flip).collect();
        Matrices { stack: self.stack, rows, columns, values }
    }

    /// Where the matrix for each place of a common stack begins.
    fn starts(&self, stack: &[usize]) -> Result<Vec<usize>> {
        let own: Vec<usize> = (0..self.stack.iter().product()).collect();
        let view = View::of(&self.stack).broadcast(stack)?;
        let size = self.rows * self.columns;
        Ok(view.copy(&own).into_iter().map(|index| index * size).collect())
    }
}

fn matmul(call: &mut Call) -> Result<Vec<Tensor>> {
    let flip_x = call.flag_or("transpose_x", false)?;
    let flip_y = call.flag_or("transpose_y", false)?;
    let x = Matrices::of(call.take("x")?)?;
    let y = Matrices::of(call.take("y")?)?;
    let x = if flip_x { x.transposed() } else { x };
    let (inner, columns) = if flip_y { (y.columns, y.rows) } else { (y.rows, y.columns) };
    if x.columns != inner {
        return Err(Error::input(format!("{} columns times {inner} rows", x.columns)));
    }
    let stack = common_shape(&x.stack, &y.stack)?;
    let shape = [stack.as_slice(), &[x.rows, columns]].concat();
    let mut out = vec![0.0; element_count(&shape)?];
    let starts: Vec<_> = x.starts(&stack)?.into_iter().zip(y.starts(&stack)?).collect();
    let (x_size, y_size) = (x.rows * inner, inner * columns);
    let product = |((x_start, y_start), out): (&(usize, usize), &mut [f32])| {
        let (x, y) = (&x.values[*x_start..][..x_size], &y.values[*y_start..][..y_size]);
        match flip_y {
            true => multiply_transposed(x, y, inner, out),
            false => multiply_dense(x, y, inner, out),
        }
    };
    let size = (x.rows * columns).max(1);
    starts.par_iter().zip(out.par_chunks_mut(size)).for_each(product);
    Ok(vec![Tensor::floats(shape, out)?])
}
