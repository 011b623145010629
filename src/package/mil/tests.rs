//! Tests of what the builder writes and what it refuses.

use half::f16;

use super::*;
use crate::package::blob::{BlobRef, BlobType};
use crate::package::spec::{
    Bound, DataType, Function, Metadata, Operation, TypeOf, Value as Message, ValueType,
};

fn function(opset: Opset) -> FunctionBuilder {
    FunctionBuilder::new("main", opset)
}

fn blob(kind: BlobType, shape: &[usize]) -> BlobTensor {
    let elements = shape.iter().product::<usize>() as u64;
    BlobTensor::new(BlobRef { offset: 64, kind, elements }, shape)
}

fn operations(function: &Function) -> &[Operation] {
    &function.block_specializations[&function.opset].operations
}

fn shape_of(kind: Option<&ValueType>) -> Vec<u64> {
    let Some(TypeOf::Tensor(tensor)) = kind.and_then(|kind| kind.of.as_ref()) else {
        return Vec::new();
    };
    tensor.dimensions.iter().filter_map(|d| d.constant).map(|d| d.size).collect()
}

/// The name that a parameter is bound to.
fn bound<'a>(operation: &'a Operation, parameter: &str) -> &'a str {
    match &operation.inputs[parameter].bindings[0].bound {
        Some(Bound::Name(name)) => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_linear_layer_is_written_in_full() {
    let mut f = function(Opset::Ios18);
    let x = f.input("x", DataType::Float16, &[1, 4]).unwrap();
    f.scope("layer.0");
    let weight = f.blob("weight", &blob(BlobType::Float16, &[3, 4])).unwrap();
    let y = f.linear(&x, &weight).unwrap();
    let z = f.mul_by(&y, 2.0).unwrap();
    f.output(&z, "z").unwrap();
    f.output(&x, "copy").unwrap();
    let built = f.finish().unwrap();
    let made = operations(&built.function);
    let kinds: Vec<_> = made.iter().map(|operation| operation.kind.as_str()).collect();
    assert_eq!(kinds, ["const", "const", "linear", "const", "mul", "identity"]);
    assert_eq!(bound(&made[2], "weight"), "layer_0_weight");
    assert_eq!(bound(&made[2], "bias"), "layer_0_linear_bias");
    assert_eq!(shape_of(made[2].outputs[0].kind.as_ref()), [1, 3]);
    assert_eq!(bound(&made[4], "x"), "layer_0_linear");
    assert_eq!(made[4].outputs[0].name, "z");
    assert_eq!(built.function.block_specializations["CoreML8"].outputs, ["z", "copy"]);
    let outputs: Vec<_> = built.description.outputs.iter().map(|out| &out.name).collect();
    assert_eq!(outputs, ["z", "copy"]);
}

#[test]
fn a_constant_is_written_once() {
    let mut f = function(Opset::Ios18);
    let x = f.input("x", DataType::Float16, &[2, 3]).unwrap();
    let a = f.softmax(&x, -1).unwrap();
    let b = f.softmax(&a, 1).unwrap();
    let y = f.sub(&a, &b).unwrap();
    f.output(&y, "y").unwrap();
    let made = f.finish().unwrap().function;
    let constants = operations(&made).iter().filter(|operation| operation.kind == "const");
    assert_eq!(constants.count(), 1);
}

#[test]
fn immediate_elements_are_in_the_field_for_their_type() {
    use crate::package::spec::{Content, Elements};
    let elements = |literal: Literal| match literal.to_spec() {
        Message { content: Some(Content::Immediate(value)), .. } => {
            value.tensor.and_then(|tensor| tensor.elements).unwrap()
        }
        other => panic!("{other:?}"),
    };
    let halves = [f16::ONE, f16::NEG_ONE];
    let Elements::Bytes(bytes) = elements(Literal::Halves(&halves, &[2])) else { panic!() };
    assert_eq!(bytes.values, [0, 0x3c, 0, 0xbc]);
    assert!(matches!(elements(Literal::Bool(true)), Elements::Bools(_)));
    assert!(matches!(elements(Literal::Int(1)), Elements::Ints(_)));
    assert!(matches!(elements(Literal::Text("a")), Elements::Strings(_)));
}

#[test]
fn results_have_the_right_shapes() {
    let mut f = function(Opset::Ios18);
    let x = f.input("x", DataType::Float16, &[1, 8, 4, 6]).unwrap();
    let shape = |value: Result<Value, crate::error::Error>| value.unwrap().shape().to_vec();
    assert_eq!(shape(f.transpose(&x, &[0, 2, 3, 1])), [1, 4, 6, 8]);
    assert_eq!(shape(f.matmul(&x, &x, true)), [1, 8, 4, 4]);
    assert_eq!(shape(f.reduce_sum(&x, &[1, -1])), [1, 1, 4, 1]);
    assert_eq!(shape(f.concat(&[&x, &x], 1)), [1, 16, 4, 6]);
    assert_eq!(shape(f.slice_by_index(&x, &[0, 2, 0, 5], &[1, 4, 4, 6])), [1, 2, 4, 1]);
    assert_eq!(shape(f.squeeze(&x, &[0])), [8, 4, 6]);
    assert_eq!(shape(f.tile(&x, &[2, 1, 1, 3])), [2, 8, 4, 18]);
    let short = f.reshape(&x, &[32, 6]).unwrap();
    assert_eq!(shape(f.expand_dims(&short, &[0, -1])), [1, 32, 6, 1]);
    let parts = f.split(&x, &[1, 7], 1).unwrap();
    assert_eq!((parts[0].shape(), parts[1].shape()), (&[1, 1, 4, 6][..], &[1, 7, 4, 6][..]));
    let [values, indices] = f.topk(&x, 2, 1).unwrap();
    assert_eq!((values.shape(), indices.data_type()), (&[1, 2, 4, 6][..], DataType::Int32));
    let kernel = f.blob("kernel", &blob(BlobType::Float16, &[10, 8, 1, 1])).unwrap();
    assert_eq!(shape(f.conv(&x, &kernel)), [1, 10, 4, 6]);
}

#[test]
fn wrong_use_names_operator_parameter_expected_and_found() {
    let mut f = function(Opset::Ios18);
    let x = f.input("x", DataType::Float16, &[2, 3]).unwrap();
    let i = f.input("i", DataType::Int32, &[2]).unwrap();
    let weight = f.blob("w", &blob(BlobType::Float16, &[5, 4])).unwrap();
    let refused = |result: Result<Value, crate::error::Error>, text: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.exit(), crate::error::Exit::Bug);
        assert!(error.to_string().contains(text), "{error}");
    };
    refused(f.linear(&x, &weight), "parameter `weight`: expected [out, 3], found fp16[5,4]");
    refused(f.linear(&x, &x), "expected a constant");
    refused(f.add(&x, &i), "add add: parameter `y`: expected fp16, found int32[2]");
    refused(f.silu(&i), "parameter `x`: expected fp16 or fp32");
    refused(f.softmax(&x, 2), "an axis of fp16[2,3], found 2");
    refused(f.mul_by(&x, 1e-9), "a number that fp16 can hold");
    refused(f.clip(&x, 1.0, 1.0), "less than beta");
    refused(f.slice_by_index(&x, &[0, 0], &[2, 4]), "a part of fp16[2,3]");
    refused(f.reshape(&x, &[4, 2]), "parameter `shape`");
    refused(f.gather(&x, &x, 0), "parameter `indices`");
    refused(
        f.blob("w", &blob(BlobType::Float16, &[2])).map(|_| x.clone()).and_then(|_| {
            f.blob(
                "w",
                &BlobTensor::new(BlobRef { offset: 0, kind: BlobType::Int8, elements: 3 }, [2]),
            )
        }),
        "expected a blob with the elements of int8[2], found one of 3",
    );
    let mut other = function(Opset::Ios18);
    refused(other.silu(&x), "a value of this function, found `x` of function `main`");
    assert!(f.output(&i, "x").is_err(), "the name is taken");
    assert!(f.finish().unwrap_err().to_string().contains("it has no outputs"));
}

