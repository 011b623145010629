//! Compiles a function of a program into an [`Executable`]: names become slots, and what depends on
//! constants alone is computed once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::operators;
use super::peak::{largest_value, peak_bytes};
use super::value::RuntimeValue;
use super::{ArgumentSlot, CompiledOperation, Executable, Precision, StateSlots};
use crate::error::{At, Error, Result};
use crate::package::budget::{Budget, Work};
use crate::package::constexpr::{self, KnownValue};
use crate::package::read::literal::DeclaredType;
use crate::package::read::scope::title;
use crate::package::read::{CheckedFunction, Package};
use crate::package::spec::{Argument, Bound, Operation};

/// An operation on constants is computed at compile time if its results have at most this many
/// elements.
const MAX_FOLDED_ELEMENTS: usize = 1 << 16;

/// Compiles one function. The values `inner` become outputs as well.
pub(super) fn compile(
    package: &Package,
    name: &str,
    precision: Precision,
    inner: &[String],
) -> Result<Executable> {
    let function = package.function(name)?;
    let mut compiler = Compiler::new(package, function, precision);
    for operation in &function.block.operations {
        compiler.add(operation).at(|| title(operation))?;
    }
    compiler.finish(name, inner)
}

struct Compiler<'a> {
    package: &'a Package,
    function: &'a CheckedFunction,
    precision: Precision,
    /// The work of computing what depends on constants alone.
    work: Work,
    slots: BTreeMap<&'a str, usize>,
    known: BTreeMap<&'a str, KnownValue>,
    constants: Vec<Option<RuntimeValue>>,
    operations: Vec<CompiledOperation>,
    inputs: Vec<usize>,
    /// For each state, the slots of its values so far.
    states: BTreeMap<&'a str, StateSoFar>,
}

/// The slots of a state at some point of the function.
#[derive(Debug, Clone, Copy, Default)]
struct StateSoFar {
    /// The value before the run; `None` if the function does not read it.
    first: Option<usize>,
    /// The current value; `None` if the state was neither read nor written.
    now: Option<usize>,
    is_written: bool,
}

impl<'a> Compiler<'a> {
    fn new(package: &'a Package, function: &'a CheckedFunction, precision: Precision) -> Self {
        let mut compiler = Compiler {
            package,
            function,
            precision,
            work: Work::new(package.budget()),
            slots: BTreeMap::new(),
            known: BTreeMap::new(),
            constants: Vec::new(),
            operations: Vec::new(),
            inputs: Vec::new(),
            states: BTreeMap::new(),
        };
        for input in &function.interface.inputs {
            let slot = compiler.slot(None);
            compiler.slots.insert(&input.name, slot);
            compiler.inputs.push(slot);
        }
        for state in &function.interface.states {
            compiler.states.insert(&state.name, StateSoFar::default());
        }
        compiler
    }

