//! The types of values, and the operator sets that a function can use.

use std::fmt;

use crate::error::{Error, Result};
use crate::package::spec::{
    ConstantDimension, DataType, Dimension, StateType, TensorType as Tensor, TypeOf, ValueType,
};

/// The type of a tensor with a fixed shape; a scalar has the shape `[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// The type of its elements.
    pub data_type: DataType,
    /// The length of every axis.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A tensor of `shape`.
    pub fn new(data_type: DataType, shape: impl Into<Vec<usize>>) -> Self {
        TensorType { data_type, shape: shape.into() }
    }

    /// The number of elements; `None` if it overflows.
    pub fn elements(&self) -> Option<u64> {
        let mut lengths = self.shape.iter().map(|len| *len as u64);
        lengths.try_fold(1, |elements: u64, len| elements.checked_mul(len))
    }

    /// The protobuf message.
    pub fn to_spec(&self) -> ValueType {
        let dimension = |len: &usize| Dimension {
            constant: Some(ConstantDimension { size: *len as u64 }),
            unknown: None,
        };
        let tensor = Tensor {
            data_type: self.data_type.into(),
            rank: self.shape.len() as i64,
            dimensions: self.shape.iter().map(dimension).collect(),
        };
        ValueType { of: Some(TypeOf::Tensor(tensor)) }
    }

    /// The protobuf message for a state that holds such a tensor.
    pub(super) fn to_state_spec(&self) -> ValueType {
        let wrapped = Some(Box::new(self.to_spec()));
        ValueType { of: Some(TypeOf::State(Box::new(StateType { wrapped }))) }
    }
}

impl fmt::Display for TensorType {
    /// `fp16[1,64]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{}[{}]", type_name(self.data_type), shape.join(","))
    }
}

/// The name of a type in string parameters of operators and in messages.
pub(super) fn type_name(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Unused => "unused",
        DataType::Bool => "bool",
        DataType::String => "string",
        DataType::Float16 => "fp16",
        DataType::Float32 => "fp32",
        DataType::Float64 => "fp64",
        DataType::Bfloat16 => "bf16",
        DataType::Int8 => "int8",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::Int4 => "int4",
        DataType::Uint8 => "uint8",
        DataType::Uint16 => "uint16",
        DataType::Uint32 => "uint32",
        DataType::Uint64 => "uint64",
        DataType::Uint4 => "uint4",
        DataType::Uint2 => "uint2",
        DataType::Uint1 => "uint1",
        DataType::Uint6 => "uint6",
        DataType::Uint3 => "uint3",
    }
}

/// The operator set of a function, named after the first system that runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Opset {
    /// iOS 17 and macOS 14: no states, one function per package, one table per tensor, scales per
    /// tensor or channel.
    Ios17,
    /// iOS 18 and macOS 15: states, several functions per package, several tables per tensor, types
    /// of less than a byte.
    Ios18,
}

impl Opset {
    /// The name in a program.
    pub fn name(self) -> &'static str {
        match self {
            Opset::Ios17 => "CoreML7",
            Opset::Ios18 => "CoreML8",
        }
    }

    /// The format version of a model whose functions use it.
    pub fn specification_version(self) -> i32 {
        match self {
            Opset::Ios17 => 8,
            Opset::Ios18 => 9,
        }
    }
}

impl Opset {
    /// Both operator sets.
    pub const ALL: [Opset; 2] = [Opset::Ios17, Opset::Ios18];

    /// The name on the command line and in `model.json`.
    pub fn id(self) -> &'static str {
        match self {
            Opset::Ios17 => "ios17",
            Opset::Ios18 => "ios18",
        }
    }
}

impl std::str::FromStr for Opset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Opset::ALL.into_iter().find(|opset| opset.id() == text);
        found.ok_or_else(|| Error::input(format!("expected ios17 or ios18, found {text}")))
    }
}

impl fmt::Display for Opset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Opset::Ios17 => "iOS 17",
            Opset::Ios18 => "iOS 18",
        })
    }
}
