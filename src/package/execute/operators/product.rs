//! Matrix products: `linear`, `conv` with kernels of one element, and `matmul`.

use rayon::prelude::*;

use super::Operator;
use crate::error::{Error, Result};
use crate::package::execute::arguments::{Arguments, MatrixWeight};
use crate::package::execute::multiply::{
    multiply, multiply_dense, multiply_transposed, transposed,
};
use crate::package::execute::tensor::{Data, Tensor};
use crate::package::execute::view::{StridedView, common_shape};

pub(super) fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "linear" => linear,
        "conv" => conv,
        "matmul" => matmul,
        _ => return None,
    })
}

/// The weight times each row of `x` plus the bias, `[out, rows]`. The rows are not empty.
fn weighted(args: &Arguments, weight: &MatrixWeight, x: &[f32]) -> Result<Vec<f32>> {
    let outputs = weight.shape()[0];
    let inputs: usize = weight.shape()[1..].iter().product();
    let rows = x.len() / inputs.max(1);
    args.count_products(&[outputs, inputs, rows])?;
    // The result and its transpose, and for each thread some decoded rows.
    args.allow(outputs.saturating_mul(rows), 2 * size_of::<f32>())?;
    args.allow(inputs.saturating_mul(rayon::current_num_threads()), size_of::<f32>())?;
    let mut out = match weight {
        MatrixWeight::Packed(weight) => multiply(weight, x),
        MatrixWeight::Dense(weight) => {
            let mut out = vec![0.0; outputs * rows];
            multiply_transposed(weight.as_floats()?, x, inputs, &mut out);
            out
        }
    };
    if let Some(bias) = args.tensor_or_none("bias")? {
        let bias = bias.as_floats()?;
        if bias.len() != outputs {
            return Err(Error::input(format!(
                "expected a bias of {outputs} elements, found {}",
                bias.len()
            )));
        }
        for (out, bias) in out.chunks_mut(rows.max(1)).zip(bias) {
            out.iter_mut().for_each(|value| *value += bias);
        }
    }
    Ok(out)
}

/// The error for a weight and an `x` that cannot be multiplied.
fn mismatch(weight: &MatrixWeight, x: &Tensor) -> Error {
    let (weight, x) = (weight.shape(), x.shape());
    Error::input(format!("a weight of shape {weight:?} does not fit x of shape {x:?}"))
}

/// `x` `[.., in]` times the transposed `weight` `[out, in]`, plus `bias` `[out]`.
fn linear(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let (x, weight) = (args.tensor("x")?, args.weight("weight")?);
    let (&[outputs, inputs], Some(last)) = (weight.shape(), x.shape().last()) else {
        return Err(mismatch(&weight, &x));
    };
    if *last != inputs || inputs == 0 {
        return Err(mismatch(&weight, &x));
    }
    let out = weighted(args, &weight, x.as_floats()?)?;
    let rows = out.len() / outputs.max(1);
    let mut shape = x.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    Ok(vec![Tensor::floats(shape, transposed(out, rows))?])
}

/// The convolution of `x` `[n, in, ..]` with `weight` `[out, in, 1, ..]`.
fn conv(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let (x, weight) = (args.tensor("x")?, args.weight("weight")?);
    let all = |name: &str, value: i64| -> Result<bool> {
        Ok(args.ints(name)?.is_none_or(|ints| ints.iter().all(|int| *int == value)))
    };
    let is_plain = args.int_or("groups", 1)? == 1 && all("strides", 1)? && all("pad", 0)?;
    let kernel = weight.shape().get(2..).unwrap_or_default();
    if !is_plain || kernel.is_empty() || kernel.iter().any(|len| *len != 1) {
        return Err(Error::input(format!(
            "conv is supported only with kernels of one element, one group, no stride and no padding; \
             found a weight of shape {:?}",
            weight.shape()
        )));
    }
    let &[batch, channels, ref space @ ..] = x.shape() else {
        return Err(Error::input(format!("expected rank 3 or more, found shape {:?}", x.shape())));
    };
    let [outputs, inputs, ..] = *weight.shape() else { return Ok(Vec::new()) };
    let positions: usize = space.iter().product();
    if inputs != channels || space.len() != kernel.len() || channels * positions == 0 {
        return Err(mismatch(&weight, &x));
    }
    let shape = [&[batch, outputs], space].concat();
    let mut out = Vec::with_capacity(args.allow_shape(&shape, 1)?);
    args.allow(channels * positions, 2 * size_of::<f32>())?;
    for x in x.as_floats()?.chunks(channels * positions) {
        out.extend(weighted(args, &weight, &transposed(x.to_vec(), positions))?);
    }
    Ok(vec![Tensor::floats(shape, out)?])
}

/// A stack of row-major matrices.
struct Matrices {
    /// The axes before the last two.
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
            (_, data) => Err(Error::input(format!(
                "expected floats of rank 2 or more, found {} {shape:?}",
                data.name()
            ))),
        }
    }

    /// Transposes each matrix.
    fn transposed(self) -> Self {
        let (rows, columns) = (self.columns, self.rows);
        let size = rows * columns;
        let flip = |matrix: &[f32]| transposed(matrix.to_vec(), self.columns);
        let values = self.values.chunks(size.max(1)).flat_map(flip).collect();
        Matrices { stack: self.stack, rows, columns, values }
    }

    /// For each position of the stack that the operands broadcast to, where its matrix begins.
    fn starts(&self, stack: &[usize]) -> Result<Vec<usize>> {
        let own: Vec<usize> = (0..self.stack.iter().product()).collect();
        let view = StridedView::of(&self.stack).broadcast(stack)?;
        let size = self.rows * self.columns;
        Ok(view.copy(&own).into_iter().map(|index| index * size).collect())
    }
}

fn matmul(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let flip_x = args.flag_or("transpose_x", false)?;
    let flip_y = args.flag_or("transpose_y", false)?;
    let x = Matrices::of(args.take("x")?)?;
    let y = Matrices::of(args.take("y")?)?;
    if flip_x {
        args.allow(x.values.len(), 2 * size_of::<f32>())?;
    }
    let x = if flip_x { x.transposed() } else { x };
    let (inner, columns) = if flip_y { (y.columns, y.rows) } else { (y.rows, y.columns) };
    if x.columns != inner {
        return Err(Error::input(format!(
            "a matrix of {} columns cannot be multiplied with one of {inner} rows",
            x.columns
        )));
    }
    let stack = common_shape(&x.stack, &y.stack)?;
    let shape = [stack.as_slice(), &[x.rows, columns]].concat();
    let len = args.allow_shape(&shape, 1)?;
    args.count_products(&[len, inner])?;
    // The beginnings of the matrices of both operands, before and after they are broadcast.
    args.allow(stack.iter().product(), 6 * size_of::<usize>())?;
    let mut out = vec![0.0; len];
    let starts: Vec<_> = x.starts(&stack)?.into_iter().zip(y.starts(&stack)?).collect();
    let (x_size, y_size) = (x.rows * inner, inner * columns);
    let product = |((x_start, y_start), out): (&(usize, usize), &mut [f32])| {
        let (x, y) = (&x.values[*x_start..][..x_size], &y.values[*y_start..][..y_size]);
        if flip_y {
            multiply_transposed(x, y, inner, out);
        } else {
            multiply_dense(x, y, inner, out);
        }
    };
    let size = (x.rows * columns).max(1);
    starts.par_iter().zip(out.par_chunks_mut(size)).for_each(product);
    Ok(vec![Tensor::floats(shape, out)?])
}
