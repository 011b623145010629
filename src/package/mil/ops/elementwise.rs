//! Element-wise operators.

use half::f16;

use crate::error::Result;
use crate::package::mil::call::{FLOATS, NUMBERS};
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::literal::Literal;
use crate::package::mil::shape::broadcast;
use crate::package::mil::types::type_name;
use crate::package::mil::value::Value;
use crate::package::spec::DataType;

/// Defines operators whose only parameter is `x`, fp16 or fp32.
macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident;)*) => { impl FunctionBuilder {$(
        $(#[$doc])*
        ///
        /// The result has the shape and type of `x`. Returns a bug-class error unless `x` is fp16
        /// or fp32.
        pub fn $name(&mut self, x: &Value) -> Result<Value> {
            let call = self.op(stringify!($name))?.typed("x", x, FLOATS)?;
            Ok(call.makes(x.data_type(), x.shape()))
        }
    )*}};
}

/// Defines operators with the parameters `x` and `y`, whose shapes broadcast.
macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident;)*) => { impl FunctionBuilder {$(
        $(#[$doc])*
        ///
        /// Shapes broadcast. Returns a bug-class error unless both are fp16, fp32 or int32 and have
        /// the same type.
        pub fn $name(&mut self, x: &Value, y: &Value) -> Result<Value> {
            self.pairwise(stringify!($name), x, y)
        }
    )*}};
}

unary! {
    /// `1 / (1 + e^-x)`.
    sigmoid;
    /// `x * sigmoid(x)`.
    silu;
    /// `tanh(x)`.
    tanh;
    /// `max(x, 0)`.
    relu;
    /// `e^x`.
    exp;
    /// `ln(1 + e^x)`.
    softplus;
}

binary! {
    /// `x + y`.
    add;
    /// `x - y`.
    sub;
    /// `x * y`.
    mul;
    /// `x / y`.
    real_div;
}

impl FunctionBuilder {
    fn pairwise(&mut self, kind: &str, x: &Value, y: &Value) -> Result<Value> {
        let call = self.op(kind)?.typed("x", x, NUMBERS)?.typed("y", y, &[x.data_type()])?;
        match broadcast(x.shape(), y.shape()) {
            Some(shape) => Ok(call.makes(x.data_type(), shape)),
            None => Err(call.refuse(
                "y",
                format!("a shape that broadcasts with {}", x.kind()),
                y.kind(),
            )),
        }
    }

    /// `x` times a number, which is written in the type of `x`.
    pub fn mul_by(&mut self, x: &Value, factor: f32) -> Result<Value> {
        let call = self.op("mul")?.typed("x", x, FLOATS)?.float("y", factor, x.data_type())?;
        Ok(call.makes(x.data_type(), x.shape()))
    }

    /// `x` plus a number, which is written in the type of `x`.
    pub fn add_to(&mut self, x: &Value, summand: f32) -> Result<Value> {
        let call = self.op("add")?.typed("x", x, FLOATS)?.float("y", summand, x.data_type())?;
        Ok(call.makes(x.data_type(), x.shape()))
    }

    /// `x` clamped to `alpha..=beta`. Returns a bug-class error unless `alpha < beta`.
    pub fn clip(&mut self, x: &Value, alpha: f32, beta: f32) -> Result<Value> {
        let call = self
            .op("clip")?
            .typed("x", x, FLOATS)?
            .check(alpha < beta, "alpha", format!("less than beta ({beta})"), alpha)?
            .float("alpha", alpha, x.data_type())?
            .float("beta", beta, x.data_type())?;
        Ok(call.makes(x.data_type(), x.shape()))
    }

    /// GELU, by the error function or by its approximation with tanh.
    pub fn gelu(&mut self, x: &Value, by_tanh: bool) -> Result<Value> {
        let mode = if by_tanh { "TANH_APPROXIMATION" } else { "EXACT" };
        let call = self.op("gelu")?.typed("x", x, FLOATS)?.literal("mode", Literal::Text(mode));
        Ok(call.makes(x.data_type(), x.shape()))
    }

    /// The value `x` under another name.
    pub fn identity(&mut self, x: &Value) -> Result<Value> {
        Ok(self.op("identity")?.value("x", x)?.makes(x.data_type(), x.shape()))
    }

    /// `x` (fp16) as int8: `round(x / scale)`, clamped to the range of int8.
    pub fn quantize(&mut self, x: &Value, scale: f16) -> Result<Value> {
        let call = self
            .op("quantize")?
            .typed("input", x, &[DataType::Float16])?
            .float("scale", scale.to_f32(), DataType::Float16)?
            .check(scale != f16::ZERO, "scale", "a number other than 0", scale)?
            .literal("zero_point", Literal::Int8(0))
            .literal("output_dtype", Literal::Text(type_name(DataType::Int8)));
        Ok(call.makes(DataType::Int8, x.shape()))
    }

    /// `x` (int8) as fp16: `scale * x`.
    pub fn dequantize(&mut self, x: &Value, scale: f16) -> Result<Value> {
        let call = self
            .op("dequantize")?
            .typed("input", x, &[DataType::Int8])?
            .float("scale", scale.to_f32(), DataType::Float16)?
            .literal("zero_point", Literal::Int8(0));
        Ok(call.makes(DataType::Float16, x.shape()))
    }
}
