//! A small valid package, which tests change in one place.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;

use crate::error::Result;
use crate::package::blob::FILE_NAME;
use crate::package::blob::read::BlobFile;
use crate::package::read::Package;
use crate::package::spec::{self, *};

/// The type of a tensor of this shape.
pub fn tensor(data_type: DataType, shape: &[u64]) -> ValueType {
    let dimension =
        |size: &u64| Dimension { constant: Some(ConstantDimension { size: *size }), unknown: None };
    let dimensions: Vec<Dimension> = shape.iter().map(dimension).collect();
    let tensor = TensorType { data_type: data_type.into(), rank: shape.len() as i64, dimensions };
    ValueType { of: Some(TypeOf::Tensor(tensor)) }
}

/// A value with its type.
pub fn named(name: &str, kind: ValueType) -> NamedValueType {
    NamedValueType { name: name.into(), kind: Some(kind) }
}

/// The description of an fp16 tensor, or of a state if `state` is set.
pub fn feature(name: &str, state: bool, shape: &[i64]) -> FeatureDescription {
    let array =
        Some(ArrayFeatureType { shape: shape.to_vec(), data_type: ArrayDataType::Float16.into() });
    let kind = if state {
        FeatureType { multi_array: None, state: Some(StateFeatureType { array }) }
    } else {
        FeatureType { multi_array: array, state: None }
    };
    FeatureDescription { name: name.into(), kind: Some(kind), ..Default::default() }
}

/// An argument that refers to a value by its name.
pub fn bind(name: &str) -> Argument {
    Argument { bindings: vec![Binding { bound: Some(Bound::Name(name.into())) }] }
}

/// `y = add(x, w)`, where `w` is in the weight file, and a state that is never used.
pub fn model() -> Model {
    let half = |shape| tensor(DataType::Float16, shape);
    let blob = BlobFileValue { file_name: FILE_NAME.into(), offset: 64 };
    let weight = Value { kind: Some(half(&[3])), content: Some(Content::Blob(blob)) };
    let constant = Operation {
        kind: "const".into(),
        outputs: vec![named("w", half(&[3]))],
        attributes: [("val".to_owned(), weight)].into(),
        ..Default::default()
    };
    let add = Operation {
        kind: "add".into(),
        inputs: [("x".to_owned(), bind("x")), ("y".to_owned(), bind("w"))].into(),
        outputs: vec![named("y", half(&[3]))],
        ..Default::default()
    };
    let wrapped = Some(Box::new(half(&[2, 3])));
    let state = ValueType { of: Some(TypeOf::State(Box::new(StateType { wrapped }))) };
    let block =
        Block { inputs: vec![], outputs: vec!["y".into()], operations: vec![constant, add] };
    let function = spec::Function {
        inputs: vec![named("x", half(&[3])), named("cache", state)],
        opset: "CoreML8".into(),
        block_specializations: [("CoreML8".to_owned(), block)].into(),
    };
    Model {
        specification_version: 9,
        description: Some(ModelDescription {
            inputs: vec![feature("x", false, &[3])],
            outputs: vec![feature("y", false, &[])],
            states: vec![feature("cache", true, &[2, 3])],
            ..Default::default()
        }),
        program: Some(Program {
            version: 1,
            functions: [("main".to_owned(), function)].into(),
            attributes: BTreeMap::new(),
        }),
    }
}

/// A weight file with one blob of three fp16 elements.
pub fn weights() -> Vec<u8> {
    let mut bytes = vec![0; 134];
    (bytes[0], bytes[4]) = (1, 2);
    bytes[64..68].copy_from_slice(&0xDEAD_BEEFu32.to_le_bytes());
    (bytes[68], bytes[72], bytes[80]) = (1, 6, 128);
    bytes
}

/// The package of `model` and [`weights`].
pub fn open(model: &Model) -> Result<Package> {
    let file = BlobFile::new("weight.bin", &weights().into()).unwrap();
    let weights = [(FILE_NAME.to_owned(), file)].into();
    Package::from_parts(Path::new("x.mlpackage"), &model.encode_to_vec(), weights)
}

/// The function `main`.
pub fn function(model: &mut Model) -> &mut spec::Function {
    model.program.as_mut().unwrap().functions.get_mut("main").unwrap()
}

/// The operations of `main`.
pub fn block(model: &mut Model) -> &mut Block {
    function(model).block_specializations.get_mut("CoreML8").unwrap()
}

/// The model's description.
pub fn description(model: &mut Model) -> &mut ModelDescription {
    model.description.as_mut().unwrap()
}
