//! The messages of a program: `MIL.proto`.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

/// `MILSpec.Program`.
#[derive(Clone, PartialEq, Message)]
pub struct Program {
    /// Always 1.
    #[prost(int64, tag = "1")]
    pub version: i64,
    /// Functions by name.
    #[prost(btree_map = "string, message", tag = "2")]
    pub functions: BTreeMap<String, Function>,
    /// Additional information for tools, such as `buildInfo`.
    #[prost(btree_map = "string, message", tag = "4")]
    pub attributes: BTreeMap<String, Value>,
}

/// `MILSpec.Function`.
#[derive(Clone, PartialEq, Message)]
pub struct Function {
    /// Input tensors and states.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<NamedValueType>,
    /// The operator set, for example `CoreML8`. It is the key of the block to use.
    #[prost(string, tag = "2")]
    pub opset: String,
    /// The function's body for each operator set.
    #[prost(btree_map = "string, message", tag = "3")]
    pub block_specializations: BTreeMap<String, Block>,
}

/// `MILSpec.Block`.
#[derive(Clone, PartialEq, Message)]
pub struct Block {
    /// Values that the operation with this block passes in.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<NamedValueType>,
    /// The names of the block's outputs.
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    /// The operations, in an order in which every value is defined before it is used.
    #[prost(message, repeated, tag = "3")]
    pub operations: Vec<Operation>,
}

/// `MILSpec.Operation`.
#[derive(Clone, PartialEq, Message)]
pub struct Operation {
    /// The operator, for example `linear`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Arguments by parameter name.
    #[prost(btree_map = "string, message", tag = "2")]
    pub inputs: BTreeMap<String, Argument>,
    /// The values that it defines.
    #[prost(message, repeated, tag = "3")]
    pub outputs: Vec<NamedValueType>,
    /// Nested blocks of control flow.
    #[prost(message, repeated, tag = "4")]
    pub blocks: Vec<Block>,
    /// `name`, and `val` of constants.
    #[prost(btree_map = "string, message", tag = "5")]
    pub attributes: BTreeMap<String, Value>,
}

/// `MILSpec.Argument`: one binding, or several if the parameter takes a list.
#[derive(Clone, PartialEq, Message)]
pub struct Argument {
    /// The bound values, in order.
    #[prost(message, repeated, tag = "1")]
    pub bindings: Vec<Binding>,
}

/// `MILSpec.Argument.Binding`.
#[derive(Clone, PartialEq, Message)]
pub struct Binding {
    /// A name or a value.
    #[prost(oneof = "Bound", tags = "1, 2")]
    pub bound: Option<Bound>,
}

/// What a parameter is bound to.
#[derive(Clone, PartialEq, Oneof)]
pub enum Bound {
    /// An input, or a value that was defined earlier.
    #[prost(string, tag = "1")]
    Name(String),
    /// A literal.
    #[prost(message, tag = "2")]
    Value(Value),
}

/// `MILSpec.NamedValueType`.
#[derive(Clone, PartialEq, Message)]
pub struct NamedValueType {
    /// The value's name, unique in its function.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub kind: Option<ValueType>,
}

/// `MILSpec.ValueType`.
#[derive(Clone, PartialEq, Message)]
pub struct ValueType {
    /// A tensor or a state; lists, tuples and dictionaries are not used.
    #[prost(oneof = "TypeOf", tags = "1, 5")]
    pub of: Option<TypeOf>,
}

/// The kinds of types.
#[derive(Clone, PartialEq, Oneof)]
pub enum TypeOf {
    /// A tensor, or a scalar as a tensor of rank 0.
    #[prost(message, tag = "1")]
    Tensor(TensorType),
    /// A state around a tensor.
    #[prost(message, boxed, tag = "5")]
    State(Box<StateType>),
}

/// `MILSpec.StateType`.
#[derive(Clone, PartialEq, Message)]
pub struct StateType {
    /// The tensor within.
    #[prost(message, optional, boxed, tag = "1")]
    pub wrapped: Option<Box<ValueType>>,
}

/// `MILSpec.TensorType`.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// The type of its elements.
    #[prost(enumeration = "DataType", tag = "1")]
    pub data_type: i32,
    /// The number of dimensions.
    #[prost(int64, tag = "2")]
    pub rank: i64,
    /// One per axis.
    #[prost(message, repeated, tag = "3")]
    pub dimensions: Vec<Dimension>,
}

