//! Tests of what single operators write: their kind, their parameters, and the type of their result.

use half::f16;

use crate::error::{Exit, Result};
use crate::package::mil::{FunctionBuilder, Literal, Opset, Value};
use crate::package::spec::{
    Bound, Content, DataType, Elements, Function, Operation, Value as Message,
};

/// What an operator writes about a parameter.
#[derive(Debug, PartialEq)]
enum Written {
    Value(String),
    Half(f32),
    Byte(u8),
    Ints(Vec<i32>),
    Bool(bool),
    Text(String),
}

/// A function with one input of each type, to which an operator is added.
struct Bench {
    f: FunctionBuilder,
    /// fp16 `[2, 3, 4]`.
    x: Value,
    /// int32 `[2, 3, 2]`.
    i: Value,
}

impl Bench {
    fn new() -> Self {
        let mut f = FunctionBuilder::new("main", Opset::Ios18);
        let x = f.input("x", DataType::Float16, &[2, 3, 4]).unwrap();
        let i = f.input("i", DataType::Int32, &[2, 3, 2]).unwrap();
        Bench { f, x, i }
    }

    fn finish(mut self, y: &Value) -> Function {
        self.f.output(y, "y").unwrap();
        self.f.finish().unwrap().function
    }
}

fn operations(function: &Function) -> &[Operation] {
    &function.block_specializations[&function.opset].operations
}

/// The only operator of a kind.
fn only<'a>(function: &'a Function, kind: &str) -> &'a Operation {
    let mut found = operations(function).iter().filter(|operation| operation.kind == kind);
    let operation = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "several {kind}");
    operation
}

/// What is written for a parameter: a constant's content, or the name of a value.
fn written(function: &Function, operation: &Operation, parameter: &str) -> Written {
    let Some(Bound::Name(name)) = &operation.inputs[parameter].bindings[0].bound else {
        panic!("{parameter}: {operation:?}")
    };
    let is_it = |made: &&Operation| made.kind == "const" && made.outputs[0].name == *name;
    match operations(function).iter().find(is_it) {
        None => Written::Value(name.clone()),
        Some(constant) => content(&constant.attributes["val"]),
    }
}

