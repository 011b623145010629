//! Operators that work element by element.

use half::f16;

use super::layout::PLAIN;
use crate::error::Result;
use crate::package::mil::call::{FLOATS, NUMBERS};
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::literal::Literal;
use crate::package::mil::shape::broadcast;
use crate::package::mil::types::type_name;
use crate::package::mil::value::Value;
use crate::package::spec::DataType;

/// Defines operators with the one parameter `x`, fp16 or fp32.
macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident;)*) => { impl FunctionBuilder {$(
        $(#[$doc])*
        ///
        /// Shape and type stay. Fails (bug) unless `x` is fp16 or fp32.
        pub fn $name(&mut self, x: &Value) -> Result<Value> {
            let call = self.op(stringify!($name))?.typed("x", x, FLOATS)?;
            Ok(call.makes(x.data_type(), x.shape()))
        }
    )*}};
}

/// Defines operators with the parameters `x` and `y`, which broadcast.
macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident;)*) => { impl FunctionBuilder {$(
        $(#[$doc])*
        ///
        /// Shapes broadcast. Fails (bug) unless both are fp16, fp32 or int32 and of one type.
        pub fn $name(&mut self, x: &Value, y: &Value) -> Result<Value> {
            self.pairwise(stringify!($name), x, y, x.data_type())
        }
    )*}};
}

unary! {
    /// `e^x`.
    exp;
    /// `1 / (1 + e^-x)`.
    sigmoid;
    /// `x * sigmoid(x)`.
    silu;
    /// The square root.
    sqrt;
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
    /// The larger of both.
    maximum;
    /// The smaller of both.
    minimum;
}

impl FunctionBuilder {
    /// `x >= y` as bool. Shapes broadcast. Fails (bug) unless both are numbers of one type.
    pub fn greater_equal(&mut self, x: &Value, y: &Value) -> Result<Value> {
        self.pairwise("greater_equal", x, y, DataType::Bool)
    }

    /// `x < y` as bool. Shapes broadcast. Fails (bug) unless both are numbers of one type.
    pub fn less(&mut self, x: &Value, y: &Value) -> Result<Value> {
        self.pairwise("less", x, y, DataType::Bool)
    }

    fn pairwise(&mut self, kind: &str, x: &Value, y: &Value, makes: DataType) -> Result<Value> {
        let call = self.op(kind)?.typed("x", x, NUMBERS)?.typed("y", y, &[x.data_type()])?;
        match broadcast(x.shape(), y.shape()) {
            Some(shape) => Ok(call.makes(makes, shape)),
            None => Err(call.refuse(
                "y",
                format!("a shape that broadcasts with {}", x.kind()),
                y.kind(),
            )),
        }
    }

    /// `x` times a number in its type.
    pub fn mul_by(&mut self, x: &Value, factor: f32) -> Result<Value> {
        let call = self.op("mul")?.typed("x", x, FLOATS)?.float("y", factor, x.data_type())?;
        Ok(call.makes(x.data_type(), x.shape()))
    }

    /// `x` plus a number in its type.
    pub fn add_to(&mut self, x: &Value, summand: f32) -> Result<Value> {
        let call = self.op("add")?.typed("x", x, FLOATS)?.float("y", summand, x.data_type())?;
        Ok(call.makes(x.data_type(), x.shape()))
    }

    /// `1 / sqrt(x + epsilon)`. Fails (bug) when `epsilon` is 0 in the type of `x`.
    pub fn rsqrt(&mut self, x: &Value, epsilon: f32) -> Result<Value> {
        let call = self.op("rsqrt")?.typed("x", x, FLOATS)?;
        Ok(call.float("epsilon", epsilon, x.data_type())?.makes(x.data_type(), x.shape()))
    }

    /// `x` held between `alpha` and `beta`. Fails (bug) unless `alpha` is smaller.
    pub fn clip(&mut self, x: &Value, alpha: f32, beta: f32) -> Result<Value> {
        let call = self
            .op("clip")?
            .typed("x", x, FLOATS)?
            .check(alpha < beta, "alpha", format!("less than beta ({beta})"), alpha)?
            .float("alpha", alpha, x.data_type())?
            .float("beta", beta, x.data_type())?;
        Ok(call.makes(x.data_type(), x.shape()))
    }

    /// `a` where `cond` (bool) holds, else `b`. Shapes broadcast.
    pub fn select(&mut self, cond: &Value, a: &Value, b: &Value) -> Result<Value> {
        let call = self
            .op("select")?
            .typed("cond", cond, &[DataType::Bool])?
            .typed("a", a, NUMBERS)?
            .typed("b", b, &[a.data_type()])?;
        let shape = broadcast(a.shape(), b.shape());
        match shape.and_then(|shape| broadcast(&shape, cond.shape())) {
            Some(shape) => Ok(call.makes(a.data_type(), shape)),
            None => Err(call.refuse("b", format!("a shape that fits {}", a.kind()), b.kind())),
        }
    }

    /// `x` in another type: fp16, fp32, int32, int16, uint16, int8, uint8 or bool.
    pub fn cast(&mut self, x: &Value, data_type: DataType) -> Result<Value> {
        let name = type_name(data_type);
        let call = self
            .op("cast")?
            .typed("x", x, PLAIN)?
            .check(PLAIN.contains(&data_type), "dtype", "a type that can be cast to", name)?
            .literal("dtype", Literal::Text(name));
        Ok(call.makes(data_type, x.shape()))
    }

    /// The same value under another name.
    pub fn identity(&mut self, x: &Value) -> Result<Value> {
        Ok(self.op("identity")?.value("x", x)?.makes(x.data_type(), x.shape()))
    }

    /// `x` (fp16) as int8: `round(x / scale) + zero_point`, held to the range of int8.
    pub fn quantize(&mut self, x: &Value, scale: f16, zero_point: i8) -> Result<Value> {
        let call = self
            .op("quantize")?
            .typed("input", x, &[DataType::Float16])?
            .float("scale", scale.to_f32(), DataType::Float16)?
            .check(scale != f16::ZERO, "scale", "a number other than 0", scale)?
            .literal("zero_point", Literal::Int8(zero_point))
            .literal("output_dtype", Literal::Text(type_name(DataType::Int8)));
        Ok(call.makes(DataType::Int8, x.shape()))
    }

    /// `x` (int8) as fp16: `scale * (x - zero_point)`.
    pub fn dequantize(&mut self, x: &Value, scale: f16, zero_point: i8) -> Result<Value> {
        let call = self
            .op("dequantize")?
            .typed("input", x, &[DataType::Int8])?
            .float("scale", scale.to_f32(), DataType::Float16)?
            .literal("zero_point", Literal::Int8(zero_point));
        Ok(call.makes(DataType::Float16, x.shape()))
    }
}
