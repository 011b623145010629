//! Products of matrices, convolution and attention.

use half::f16;

use crate::error::Result;
use crate::package::mil::call::{FLOATS, NUMBERS};
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::literal::Literal;
use crate::package::mil::shape::{broadcast, ints};
use crate::package::mil::value::Value;
use crate::package::spec::DataType;

/// The parameters of a two-dimensional convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Steps along height and width.
    pub strides: [usize; 2],
    /// Zeros before and after each height, before and after each width.
    pub pad: [usize; 4],
    /// Distances of the kernel's elements.
    pub dilations: [usize; 2],
    /// Into how many independent parts the channels fall.
    pub groups: usize,
}

impl Default for Convolution {
    /// A plain one: every step 1, no padding.
    fn default() -> Self {
        Convolution { strides: [1; 2], pad: [0; 4], dilations: [1; 2], groups: 1 }
    }
}

impl Convolution {
    /// The length of an output axis; nothing where the kernel does not fit.
    fn out_len(&self, axis: usize, len: usize, kernel: usize) -> Option<usize> {
        let reach = self.dilations[axis] * kernel.checked_sub(1)? + 1;
        let padded = len + self.pad[2 * axis] + self.pad[2 * axis + 1];
        Some(padded.checked_sub(reach)?.checked_div(self.strides[axis])? + 1)
    }

    /// The output `[n, out, height, width]` of `[n, in, height, width]` under a weight
    /// `[out, in / groups, kernel height, kernel width]`.
    fn out_shape(&self, x: &[usize], weight: &[usize]) -> Option<Vec<usize>> {
        let ([n, inputs, height, width], [out, per_group, rows, columns]) = (x, weight) else {
            return None;
        };
        let fits = self.groups > 0 && out % self.groups == 0 && per_group * self.groups == *inputs;
        let lens = (self.out_len(0, *height, *rows)?, self.out_len(1, *width, *columns)?);
        fits.then(|| vec![*n, *out, lens.0, lens.1])
    }
}

impl FunctionBuilder {
    /// `x [.., in]` times `weight [out, in]` transposed, plus `bias [out]`: `[.., out]`. Without a
    /// bias one of zeros is written into the program, once per length. Weight and bias must be
    /// constants of the type of `x`.
    pub fn linear(&mut self, x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
        let of = x.data_type();
        let call = self.op("linear")?.typed("x", x, FLOATS)?.constant("weight", weight, of)?;
        let (Some((inputs, rest)), [out, columns]) = (x.shape().split_last(), weight.shape())
        else {
            return Err(call.refuse("weight", "[out, in]", weight.kind()));
        };
        let expected = format!("[out, {inputs}]");
        let call = call.check(columns == inputs, "weight", expected, weight.kind())?;
        let call = match bias {
            Some(bias) => call.constant("bias", bias, of)?.check(
                bias.shape() == [*out],
                "bias",
                format!("[{out}]"),
                bias.kind(),
            )?,
            None => {
                let expected = "given, because only fp16 zeros are made here";
                let call = call.check(of == DataType::Float16, "bias", expected, x.kind())?;
                call.literal("bias", Literal::Halves(&vec![f16::ZERO; *out], &[*out]))
            }
        };
        Ok(call.makes(of, [rest, &[*out]].concat()))
    }

    /// The two-dimensional convolution of `x [n, in, height, width]` with
    /// `weight [out, in / groups, rows, columns]`, plus `bias [out]` where there is one.
    pub fn conv(
        &mut self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        how: Convolution,
    ) -> Result<Value> {
        let of = x.data_type();
        let mut call = self.op("conv")?.typed("x", x, FLOATS)?.constant("weight", weight, of)?;
        let Some(shape) = how.out_shape(x.shape(), weight.shape()) else {
            let expected = format!("[out, in, rows, columns] that fits {} and {how:?}", x.kind());
            return Err(call.refuse("weight", expected, weight.kind()));
        };
        if let Some(bias) = bias {
            let expected = format!("[{}]", shape[1]);
            call = call.constant("bias", bias, of)?.check(
                bias.shape() == [shape[1]],
                "bias",
                expected,
                bias.kind(),
            )?;
        }
        let pad_type = if how.pad == [0; 4] { "valid" } else { "custom" };
        let call = call
            .literal("strides", Literal::Ints(&ints(&how.strides)))
            .literal("pad_type", Literal::Text(pad_type))
            .literal("pad", Literal::Ints(&ints(&how.pad)))
            .literal("dilations", Literal::Ints(&ints(&how.dilations)))
            .literal("groups", Literal::Int(ints(&[how.groups])[0]));
        Ok(call.makes(of, shape))
    }