fn content(message: &Message) -> Written {
    let Some(Content::Immediate(value)) = &message.content else { panic!("{message:?}") };
    match value.tensor.as_ref().and_then(|tensor| tensor.elements.as_ref()).unwrap() {
        Elements::Ints(ints) => Written::Ints(ints.values.clone()),
        Elements::Bools(bools) => Written::Bool(bools.values[0]),
        Elements::Strings(texts) => Written::Text(texts.values[0].clone()),
        Elements::Bytes(bytes) => match bytes.values[..] {
            [byte] => Written::Byte(byte),
            [low, high] => Written::Half(f16::from_le_bytes([low, high]).to_f32()),
            _ => panic!("{bytes:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn refused(result: Result<Value>, text: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.exit(), Exit::Bug);
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn functions_of_one_value_keep_its_shape_and_refuse_integers() {
    type Unary = fn(&mut FunctionBuilder, &Value) -> Result<Value>;
    let all: [(&str, Unary); 6] = [
        ("sigmoid", FunctionBuilder::sigmoid),
        ("silu", FunctionBuilder::silu),
        ("tanh", FunctionBuilder::tanh),
        ("relu", FunctionBuilder::relu),
        ("exp", FunctionBuilder::exp),
        ("softplus", FunctionBuilder::softplus),
    ];
    for (kind, operator) in all {
        let mut bench = Bench::new();
        let y = operator(&mut bench.f, &bench.x).unwrap();
        assert_eq!((y.shape(), y.data_type()), (&[2, 3, 4][..], DataType::Float16), "{kind}");
        refused(operator(&mut bench.f, &bench.i), "parameter `x`: expected fp16 or fp32");
        let made = bench.finish(&y);
        assert_eq!(written(&made, only(&made, kind), "x"), Written::Value("x".into()));
    }
}

#[test]
fn functions_of_two_values_broadcast() {
    type Binary = fn(&mut FunctionBuilder, &Value, &Value) -> Result<Value>;
    let all: [(&str, Binary); 4] = [
        ("add", FunctionBuilder::add),
        ("sub", FunctionBuilder::sub),
        ("mul", FunctionBuilder::mul),
        ("real_div", FunctionBuilder::real_div),
    ];
    for (kind, operator) in all {
        let mut bench = Bench::new();
        let row = bench.f.input("row", DataType::Float16, &[3, 1]).unwrap();
        let y = operator(&mut bench.f, &row, &bench.x).unwrap();
        assert_eq!(y.shape(), [2, 3, 4], "{kind}");
        let two = bench.f.input("two", DataType::Float16, &[2]).unwrap();
        refused(operator(&mut bench.f, &bench.x, &two), "a shape that broadcasts with fp16[2,3,4]");
        let made = bench.finish(&y);
        let operation = only(&made, kind);
        let of = |parameter| written(&made, operation, parameter);
        assert_eq!((of("x"), of("y")), (Written::Value("row".into()), Written::Value("x".into())));
    }
}

#[test]
fn numbers_are_written_in_the_type_of_the_value() {
    let mut bench = Bench::new();
    let y = bench.f.add_to(&bench.x, -1.5).unwrap();
    refused(bench.f.add_to(&y, 1e6), "a number that fp16 can hold");
    let made = bench.finish(&y);
    assert_eq!(written(&made, only(&made, "add"), "y"), Written::Half(-1.5));

    for (by_tanh, mode) in [(false, "EXACT"), (true, "TANH_APPROXIMATION")] {
        let mut bench = Bench::new();
        let y = bench.f.gelu(&bench.x, by_tanh).unwrap();
        let made = bench.finish(&y);
        assert_eq!(written(&made, only(&made, "gelu"), "mode"), Written::Text(mode.into()));
    }
}

#[test]
fn a_layer_norm_names_its_axes_from_the_front() {
    let mut bench = Bench::new();
    let y = bench.f.layer_norm(&bench.x, &[-1], 1e-3).unwrap();
    assert_eq!(y.shape(), [2, 3, 4]);
    refused(bench.f.layer_norm(&bench.x, &[], 1e-3), "different axes of fp16[2,3,4], found []");
    refused(bench.f.layer_norm(&bench.x, &[1, -2], 1e-3), "different axes");
    refused(bench.f.layer_norm(&bench.x, &[2], 1e-12), "a number that fp16 can hold");
    let made = bench.finish(&y);
    let norm = only(&made, "layer_norm");
    assert_eq!(written(&made, norm, "axes"), Written::Ints(vec![2]));
    let epsilon = f16::from_f32(1e-3).to_f32();
    assert_eq!(written(&made, norm, "epsilon"), Written::Half(epsilon));
    // There are no gains: those of families are multiplied separately.
    assert!(!norm.inputs.contains_key("gamma") && !norm.inputs.contains_key("beta"));
}

#[test]
fn scores_are_gathered_at_the_experts_that_were_chosen() {
    let mut bench = Bench::new();
    let y = bench.f.gather_along_axis(&bench.x, &bench.i, -1).unwrap();
    assert_eq!((y.shape(), y.data_type()), (&[2, 3, 2][..], DataType::Float16));
    refused(bench.f.gather_along_axis(&bench.x, &bench.i, 0), "except for axis 0");
    refused(bench.f.gather_along_axis(&bench.x, &bench.x, 2), "parameter `indices`");
    let made = bench.finish(&y);
    let gather = only(&made, "gather_along_axis");
    assert_eq!(written(&made, gather, "axis"), Written::Ints(vec![2]));
    assert_eq!(written(&made, gather, "validate_indices"), Written::Bool(false));
}

#[test]
fn one_hot_adds_a_last_axis_of_ones_and_zeros() {
    let mut bench = Bench::new();
    let y = bench.f.one_hot(&bench.i, 5).unwrap();
    assert_eq!((y.shape(), y.data_type()), (&[2, 3, 2, 5][..], DataType::Float16));
    refused(bench.f.one_hot(&bench.x, 5), "parameter `indices`: expected int32");
    let made = bench.finish(&y);
    let of = |parameter| written(&made, only(&made, "one_hot"), parameter);
    assert_eq!(of("one_hot_vector_size"), Written::Ints(vec![5]));
    assert_eq!(of("axis"), Written::Ints(vec![-1]));
    assert_eq!((of("on_value"), of("off_value")), (Written::Half(1.0), Written::Half(0.0)));
}

#[test]
fn int8_has_a_scale_and_no_zero_point() {
    let mut bench = Bench::new();
    let scale = f16::from_f32(0.25);
    let codes = bench.f.quantize(&bench.x, scale).unwrap();
    assert_eq!((codes.shape(), codes.data_type()), (&[2, 3, 4][..], DataType::Int8));
    let y = bench.f.dequantize(&codes, scale).unwrap();
    assert_eq!((y.shape(), y.data_type()), (&[2, 3, 4][..], DataType::Float16));
    refused(bench.f.quantize(&bench.x, f16::ZERO), "a number other than 0");
    refused(bench.f.quantize(&codes, scale), "parameter `input`: expected fp16");
    refused(bench.f.dequantize(&bench.x, scale), "parameter `input`: expected int8");
    let made = bench.finish(&y);
    for kind in ["quantize", "dequantize"] {
        let operation = only(&made, kind);
        assert_eq!(written(&made, operation, "scale"), Written::Half(0.25), "{kind}");
        assert_eq!(written(&made, operation, "zero_point"), Written::Byte(0), "{kind}");
    }
    let of = written(&made, only(&made, "quantize"), "output_dtype");
    assert_eq!(of, Written::Text("int8".into()));
}

#[test]
fn a_state_is_read_updated_in_part_and_written() {
    let mut bench = Bench::new();
    let state = bench.f.state("cache", &[2, 8, 4]).unwrap();
    let cache = bench.f.read_state(&state).unwrap();
    assert_eq!((cache.shape(), cache.data_type()), (&[2, 8, 4][..], DataType::Float16));
    let begin = bench.f.input("begin", DataType::Int32, &[3]).unwrap();
    let end = bench.f.ints(&[2, 3, 4]);
    let y = bench.f.slice_update(&cache, &bench.x, &begin, &end).unwrap();
    assert_eq!(y.shape(), [2, 8, 4]);
    let short = bench.f.ints(&[0, 0]);
    refused(bench.f.slice_update(&cache, &bench.x, &short, &end), "expected int32[3]");
    refused(bench.f.slice_update(&bench.x, &cache, &begin, &end), "a part of fp16[2,3,4]");
    assert!(bench.f.write_state(&state, &bench.x).is_err(), "another shape");
    bench.f.write_state(&state, &y).unwrap();
    let zero = bench.f.literal(Literal::Halves(&[f16::ZERO], &[1])).unwrap();
    let y = bench.f.add(&y, &zero).unwrap();
    let made = bench.finish(&y);
    let of = |kind, parameter| written(&made, only(&made, kind), parameter);
    assert_eq!(of("read_state", "input"), Written::Value("cache".into()));
    assert_eq!(of("write_state", "input"), Written::Value("cache".into()));
    assert_eq!(of("slice_update", "begin"), Written::Value("begin".into()));
    assert_eq!(of("slice_update", "end"), Written::Ints(vec![2, 3, 4]));
    let writes = |operation: &Operation| operation.outputs.len();
    assert_eq!(writes(only(&made, "write_state")), 0);
}
