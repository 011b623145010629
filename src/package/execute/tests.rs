//! Small functions that run, and functions that are refused with the name of the value.

use super::*;
use crate::package::fixture::*;
use crate::package::spec::{Argument, DataType, Model, Operation};

fn inputs() -> BTreeMap<String, Tensor> {
    [("x".to_owned(), Tensor::floats([3], vec![1.0, 2.0, 3.0]).unwrap())].into()
}

fn operation(kind: &str, inputs: &[(&str, &str)]) -> Operation {
    let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), bind(value)));
    let inputs = inputs.collect::<BTreeMap<String, Argument>>();
    Operation { kind: kind.into(), inputs, ..Default::default() }
}

fn half(shape: &[u64]) -> crate::package::spec::ValueType {
    tensor(DataType::Float16, shape)
}

fn compiled(model: &Model) -> Result<Executable> {
    Executable::new(&open(model)?, "main", Precision::Single)
}

#[test]
fn an_executable_runs_and_refuses_other_inputs() {
    let executable = compiled(&model()).unwrap();
    let mut states = States::zeros(executable.interface());
    let outputs = executable.run(&mut states, &inputs()).unwrap();
    assert_eq!(outputs["y"].as_floats().unwrap(), [1.0, 2.0, 3.0]);
    let refuse = |inputs: BTreeMap<String, Tensor>, expected: &str| {
        let error = executable.run(&mut States::default(), &inputs).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit().code(), 2);
    };
    refuse(BTreeMap::new(), "x.mlpackage: function main: expected 1 inputs, found []");
    let other = |name: &str, tensor| [(name.to_owned(), tensor)].into();
    let short = Tensor::floats([2], vec![0.0; 2]).unwrap();
    refuse(other("x", short.clone()), "input x: expected Float16[3], found floats [2]");
    refuse(other("z", short), "the input `x` is missing");
    let ints = Tensor::ints([3], vec![0; 3]).unwrap();
    refuse(other("x", ints), "input x: expected Float16[3], found integers [3]");
}