    /// `x [.., m, k]` times `y [.., k, n]`: `[.., m, n]`, where a transposed one has its last two
    /// axes exchanged. The axes before them broadcast.
    pub fn matmul(
        &mut self,
        x: &Value,
        y: &Value,
        transpose_x: bool,
        transpose_y: bool,
    ) -> Result<Value> {
        let call = self.op("matmul")?.typed("x", x, NUMBERS)?.typed("y", y, &[x.data_type()])?;
        let call = call
            .literal("transpose_x", Literal::Bool(transpose_x))
            .literal("transpose_y", Literal::Bool(transpose_y));
        match product(x.shape(), y.shape(), transpose_x, transpose_y) {
            Some(shape) => Ok(call.makes(x.data_type(), shape)),
            None => {
                let expected = format!("a matrix that multiplies with {}", x.kind());
                Err(call.refuse("y", expected, y.kind()))
            }
        }
    }

    /// `softmax(query · keyᵀ / sqrt(E) + attn_mask) · value` with `query [.., L, E]`,
    /// `key [.., S, E]`, `value [.., S, EV]`, which agree in all axes before; `attn_mask`
    /// broadcasts to `[.., L, S]`. Makes `[.., L, EV]`. From iOS 18.
    pub fn scaled_dot_product_attention(
        &mut self,
        query: &Value,
        key: &Value,
        value: &Value,
        attn_mask: Option<&Value>,
    ) -> Result<Value> {
        let of = [query.data_type()];
        let mut call = self
            .op("scaled_dot_product_attention")?
            .typed("query", query, FLOATS)?
            .typed("key", key, &of)?
            .typed("value", value, &of)?
            .check(query.rank() >= 3, "query", "rank 3 or more", query.kind())?;
        let scores = product(query.shape(), key.shape(), false, true);
        let batch = |value: &Value| value.shape()[..value.rank().saturating_sub(2)].to_vec();
        let Some(scores) = scores.filter(|_| batch(query) == batch(key)) else {
            let expected = format!("[.., S, E] of {}", query.kind());
            return Err(call.refuse("key", expected, key.kind()));
        };
        let Some(shape) =
            product(&scores, value.shape(), false, false).filter(|_| batch(query) == batch(value))
        else {
            let expected = format!("[.., S, EV] of {}", key.kind());
            return Err(call.refuse("value", expected, value.kind()));
        };
        if let Some(mask) = attn_mask {
            let fits = broadcast(mask.shape(), &scores).as_ref() == Some(&scores);
            call = call.typed("attn_mask", mask, &[of[0], DataType::Bool])?.check(
                fits,
                "attn_mask",
                format!("broadcasts to {scores:?}"),
                mask.kind(),
            )?;
        }
        Ok(call.makes(of[0], shape))
    }
}

/// The shape of a product of matrices; nothing where they do not fit.
fn product(x: &[usize], y: &[usize], transpose_x: bool, transpose_y: bool) -> Option<Vec<usize>> {
    let (x_batch, x) = x.split_last_chunk::<2>()?;
    let (y_batch, y) = y.split_last_chunk::<2>()?;
    let [m, k] = if transpose_x { [x[1], x[0]] } else { *x };
    let [rows, n] = if transpose_y { [y[1], y[0]] } else { *y };
    let mut shape = broadcast(x_batch, y_batch).filter(|_| k == rows)?;
    shape.extend([m, n]);
    Some(shape)
}
