//! Constants that are written into the program itself: scalars and short vectors.

use half::f16;

use super::types::TensorType;
use crate::package::spec::{
    Bools, Bytes, Content, DataType, Elements, Floats, ImmediateValue, Ints, Strings, TensorValue,
    Value,
};

/// A scalar or a small tensor. Larger constants belong in the weight file.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Literal<'a> {
    Bool(bool),
    Text(&'a str),
    Int(i32),
    Int8(i8),
    Uint8(u8),
    Float16(f16),
    Float32(f32),
    Ints(&'a [i32]),
    Uint32s(&'a [u32]),
    /// fp16 elements, row-major, and their shape.
    Halves(&'a [f16], &'a [usize]),
}

impl Literal<'_> {
    /// The type of the constant.
    pub fn kind(&self) -> TensorType {
        let (data_type, shape) = match self {
            Literal::Bool(_) => (DataType::Bool, vec![]),
            Literal::Text(_) => (DataType::String, vec![]),
            Literal::Int(_) => (DataType::Int32, vec![]),
            Literal::Int8(_) => (DataType::Int8, vec![]),
            Literal::Uint8(_) => (DataType::Uint8, vec![]),
            Literal::Float16(_) => (DataType::Float16, vec![]),
            Literal::Float32(_) => (DataType::Float32, vec![]),
            Literal::Ints(values) => (DataType::Int32, vec![values.len()]),
            Literal::Uint32s(values) => (DataType::Uint32, vec![values.len()]),
            Literal::Halves(_, shape) => (DataType::Float16, shape.to_vec()),
        };
        TensorType { data_type, shape }
    }

    /// The protobuf message.
    pub(super) fn to_spec(&self) -> Value {
        let elements = match self {
            Literal::Bool(value) => Elements::Bools(Bools { values: vec![*value] }),
            Literal::Text(value) => Elements::Strings(Strings { values: vec![(*value).into()] }),
            Literal::Int(value) => Elements::Ints(Ints { values: vec![*value] }),
            Literal::Ints(values) => Elements::Ints(Ints { values: values.to_vec() }),
            Literal::Float32(value) => Elements::Floats(Floats { values: vec![*value] }),
            Literal::Int8(value) => bytes(value.to_le_bytes().to_vec()),
            Literal::Uint8(value) => bytes(vec![*value]),
            Literal::Float16(value) => bytes(value.to_le_bytes().to_vec()),
            Literal::Uint32s(values) => {
                bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            Literal::Halves(values, _) => {
                bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
        };
        let tensor = Some(TensorValue { elements: Some(elements) });
        let content = Some(Content::Immediate(ImmediateValue { tensor }));
        Value { kind: Some(self.kind().to_spec()), content }
    }
}

fn bytes(values: Vec<u8>) -> Elements {
    Elements::Bytes(Bytes { values })
}