#[test]
fn an_unsupported_operator_is_named() {
    let mut changed = model();
    block(&mut changed).operations[1].kind = "resample".into();
    let error = compiled(&changed).unwrap_err().to_string();
    let expected =
        "x.mlpackage: function main: y (resample): the operator `resample` is not supported";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_result_must_have_its_declared_shape() {
    let mut changed = model();
    block(&mut changed).operations[1].kind = "concat".into();
    block(&mut changed).operations[1].inputs = [("values".to_owned(), bind("x"))].into();
    let argument = block(&mut changed).operations[1].inputs.get_mut("values").unwrap();
    argument.bindings.push(argument.bindings[0].clone());
    let executable = compiled(&changed).unwrap();
    let error = executable.run(&mut States::default(), &inputs()).unwrap_err().to_string();
    assert!(error.contains("y (concat): expected Float16[3], found floats [6]"), "{error}");
}

/// A function that reads a cache, adds `[x, x]`, writes it, and does all that once more. `y` is the
/// cache before.
fn stateful() -> Model {
    let mut model = model();
    let block = block(&mut model);
    let read = |name: &str| {
        let mut read = operation("read_state", &[("input", "cache")]);
        read.outputs.push(named(name, half(&[2, 3])));
        read
    };
    let add = |name: &str, to: &str| {
        let mut add = operation("add", &[("x", to), ("y", "x")]);
        add.outputs.push(named(name, half(&[2, 3])));
        add
    };
    let write = |value: &str| operation("write_state", &[("input", "cache"), ("data", value)]);
    let (first, second) = (add("once", "c0"), add("twice", "c1"));
    let mut last = add("y", "c0");
    last.kind = "identity".into();
    last.inputs.remove("y");
    block.operations =
        vec![read("c0"), first, write("once"), read("c1"), second, write("twice"), last];
    model
}

#[test]
fn states_stay_between_runs_and_reads_see_the_last_write() {
    let executable = compiled(&stateful()).unwrap();
    let mut states = States::zeros(executable.interface());
    for run in 0..3u8 {
        let outputs = executable.run(&mut states, &inputs()).unwrap();
        let steps = 2.0 * f32::from(run);
        assert_eq!(outputs["y"].as_floats().unwrap()[..3], [steps, 2.0 * steps, 3.0 * steps]);
        assert_eq!(states.0["cache"].as_floats().unwrap()[3], steps + 2.0);
    }
    let error = executable.run(&mut States::default(), &inputs()).unwrap_err().to_string();
    assert!(error.contains("the state `cache` is missing"), "{error}");
    states.0.insert("cache".into(), Arc::new(Tensor::floats([3, 2], vec![0.0; 6]).unwrap()));
    let error = executable.run(&mut states, &inputs()).unwrap_err().to_string();
    assert!(error.contains("state cache: expected Float16[2, 3], found floats [3, 2]"), "{error}");
}

#[test]
fn half_precision_rounds_after_every_operator() {
    let package = open(&model()).unwrap();
    let third = [("x".to_owned(), Tensor::floats([3], vec![1.0 / 3.0; 3]).unwrap())].into();
    let run = |package: &Package, precision| {
        let executable = Executable::new(package, "main", precision).unwrap();
        let outputs = executable.run(&mut States::default(), &third).unwrap();
        outputs["y"].as_floats().unwrap()[0]
    };
    assert_eq!(run(&package, Precision::Single), 1.0 / 3.0);
    assert_eq!(run(&package, Precision::Half), half::f16::from_f32(1.0 / 3.0).to_f32());
}

/// A function that makes `count` values of `elements` elements each, and uses all of them at its end.
fn with_fills(count: usize, elements: i64) -> Model {
    use crate::package::spec::{
        Binding, Bound, Content, Elements, Floats, ImmediateValue, Ints, TensorValue, Value,
    };
    let literal = |elements, kind| {
        let tensor = Some(TensorValue { elements: Some(elements) });
        let content = Some(Content::Immediate(ImmediateValue { tensor }));
        let bound = Some(Bound::Value(Value { kind: Some(kind), content }));
        Argument { bindings: vec![Binding { bound }] }
    };
    let name = |at: usize| format!("f{at}");
    let mut changed = model();
    let block = block(&mut changed);
    for at in 0..count {
        let mut fill = operation("fill", &[]);
        let shape = Elements::Ints(Ints { values: vec![elements as i32] });
        fill.inputs.insert("shape".into(), literal(shape, tensor(DataType::Int32, &[1])));
        let value = Elements::Floats(Floats { values: vec![1.0] });
        fill.inputs.insert("value".into(), literal(value, tensor(DataType::Float32, &[])));
        fill.outputs.push(named(&name(at), tensor(DataType::Float32, &[elements as u64])));
        block.operations.push(fill);
    }
    let mut concat = operation("concat", &[("values", "f0")]);
    let argument = concat.inputs.get_mut("values").unwrap();
    let bound = |at| Binding { bound: Some(Bound::Name(name(at))) };
    argument.bindings.extend((1..count).map(bound));
    let shape = [count as u64 * elements as u64];
    concat.outputs.push(named("all", tensor(DataType::Float32, &shape)));
    block.operations.push(concat);
    changed
}

#[test]
fn the_sum_of_a_functions_values_is_bounded_before_it_runs() {
    assert!(compiled(&with_fills(4, 1 << 20)).is_ok());
    let error = compiled(&with_fills(40, 1 << 24)).unwrap_err();
    assert!(error.to_string().contains("bytes of memory"), "{error}");
    assert_eq!(error.exit().code(), 2);
}

#[test]
fn a_state_beyond_the_budget_is_refused_when_the_function_is_compiled() {
    let mut changed = model();
    let wrapped = Some(Box::new(half(&[1 << 45])));
    let state = crate::package::spec::StateType { wrapped };
    function(&mut changed).inputs[1].kind = Some(crate::package::spec::ValueType {
        of: Some(crate::package::spec::TypeOf::State(Box::new(state))),
    });
    description(&mut changed).states = vec![feature("cache", true, &[1 << 45])];
    let error = compiled(&changed).unwrap_err().to_string();
    assert!(error.contains("state cache: this needs"), "{error}");
    assert!(error.contains("bytes of memory"), "{error}");
}

#[test]
fn what_a_run_allocates_is_returned_to_the_budget() {
    let package = open(&with_fills(8, 1 << 20)).unwrap();
    let executable = Executable::new(&package, "main", Precision::Single).unwrap();
    for _ in 0..40 {
        executable.run(&mut States::zeros(executable.interface()), &inputs()).unwrap();
    }
    // Constants are charged as long as the function exists.
    package.budget().check_room((1 << 30) - (1 << 16)).unwrap();
}
