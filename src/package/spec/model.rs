//! The messages that describe a model: `Model.proto` and `FeatureTypes.proto`.

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

use super::Program;

/// `CoreML.Specification.Model`.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    /// The lowest format version that can hold the model: 8 is iOS 17, 9 is iOS 18.
    #[prost(int32, tag = "1")]
    pub specification_version: i32,
    /// The model's inputs and outputs.
    #[prost(message, optional, tag = "2")]
    pub description: Option<ModelDescription>,
    /// The program; `None` if the model is not an ML Program.
    #[prost(message, optional, tag = "502")]
    pub program: Option<Program>,
}

/// `CoreML.Specification.ModelDescription`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelDescription {
    /// The inputs, if there is only one function.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<FeatureDescription>,
    /// The outputs, if there is only one function.
    #[prost(message, repeated, tag = "10")]
    pub outputs: Vec<FeatureDescription>,
    /// The states, if there is only one function.
    #[prost(message, repeated, tag = "13")]
    pub states: Vec<FeatureDescription>,
    /// One description per function, if there are several. The fields above are then empty.
    #[prost(message, repeated, tag = "20")]
    pub functions: Vec<FunctionDescription>,
    /// The name of the default function; empty if there is only one function.
    #[prost(string, tag = "21")]
    pub default_function_name: String,
    /// Free text about the model.
    #[prost(message, optional, tag = "100")]
    pub metadata: Option<Metadata>,
}

/// `CoreML.Specification.FunctionDescription`.
#[derive(Clone, PartialEq, Message)]
pub struct FunctionDescription {
    /// The function's key in the program.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The input tensors.
    #[prost(message, repeated, tag = "2")]
    pub inputs: Vec<FeatureDescription>,
    /// The output tensors.
    #[prost(message, repeated, tag = "3")]
    pub outputs: Vec<FeatureDescription>,
    /// The states, which stay between calls.
    #[prost(message, repeated, tag = "6")]
    pub states: Vec<FeatureDescription>,
}

/// `CoreML.Specification.FeatureDescription`.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureDescription {
    /// The value's name in the program.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A description for people.
    #[prost(string, tag = "2")]
    pub short_description: String,
    /// Its type.
    #[prost(message, optional, tag = "3")]
    pub kind: Option<FeatureType>,
}

/// `CoreML.Specification.Metadata`.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// What the model is, for people.
    #[prost(string, tag = "1")]
    pub short_description: String,
    /// The model's version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// The author of the model.
    #[prost(string, tag = "3")]
    pub author: String,
    /// The licence of the weights.
    #[prost(string, tag = "4")]
    pub license: String,
    /// Additional keys and values for tools.
    #[prost(btree_map = "string, string", tag = "100")]
    pub user_defined: BTreeMap<String, String>,
}

/// `CoreML.Specification.FeatureType`: a tensor or a state; exactly one field is set.
#[derive(Clone, PartialEq, Message)]
pub struct FeatureType {
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub multi_array: Option<ArrayFeatureType>,
    /// A state, which stays between calls.
    #[prost(message, optional, tag = "8")]
    pub state: Option<StateFeatureType>,
}

/// `CoreML.Specification.ArrayFeatureType` with a fixed shape.
#[derive(Clone, PartialEq, Message)]
pub struct ArrayFeatureType {
    /// The shape; `[1]` for a scalar.
    #[prost(int64, repeated, tag = "1")]
    pub shape: Vec<i64>,
    /// The type of its elements.
    #[prost(enumeration = "ArrayDataType", tag = "2")]
    pub data_type: i32,
}

/// `CoreML.Specification.StateFeatureType`.
#[derive(Clone, PartialEq, Message)]
pub struct StateFeatureType {
    /// The state's shape and type, which is always fp16.
    #[prost(message, optional, tag = "1")]
    pub array: Option<ArrayFeatureType>,
}

/// The element types of inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum ArrayDataType {
    /// No type.
    Invalid = 0,
    /// IEEE half precision, from version 7.
    Float16 = 65552,
    /// IEEE single precision.
    Float32 = 65568,
    /// IEEE double precision.
    Double = 65600,
    /// Signed bytes, from version 10.
    Int8 = 131_080,
    /// Signed 32-bit integers.
    Int32 = 131_104,
}