#[test]
fn what_a_target_does_not_support_is_refused() {
    let mut f = function(Opset::Ios17);
    assert!(
        f.state("cache", &[1, 2])
            .unwrap_err()
            .to_string()
            .contains("iOS 17 does not support states")
    );
    let x = f.input("x", DataType::Float16, &[1, 2, 4]).unwrap();
    let error = f.scaled_dot_product_attention(&x, &x, &x, &x).unwrap_err();
    assert!(error.to_string().contains("`scaled_dot_product_attention`"), "{error}");
    let (codes, scale) = (blob(BlobType::Int8, &[4, 4]), blob(BlobType::Float16, &[4, 1]));
    assert!(f.constexpr_blockwise_shift_scale(&codes, &scale, None).is_err());
    let lut = blob(BlobType::Float16, &[1, 1, 256, 1]);
    assert!(f.constexpr_lut_to_dense(&blob(BlobType::Uint8, &[4, 4]), &lut, None).is_err());
    let table = blob(BlobType::Float16, &[4]);
    let packed = blob(BlobType::Uint8, &[3]);
    let dense = f.constexpr_lut_to_dense_ios16(&packed, &table, &[3, 4]).unwrap();
    assert_eq!((dense.shape(), dense.is_constant()), (&[3, 4][..], true));
    // GPU and Neural Engine compute the signed form wrongly (coremltools issue 2114).
    let scale = blob(BlobType::Float16, &[4]);
    let error = f.constexpr_affine_dequantize(&codes, &scale, None).unwrap_err();
    assert!(error.to_string().contains("expected uint8, found int8[4,4]"), "{error}");
    let mut new = function(Opset::Ios18);
    assert!(new.constexpr_lut_to_dense_ios16(&packed, &table, &[3, 4]).is_err());
}

