//! Arguments that a stranger's program could give to operators: one row per operator and attack. None may
//! panic, take long or allocate much; each is refused in words, or has a result that is right.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arguments::Arguments;
use super::operators;
use super::tensor::Tensor;
use super::value::RuntimeValue;
use crate::error::Result;
use crate::package::budget::{Budget, Work};

type Named = (&'static str, Vec<RuntimeValue>);

const MOST: i32 = i32::MAX;

fn value(tensor: Result<Tensor>) -> Vec<RuntimeValue> {
    vec![RuntimeValue::Tensor(Arc::new(tensor.unwrap()))]
}

/// A tensor of floats; `shape` may have empty axes.
fn floats(shape: &[usize]) -> Vec<RuntimeValue> {
    value(Tensor::floats(shape, vec![0.5; shape.iter().product()]))
}

fn ints(values: &[i32]) -> Vec<RuntimeValue> {
    value(Tensor::ints([values.len()], values.to_vec()))
}

/// Integers in a shape of their own.
fn indices(shape: &[usize]) -> Vec<RuntimeValue> {
    value(Tensor::ints(shape, vec![0; shape.iter().product()]))
}

fn int(value_of: i32) -> Vec<RuntimeValue> {
    value(Tensor::ints([0usize; 0], vec![value_of]))
}

fn float(value_of: f32) -> Vec<RuntimeValue> {
    value(Tensor::floats([0usize; 0], vec![value_of]))
}

fn flags(values: &[bool]) -> Vec<RuntimeValue> {
    value(Tensor::new([values.len()], super::Data::Bool(values.to_vec())))
}

fn text(value_of: &str) -> Vec<RuntimeValue> {
    vec![RuntimeValue::Text(value_of.into())]
}

/// What an operator makes of its arguments: the shapes of its results, or the text of the error.
fn outcome(
    operator: &str,
    arguments: Vec<Named>,
    outputs: usize,
) -> Result<Vec<Vec<usize>>, String> {
    let work = Work::new(&Budget::of(0));
    let found = operators::find(operator).expect("an operator");
    let start = Instant::now();
    let result = Arguments::new(arguments, outputs, &work).and_then(|mut args| found(&mut args));
    assert!(start.elapsed() < Duration::from_secs(5), "{operator}: {:?}", start.elapsed());
    match result {
        Ok(tensors) => Ok(tensors.iter().map(|tensor| tensor.shape().to_vec()).collect()),
        Err(error) => {
            assert_eq!(error.exit().code(), 2, "{operator}: {error}");
            Err(error.to_string())
        }
    }
}

fn refused(rows: Vec<(&'static str, Vec<Named>, &'static str)>) {
    for (operator, arguments, expected) in rows {
        let shapes: Vec<_> = arguments.iter().map(|(name, _)| *name).collect();
        match outcome(operator, arguments, 1) {
            Err(text) => assert!(text.contains(expected), "{operator} {shapes:?}: {text}"),
            Ok(found) => panic!("{operator} {shapes:?}: expected {expected:?}, found {found:?}"),
        }
    }
}

#[test]
fn sizes_beyond_the_budget_are_refused_before_they_are_allocated() {
    let row = || floats(&[1 << 20, 1]);
    let column = || floats(&[1, 1 << 20]);
    let condition = || value(Tensor::new([1 << 20, 1], super::Data::Bool(vec![true; 1 << 20])));
    refused(vec![
        ("add", vec![("x", row()), ("y", column())], "too many elements"),
        ("less", vec![("x", row()), ("y", column())], "too many elements"),
        (
            "add",
            vec![("x", floats(&[1 << 14, 1])), ("y", floats(&[1, 1 << 14]))],
            "bytes of memory",
        ),
        (
            "select",
            vec![("cond", condition()), ("a", column()), ("b", float(0.0))],
            "too many elements",
        ),
        ("tile", vec![("x", floats(&[2, 3])), ("reps", ints(&[MOST, MOST]))], "too many elements"),
        ("tile", vec![("x", floats(&[2, 0])), ("reps", ints(&[MOST, 1]))], "too many elements"),
        (
            "fill",
            vec![("shape", ints(&[MOST, MOST, MOST])), ("value", float(0.0))],
            "too many elements",
        ),
        (
            "fill",
            vec![("shape", ints(&[0, MOST, MOST])), ("value", float(0.0))],
            "too many elements",
        ),
        ("fill", vec![("shape", ints(&[1; 40])), ("value", float(0.0))], "at most 8 axes"),
        ("fill", vec![("shape", ints(&[-1, 2])), ("value", float(0.0))], "expected lengths"),
        ("range_1d", vec![("start", int(i32::MIN)), ("end", int(MOST))], "too many elements"),
        (
            "range_1d",
            vec![("start", float(0.0)), ("end", float(1.0)), ("step", float(1e-30))],
            "too many",
        ),
        ("range_1d", vec![("start", int(0)), ("end", int(5)), ("step", int(0))], "does not end"),
        (
            "one_hot",
            vec![("indices", indices(&[9])), ("one_hot_vector_size", int(MOST))],
            "too many",
        ),
        (
            "gather",
            vec![("x", floats(&[2, 1 << 16])), ("indices", indices(&[1 << 16]))],
            "too many",
        ),
        ("matmul", vec![("x", floats(&[1 << 15, 1])), ("y", floats(&[1, 1 << 15]))], "too many"),
        (
            "linear",
            vec![("x", floats(&[1 << 15, 1])), ("weight", floats(&[1 << 15, 1]))],
            "bytes of memory",
        ),
        ("reshape", vec![("x", floats(&[2, 3])), ("shape", ints(&[MOST, MOST, MOST]))], "too many"),
        ("expand_dims", vec![("x", floats(&[2])), ("axes", ints(&[0; 30]))], "at most 8 axes"),
        (
            "expand_dims",
            vec![("x", floats(&[2])), ("axes", indices(&[1 << 17]))],
            "list of at most",
        ),
    ]);
}

#[test]
fn work_beyond_the_budget_is_refused_before_it_is_done() {
    let (wide, high) = (|| floats(&[1 << 14, 1 << 9]), || floats(&[1 << 9, 1 << 14]));
    let heads = || floats(&[1 << 14, 1 << 7]);
    let attention = vec![("query", heads()), ("key", heads()), ("value", heads())];
    refused(vec![
        ("matmul", vec![("x", wide()), ("y", high())], "one call would take"),
        ("linear", vec![("x", wide()), ("weight", wide())], "one call would take"),
        ("scaled_dot_product_attention", attention, "one call would take"),
    ]);
}

#[test]
fn lists_of_sizes_are_compared_with_what_there_is() {
    let x = || floats(&[2, 6]);
    refused(vec![
        ("split", vec![("x", floats(&[0])), ("num_splits", int(MOST))], "cannot be split"),
        ("split", vec![("x", x()), ("axis", int(1)), ("num_splits", int(3))], "for 1 outputs"),
        ("split", vec![("x", x()), ("axis", int(1)), ("num_splits", int(0))], "cannot be split"),
        ("split", vec![("x", x()), ("axis", int(1)), ("num_splits", int(-1))], "cannot be split"),
        ("split", vec![("x", floats(&[0])), ("split_sizes", ints(&[0; 100]))], "for 1 outputs"),
        ("split", vec![("x", x()), ("split_sizes", ints(&[MOST, MOST]))], "cannot be split"),
        ("split", vec![("x", x()), ("split_sizes", ints(&[-1, 3]))], "expected lengths"),
        ("stack", vec![("values", Vec::new())], "found none"),
        ("concat", vec![("values", Vec::new())], "no axis"),
        ("concat", vec![("values", [x(), floats(&[])].concat())], "cannot be joined"),
        ("topk", vec![("x", x()), ("k", int(MOST))], "at most 6"),
        ("topk", vec![("x", x()), ("k", int(-2))], "at most 6"),
        ("topk", vec![("x", x()), ("axis", int(i32::MIN))], "no axis"),
        ("softmax", vec![("x", floats(&[])), ("axis", int(-1))], "no axis"),
        ("layer_norm", vec![("x", floats(&[]))], "found a scalar"),
        ("layer_norm", vec![("x", x()), ("axes", ints(&[1, -1]))], "expected different axes"),
        ("transpose", vec![("x", x()), ("perm", ints(&[0, 0]))], "expected a permutation"),
        ("transpose", vec![("x", x()), ("perm", ints(&[MOST, 0]))], "no axis"),
        ("reshape", vec![("x", x()), ("shape", ints(&[-1, -1]))], "expected lengths"),
        ("reshape", vec![("x", x()), ("shape", ints(&[-5, 2]))], "expected lengths"),
        ("squeeze", vec![("x", x()), ("axes", ints(&[1]))], "expected 2 elements"),
        ("cast", vec![("x", x()), ("dtype", text("int999"))], "not supported"),
        ("floor_div", vec![("x", int(1)), ("y", int(0))], "by 0"),
        ("pow", vec![("x", int(2)), ("y", int(-1))], "raised to the power"),
    ]);
}

#[test]
fn slices_are_compared_with_what_there_is() {
    let x = || floats(&[2, 6]);
    refused(vec![
        (
            "slice_by_index",
            vec![
                ("x", x()),
                ("begin", ints(&[0, 0])),
                ("end", ints(&[2, 6])),
                ("stride", ints(&[0, 1])),
            ],
            "other than 0",
        ),
        (
            "slice_by_index",
            vec![
                ("x", x()),
                ("begin", ints(&[MOST, 0])),
                ("end", ints(&[0, 0])),
                ("squeeze_mask", flags(&[true, false])),
            ],
            "has no element",
        ),
        (
            "slice_by_index",
            vec![("x", x()), ("begin", ints(&[0])), ("end", ints(&[1]))],
            "each of 2 axes",
        ),
        (
            "slice_by_size",
            vec![("x", x()), ("begin", ints(&[1, 5])), ("size", ints(&[MOST, 2]))],
            "exceed",
        ),
        (
            "slice_by_size",
            vec![("x", x()), ("begin", ints(&[-9, 0])), ("size", ints(&[1, 1]))],
            "exceed",
        ),
        (
            "slice_update",
            vec![
                ("x", x()),
                ("update", floats(&[5])),
                ("begin", ints(&[0, 0])),
                ("end", ints(&[2, 6])),
            ],
            "does not fit",
        ),
    ]);
}

#[test]
fn indices_are_compared_with_what_there_is() {
    let x = || floats(&[2, 6]);
    let scatter = || [("updates", floats(&[2, 9])), ("indices", indices(&[2, 9]))];
    refused(vec![
        ("gather", vec![("x", x()), ("indices", ints(&[2])), ("axis", int(0))], "out of range"),
        ("gather", vec![("x", x()), ("indices", ints(&[0])), ("batch_dims", int(9))], "batch axes"),
        (
            "gather",
            vec![("x", x()), ("indices", ints(&[0])), ("batch_dims", int(-1))],
            "batch axes",
        ),
        ("gather", vec![("x", floats(&[])), ("indices", ints(&[0]))], "no axis"),
        (
            "gather_along_axis",
            vec![("x", x()), ("indices", indices(&[9, 6])), ("axis", int(1))],
            "do not fit",
        ),
        (
            "scatter_along_axis",
            [vec![("data", floats(&[2])), ("axis", int(0))], scatter().to_vec()].concat(),
            "do not fit",
        ),
        (
            "quantize",
            vec![
                ("input", x()),
                ("scale", floats(&[5])),
                ("axis", int(1)),
                ("output_dtype", text("int8")),
            ],
            "cannot be broadcast",
        ),
    ]);
}

#[test]
fn products_of_nothing_are_refused_or_zero() {
    let kernel = || floats(&[2, 3, 1, 1]);
    refused(vec![
        ("conv", vec![("x", floats(&[1, 3, 1, 0])), ("weight", kernel())], "does not fit"),
        ("conv", vec![("x", floats(&[0, 3, 0, 0])), ("weight", kernel())], "does not fit"),
        (
            "conv",
            vec![("x", floats(&[1, 0, 1, 4])), ("weight", floats(&[2, 0, 1, 1]))],
            "does not fit",
        ),
        ("conv", vec![("x", floats(&[1, 3, 4])), ("weight", kernel())], "does not fit"),
        ("conv", vec![("x", floats(&[3])), ("weight", kernel())], "rank 3 or more"),
        ("conv", vec![("x", floats(&[1, 3, 1, 4])), ("weight", floats(&[2, 3]))], "supported only"),
        (
            "conv",
            vec![("x", floats(&[1, 3, 1, 4])), ("weight", kernel()), ("groups", int(0))],
            "only",
        ),
        (
            "conv",
            vec![("x", floats(&[1, 3, 1, 4])), ("weight", kernel()), ("strides", ints(&[0, 0]))],
            "only",
        ),
        ("linear", vec![("x", floats(&[4, 0])), ("weight", floats(&[2, 0]))], "does not fit"),
        ("linear", vec![("x", floats(&[])), ("weight", floats(&[2, 3]))], "does not fit"),
        ("matmul", vec![("x", floats(&[4])), ("y", floats(&[4]))], "rank 2 or more"),
    ]);
    let attention = |rows: usize, keys: usize, width: usize| {
        let arguments = vec![
            ("query", floats(&[3, rows, width])),
            ("key", floats(&[3, keys, width])),
            ("value", floats(&[3, keys, 2])),
            ("attn_mask", floats(&[rows, keys])),
        ];
        outcome("scaled_dot_product_attention", arguments, 1)
    };
    for (rows, keys, width) in [(2, 0, 4), (0, 2, 4), (2, 2, 0), (0, 0, 0)] {
        assert_eq!(attention(rows, keys, width), Ok(vec![vec![3, rows, 2]]));
    }
    let matmul =
        |x: &[usize], y: &[usize]| outcome("matmul", vec![("x", floats(x)), ("y", floats(y))], 1);
    assert_eq!(matmul(&[2, 0], &[0, 3]), Ok(vec![vec![2, 3]]));
    assert_eq!(matmul(&[0, 2, 3], &[0, 3, 4]), Ok(vec![vec![0, 2, 4]]));
}

#[test]
fn every_operator_survives_empty_and_missing_arguments() {
    let names = "add mod pow equal logical_and scaled_dot_product_attention gather gather_along_axis \
        scatter_along_axis select one_hot linear conv matmul quantize dequantize reduce_mean reduce_sum \
        reduce_max reduce_argmax softmax layer_norm topk reshape transpose expand_dims squeeze tile concat \
        stack split fill range_1d shape slice_by_index slice_by_size slice_update exp rsqrt clip gelu abs \
        logical_not cast identity";
    let parameters = "x y a b cond query key value attn_mask weight bias indices updates data input scale \
        axis axes perm shape reps values begin end size update start step k one_hot_vector_size num_splits \
        split_sizes";
    let lists = "axis axes perm shape reps begin end size indices k";
    let shapes: [&[usize]; 5] = [&[], &[0], &[1, 0], &[0, 2, 0], &[1, 0, 1, 1]];
    for name in names.split_whitespace() {
        let _ = outcome(name, Vec::new(), 1);
        for of_floats in &shapes {
            for of_others in &shapes {
                let argument = |parameter: &'static str| {
                    let is_list = lists.split_whitespace().any(|list| list == parameter);
                    (parameter, if is_list { indices(of_others) } else { floats(of_floats) })
                };
                let _ = outcome(name, parameters.split_whitespace().map(argument).collect(), 1);
            }
        }
    }
}
