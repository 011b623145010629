//! Matrix products, convolution and attention.

use half::f16;

use crate::error::Result;
use crate::package::mil::call::{FLOATS, NUMBERS};
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::literal::Literal;
use crate::package::mil::shape::broadcast;
use crate::package::mil::value::Value;
use crate::package::spec::DataType;

impl FunctionBuilder {
    /// `x [.., in]` times the transposed `weight [out, in]`: `[.., out]`. The operator requires a
    /// bias, so zeros are written into the program, once per length. `x` and `weight` must be fp16,
    /// and `weight` a constant.
    pub fn linear(&mut self, x: &Value, weight: &Value) -> Result<Value> {
        let of = DataType::Float16;
        let call = self.op("linear")?.typed("x", x, &[of])?.constant("weight", weight, of)?;
        let (Some((inputs, rest)), [out, columns]) = (x.shape().split_last(), weight.shape())
        else {
            return Err(call.refuse("weight", "[out, in]", weight.kind()));
        };
        let expected = format!("[out, {inputs}]");
        let call = call.check(columns == inputs, "weight", expected, weight.kind())?;
        let call = call.literal("bias", Literal::Halves(&vec![f16::ZERO; *out], &[*out]));
        Ok(call.makes(of, [rest, &[*out]].concat()))
    }

    /// The convolution of `x [n, in, height, width]` with the 1×1 kernels `weight [out, in, 1, 1]`:
    /// `[n, out, height, width]`. `weight` must be a constant of the type of `x`.
    pub fn conv(&mut self, x: &Value, weight: &Value) -> Result<Value> {
        let of = x.data_type();
        let call = self.op("conv")?.typed("x", x, FLOATS)?.constant("weight", weight, of)?;
        let ([n, inputs, height, width], [out, channels, 1, 1]) = (x.shape(), weight.shape())
        else {
            return Err(call.refuse("weight", "[out, in, 1, 1]", weight.kind()));
        };
        let expected = format!("[out, {inputs}, 1, 1]");
        let call = call
            .check(channels == inputs, "weight", expected, weight.kind())?
            .literal("strides", Literal::Ints(&[1; 2]))
            .literal("pad_type", Literal::Text("valid"))
            .literal("pad", Literal::Ints(&[0; 4]))
            .literal("dilations", Literal::Ints(&[1; 2]))
            .literal("groups", Literal::Int(1));
        Ok(call.makes(of, vec![*n, *out, *height, *width]))
    }

    /// `x [.., m, k]` times `y [.., k, n]`, or `y [.., n, k]` if `transpose_y`: `[.., m, n]`. The
    /// axes before the last two broadcast.
    pub fn matmul(&mut self, x: &Value, y: &Value, transpose_y: bool) -> Result<Value> {
        let call = self.op("matmul")?.typed("x", x, NUMBERS)?.typed("y", y, &[x.data_type()])?;
        let call = call
            .literal("transpose_x", Literal::Bool(false))
            .literal("transpose_y", Literal::Bool(transpose_y));
        match product(x.shape(), y.shape(), transpose_y) {
            Some(shape) => Ok(call.makes(x.data_type(), shape)),
            None => {
                let expected = format!("a matrix that multiplies with {}", x.kind());
                Err(call.refuse("y", expected, y.kind()))
            }
        }
    }

    /// `softmax(query · keyᵀ / sqrt(E) + attn_mask) · value`: `[.., L, EV]`. `query [.., L, E]`,
    /// `key [.., S, E]` and `value [.., S, EV]` agree in all axes before the last two; `attn_mask`
    /// broadcasts to `[.., L, S]`. From iOS 18.
    pub fn scaled_dot_product_attention(
        &mut self,
        query: &Value,
        key: &Value,
        value: &Value,
        attn_mask: &Value,
    ) -> Result<Value> {
        let of = [query.data_type()];
        let call = self
            .op("scaled_dot_product_attention")?
            .typed("query", query, FLOATS)?
            .typed("key", key, &of)?
            .typed("value", value, &of)?
            .check(query.rank() >= 3, "query", "rank 3 or more", query.kind())?;
        let scores = product(query.shape(), key.shape(), true);
        let batch = |value: &Value| value.shape()[..value.rank().saturating_sub(2)].to_vec();
        let Some(scores) = scores.filter(|_| batch(query) == batch(key)) else {
            let expected = format!("[.., S, E] of {}", query.kind());
            return Err(call.refuse("key", expected, key.kind()));
        };
        let Some(shape) =
            product(&scores, value.shape(), false).filter(|_| batch(query) == batch(value))
        else {
            let expected = format!("[.., S, EV] of {}", key.kind());
            return Err(call.refuse("value", expected, value.kind()));
        };
        let fits = broadcast(attn_mask.shape(), &scores).as_ref() == Some(&scores);
        let call = call.typed("attn_mask", attn_mask, &[of[0], DataType::Bool])?.check(
            fits,
            "attn_mask",
            format!("a shape that broadcasts to {scores:?}"),
            attn_mask.kind(),
        )?;
        Ok(call.makes(of[0], shape))
    }
}

/// The shape of a product of matrices; `None` if the operands do not fit.
fn product(x: &[usize], y: &[usize], transpose_y: bool) -> Option<Vec<usize>> {
    let (x_batch, x) = x.split_last_chunk::<2>()?;
    let (y_batch, y) = y.split_last_chunk::<2>()?;
    let [m, k] = *x;
    let [rows, n] = if transpose_y { [y[1], y[0]] } else { *y };
    let mut shape = broadcast(x_batch, y_batch).filter(|_| k == rows)?;
    shape.extend([m, n]);
    Some(shape)
}