/// `MILSpec.Dimension`: a fixed or an unknown length; exactly one field is set.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// A fixed length.
    #[prost(message, optional, tag = "1")]
    pub constant: Option<ConstantDimension>,
    /// An unknown length.
    #[prost(message, optional, tag = "2")]
    pub unknown: Option<UnknownDimension>,
}

/// `MILSpec.Dimension.ConstantDimension`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ConstantDimension {
    /// The length.
    #[prost(uint64, tag = "1")]
    pub size: u64,
}

/// `MILSpec.Dimension.UnknownDimension`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct UnknownDimension {
    /// Whether it stands for any number of axes.
    #[prost(bool, tag = "1")]
    pub variadic: bool,
}

/// `MILSpec.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are the format's own")]
pub enum DataType {
    Unused = 0,
    Bool = 1,
    String = 2,
    Float16 = 10,
    Float32 = 11,
    Float64 = 12,
    Bfloat16 = 13,
    Int8 = 21,
    Int16 = 22,
    Int32 = 23,
    Int64 = 24,
    Int4 = 25,
    Uint8 = 31,
    Uint16 = 32,
    Uint32 = 33,
    Uint64 = 34,
    Uint4 = 35,
    Uint2 = 36,
    Uint1 = 37,
    Uint6 = 38,
    Uint3 = 39,
}

/// `MILSpec.Value`.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub kind: Option<ValueType>,
    /// Where its elements are.
    #[prost(oneof = "Content", tags = "3, 5")]
    pub content: Option<Content>,
}

/// Where a value's elements are.
#[derive(Clone, PartialEq, Oneof)]
pub enum Content {
    /// In the program.
    #[prost(message, tag = "3")]
    Immediate(ImmediateValue),
    /// In the weight file.
    #[prost(message, tag = "5")]
    Blob(BlobFileValue),
}

/// `MILSpec.Value.ImmediateValue`.
#[derive(Clone, PartialEq, Message)]
pub struct ImmediateValue {
    /// The elements; tuples, lists and dictionaries are not used.
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorValue>,
}

/// `MILSpec.Value.BlobFileValue`.
#[derive(Clone, PartialEq, Message)]
pub struct BlobFileValue {
    /// The weight file; in programs that evalkit writes always `@model_path/weights/weight.bin`.
    #[prost(string, tag = "1")]
    pub file_name: String,
    /// The offset of the blob's metadata in the file.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
}

/// `MILSpec.TensorValue`.
#[derive(Clone, PartialEq, Message)]
pub struct TensorValue {
    /// The elements, row-major.
    #[prost(oneof = "Elements", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub elements: Option<Elements>,
}

/// The elements of an immediate value. Their type decides which field they are in.
#[derive(Clone, PartialEq, Oneof)]
pub enum Elements {
    /// fp32.
    #[prost(message, tag = "1")]
    Floats(Floats),
    /// int32, int16 and uint16.
    #[prost(message, tag = "2")]
    Ints(Ints),
    /// bool.
    #[prost(message, tag = "3")]
    Bools(Bools),
    /// string.
    #[prost(message, tag = "4")]
    Strings(Strings),
    /// int64 and uint64.
    #[prost(message, tag = "5")]
    LongInts(LongInts),
    /// fp64.
    #[prost(message, tag = "6")]
    Doubles(Doubles),
    /// All other types: little endian, with types of less than a byte packed from the lowest bit.
    #[prost(message, tag = "7")]
    Bytes(Bytes),
}

/// Defines the messages that hold one repeated scalar.
macro_rules! values {
    ($($(#[$doc:meta])* $name:ident: $field:ty, $kind:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Message)]
        pub struct $name {
            /// The elements, row-major.
            #[prost($kind, repeated, tag = "1")]
            pub values: $field,
        }
    )*};
}

values! {
    /// `MILSpec.TensorValue.RepeatedFloats`.
    Floats: Vec<f32>, float;
    /// `MILSpec.TensorValue.RepeatedInts`.
    Ints: Vec<i32>, int32;
    /// `MILSpec.TensorValue.RepeatedBools`.
    Bools: Vec<bool>, bool;
    /// `MILSpec.TensorValue.RepeatedStrings`.
    Strings: Vec<String>, string;
    /// `MILSpec.TensorValue.RepeatedLongInts`.
    LongInts: Vec<i64>, int64;
    /// `MILSpec.TensorValue.RepeatedDoubles`.
    Doubles: Vec<f64>, double;
}

/// `MILSpec.TensorValue.RepeatedBytes`.
#[derive(Clone, PartialEq, Message)]
pub struct Bytes {
    /// The elements, packed.
    #[prost(bytes = "vec", tag = "1")]
    pub values: Vec<u8>,
}