    fn budget(&self) -> &'a Arc<Budget> {
        self.package.budget()
    }

    fn slot(&mut self, constant: Option<RuntimeValue>) -> usize {
        self.constants.push(constant);
        self.constants.len() - 1
    }

    fn add(&mut self, operation: &'a Operation) -> Result<()> {
        match operation.kind.as_str() {
            "read_state" => return self.read_state(operation),
            "write_state" => return self.write_state(operation),
            _ => {}
        }
        let known = |name: &str| self.known.get(name).cloned();
        let values = constexpr::read(self.package, operation, known)?;
        if values.is_empty() {
            return self.add_operation(operation);
        }
        for (value, output) in values.into_iter().zip(&operation.outputs) {
            self.known.insert(&output.name, value.clone());
            let slot = self.slot(Some(RuntimeValue::of(value, self.budget())?));
            self.slots.insert(&output.name, slot);
        }
        Ok(())
    }

    fn add_operation(&mut self, operation: &'a Operation) -> Result<()> {
        let operator = operators::find(&operation.kind).ok_or_else(|| {
            Error::input(format!("the operator `{}` is not supported", operation.kind))
        })?;
        let mut arguments = Vec::new();
        for (name, argument) in &operation.inputs {
            arguments.push((name.clone(), self.slots_of(argument)?));
        }
        let kinds = operation.outputs.iter().map(|output| DeclaredType::of(output.kind.as_ref()));
        let kinds = kinds.collect::<Result<Vec<_>>>()?;
        let first = self.constants.len();
        let outputs: Vec<usize> = operation.outputs.iter().map(|_| self.slot(None)).collect();
        for (output, slot) in operation.outputs.iter().zip(first..) {
            self.slots.insert(&output.name, slot);
        }
        let is_slice = operation.kind == "slice_by_index";
        let title = title(operation);
        let compiled = CompiledOperation { title, operator, is_slice, arguments, outputs, kinds };
        if self.is_foldable(&compiled) {
            return compiled.run(&mut self.constants, self.precision, &self.work);
        }
        self.operations.push(compiled);
        Ok(())
    }

    /// Whether an operation depends on constants alone and has small results.
    fn is_foldable(&self, operation: &CompiledOperation) -> bool {
        let arguments = operation.arguments.iter().flat_map(|(_, arguments)| arguments);
        let is_constant = |argument: &ArgumentSlot| {
            let value = &self.constants[argument.slot];
            matches!(value, Some(RuntimeValue::Tensor(_) | RuntimeValue::Text(_)))
        };
        let is_small = |kind: &DeclaredType| {
            kind.fixed_shape()
                .is_some_and(|shape| shape.iter().product::<usize>() <= MAX_FOLDED_ELEMENTS)
        };
        arguments.clone().all(is_constant) && operation.kinds.iter().all(is_small)
    }

    fn slots_of(&mut self, argument: &'a Argument) -> Result<Vec<ArgumentSlot>> {
        let mut slots = Vec::new();
        for binding in &argument.bindings {
            let slot = match &binding.bound {
                Some(Bound::Name(name)) => self.named(name)?,
                Some(Bound::Value(value)) => {
                    let literal = self.package.literal(value)?;
                    let known = KnownValue::Literal(literal);
                    self.slot(Some(RuntimeValue::of(known, self.budget())?))
                }
                None => return Err(Error::input("an argument is bound to nothing")),
            };
            slots.push(ArgumentSlot { slot, is_last: false });
        }
        Ok(slots)
    }

    fn named(&self, name: &str) -> Result<usize> {
        self.slots.get(name).copied().ok_or_else(|| {
            if self.states.contains_key(name) {
                Error::input(format!(
                    "`{name}` is a state, which only read_state and write_state may use"
                ))
            } else {
                Error::input(format!(
                    "`{name}` is defined in a nested block; these do not run here"
                ))
            }
        })
    }

    /// The name of the state that an operation reads or writes.
    fn state(operation: &'a Operation) -> Result<&'a str> {
        let argument = operation.inputs.get("input");
        match argument.and_then(|argument| argument.bindings.first()?.bound.as_ref()) {
            Some(Bound::Name(name)) => Ok(name),
            _ => Err(Error::input("the parameter `input` must name a state")),
        }
    }

    /// A read gives the value that was written last, or else the one before the run.
    fn read_state(&mut self, operation: &'a Operation) -> Result<()> {
        let name = Self::state(operation)?;
        let fresh = self.slot(None);
        let state = self.states.get_mut(name).ok_or_else(|| not_a_state(name))?;
        let slot = state.now.unwrap_or(fresh);
        if state.now.is_none() {
            (state.first, state.now) = (Some(slot), Some(slot));
        }
        for output in &operation.outputs {
            self.slots.insert(&output.name, slot);
        }
        Ok(())
    }

    /// A write only changes which slot holds the value; it is stored when the run ends.
    fn write_state(&mut self, operation: &'a Operation) -> Result<()> {
        let name = Self::state(operation)?;
        let data = operation.inputs.get("data");
        let data = data.ok_or_else(|| Error::input("the parameter `data` is missing"))?;
        let slots = self.slots_of(data)?;
        let state = self.states.get_mut(name).ok_or_else(|| not_a_state(name))?;
        let [argument] = slots.as_slice() else {
            return Err(Error::input("data: expected one value"));
        };
        (state.now, state.is_written) = (Some(argument.slot), true);
        Ok(())
    }

    fn finish(mut self, name: &str, inner: &[String]) -> Result<Executable> {
        let interface = self.function.interface.clone();
        let names = interface.outputs.iter().map(|output| &output.name).chain(inner);
        let outputs = names.map(|name| Ok((name.clone(), self.named(name)?)));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let states = interface.states.iter().map(|state| {
            let slots = self.states.get(state.name.as_str()).copied().unwrap_or_default();
            StateSlots { first: slots.first, last: slots.now.filter(|_| slots.is_written) }
        });
        let states: Vec<_> = states.collect();
        let kept = outputs
            .iter()
            .map(|(_, slot)| *slot)
            .chain(states.iter().filter_map(|state| state.last));
        mark_last_uses(&mut self.operations, kept.collect());
        peak_bytes(&interface, &self.inputs, &states, &self.operations)
            .and_then(|bytes| self.budget().check_room(bytes))
            .map_err(|error| match largest_value(&interface, &self.operations) {
                Some(value) => error.at(value),
                None => error,
            })?;
        Ok(Executable {
            path: self.package.path().into(),
            function: name.to_owned(),
            interface,
            precision: self.precision,
            budget: Arc::clone(self.budget()),
            constants: self.constants,
            operations: self.operations,
            inputs: self.inputs,
            outputs,
            states,
        })
    }
}

fn not_a_state(name: &str) -> Error {
    Error::input(format!("`{name}` is not a state"))
}

/// Marks where each value is used for the last time. The slots `kept` are needed after the run.
fn mark_last_uses(operations: &mut [CompiledOperation], kept: BTreeSet<usize>) {
    let mut needed = kept;
    for operation in operations.iter_mut().rev() {
        let arguments = operation.arguments.iter_mut().rev();
        for argument in arguments.flat_map(|(_, arguments)| arguments.iter_mut().rev()) {
            argument.is_last = needed.insert(argument.slot);
        }
    }
}