#[test]
fn tables_fit_their_indices() {
    let mut f = function(Opset::Ios18);
    let indices = blob(BlobType::Uint2, &[6, 4]);
    let lut = |shape: &[usize]| blob(BlobType::Float16, shape);
    let dense = f.constexpr_lut_to_dense(&indices, &lut(&[3, 2, 4, 1]), None).unwrap();
    assert_eq!(dense.shape(), [6, 4]);
    let wide = f.constexpr_lut_to_dense(&indices, &lut(&[3, 1, 4, 2]), Some(1)).unwrap();
    assert_eq!(wide.shape(), [6, 8]);
    for (shape, axis) in [
        (&[4, 1, 4, 1][..], None),
        (&[3, 1, 8, 1], None),
        (&[3, 4, 1], None),
        (&[3, 1, 4, 2], None),
        (&[3, 1, 4, 1], Some(0)),
    ] {
        let error = f.constexpr_lut_to_dense(&indices, &lut(shape), axis).unwrap_err();
        assert!(error.to_string().contains("[6, 4]"), "{error}");
    }
    let table = f.constexpr_blockwise_shift_scale(
        &blob(BlobType::Int8, &[3, 1, 4, 1]),
        &lut(&[3, 1, 1, 1]),
        None,
    );
    assert_eq!(f.constexpr_lut_to_dense(&indices, &table.unwrap(), None).unwrap().shape(), [6, 4]);
}

#[test]
fn one_function_is_main_and_several_have_a_default() {
    let built = |name: &str, opset| {
        let mut f = FunctionBuilder::new(name, opset);
        let x = f.input("x", DataType::Float16, &[1]).unwrap();
        let y = f.silu(&x).unwrap();
        f.output(&y, "y").unwrap();
        f.finish().unwrap()
    };
    let of = |names: &[&str], opset| {
        model(names.iter().map(|name| built(name, opset)).collect(), Metadata::default())
    };
    let one = of(&["main"], Opset::Ios17).unwrap();
    assert_eq!(one.specification_version, 8);
    assert_eq!(one.description.unwrap().inputs.len(), 1);
    let two = of(&["decode", "prefill"], Opset::Ios18).unwrap().description.unwrap();
    assert_eq!((two.default_function_name.as_str(), two.inputs.len()), ("decode", 0));
    for (names, opset) in [
        (&["decode"][..], Opset::Ios18),
        (&["a", "b"], Opset::Ios17),
        (&["a", "a"], Opset::Ios18),
        (&[], Opset::Ios18),
    ] {
        assert!(of(names, opset).is_err(), "{names:?}");
    }
}
