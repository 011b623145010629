//! Parameters of `constexpr_*` operators that a stranger's program could have. Each is refused in words.

use std::collections::BTreeMap;

use super::weights;
use crate::package::fixture::{block, model, named, open, tensor};
use crate::package::spec::{
    Argument, Binding, Bound, Bytes, Content, DataType, Elements, ImmediateValue, Operation,
    TensorValue, Value, ValueType,
};

/// A literal of these bytes.
fn literal(data_type: DataType, shape: &[u64], bytes: Vec<u8>) -> Bound {
    let elements = Some(Elements::Bytes(Bytes { values: bytes }));
    let content = Content::Immediate(ImmediateValue { tensor: Some(TensorValue { elements }) });
    Bound::Value(Value { kind: Some(tensor(data_type, shape)), content: Some(content) })
}

fn operation(kind: &str, inputs: Vec<(&str, Bound)>, outputs: &[(&str, ValueType)]) -> Operation {
    let argument = |(name, bound): (&str, Bound)| {
        (name.to_owned(), Argument { bindings: vec![Binding { bound: Some(bound) }] })
    };
    Operation {
        kind: kind.into(),
        inputs: inputs.into_iter().map(argument).collect::<BTreeMap<_, _>>(),
        outputs: outputs.iter().map(|(name, kind)| named(name, kind.clone())).collect(),
        ..Default::default()
    }
}

/// The error for a program that has these operations as well.
fn error(operations: Vec<Operation>) -> String {
    let mut changed = model();
    block(&mut changed).operations.extend(operations);
    let found = open(&changed).and_then(|package| weights(&package, "main"));
    let error = found.unwrap_err();
    assert_eq!(error.exit().code(), 2, "{error}");
    error.to_string()
}

fn half(shape: &[u64]) -> ValueType {
    tensor(DataType::Float16, shape)
}

fn halves(shape: &[u64]) -> Bound {
    literal(DataType::Float16, shape, vec![0; 2 * shape.iter().product::<u64>() as usize])
}

#[test]
fn a_sparse_look_up_with_codes_of_sixteen_bits_is_refused() {
    let inputs = vec![
        ("indices_mask", literal(DataType::Uint1, &[8], vec![0xff])),
        ("indices_nonzero_data", halves(&[8])),
        ("lut", halves(&[1, 16, 1])),
    ];
    let outputs = [("m", tensor(DataType::Uint1, &[8])), ("v", half(&[8]))];
    let error = error(vec![operation("constexpr_lut_to_sparse", inputs, &outputs)]);
    assert!(error.contains("codes of at most 8 bits, found Float16"), "{error}");
}

#[test]
fn weights_that_are_made_of_weights_without_end_are_refused() {
    let scaled = |at: usize| {
        let data = match at {
            0 => halves(&[4]),
            _ => Bound::Name(format!("v{}", at - 1)),
        };
        let inputs = vec![("data", data), ("scale", halves(&[1]))];
        let name = format!("v{at}");
        operation("constexpr_blockwise_shift_scale", inputs, &[(name.as_str(), half(&[4]))])
    };
    let error = error((0..1000).map(scaled).collect());
    assert!(error.contains("more than 4 constexpr operators"), "{error}");
}

#[test]
fn shapes_with_empty_axes_and_lists_that_are_no_shapes_are_refused() {
    let flat = |shape: Bound| {
        let inputs = vec![
            ("indices", literal(DataType::Uint8, &[1], vec![0])),
            ("lut", halves(&[2])),
            ("shape", shape),
        ];
        let mut unknown = half(&[1]);
        if let Some(crate::package::spec::TypeOf::Tensor(tensor)) = &mut unknown.of {
            let any = crate::package::spec::UnknownDimension { variadic: false };
            (tensor.dimensions[0].constant, tensor.dimensions[0].unknown) = (None, Some(any));
        }
        error(vec![operation("constexpr_lut_to_dense", inputs, &[("v", unknown)])])
    };
    let empty = flat(literal(DataType::Uint32, &[1], vec![0; 4]));
    assert!(empty.contains("expected lengths"), "{empty}");
    let long = flat(literal(DataType::Uint32, &[100], vec![1; 400]));
    assert!(long.contains("at most 8 numbers"), "{long}");
    let huge = flat(literal(DataType::Uint32, &[3], [0, 0, 0x7f, 0].repeat(3)));
    assert!(huge.contains("expected None bytes") || huge.contains("bytes of type Uint8"), "{huge}");
}

#[test]
fn a_literal_whose_size_overflows_has_not_the_bytes_of_an_empty_one() {
    // 2^59 elements of four bytes are 2^64 bits.
    let scale = literal(DataType::Uint32, &[1 << 59], Vec::new());
    let inputs = vec![("data", halves(&[4])), ("scale", scale)];
    let error =
        error(vec![operation("constexpr_blockwise_shift_scale", inputs, &[("v", half(&[4]))])]);
    assert!(error.contains("expected 576460752303423488 elements"), "{error}");
}
