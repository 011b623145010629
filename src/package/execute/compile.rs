//! From a function of a program to a plan.

use std::collections::{BTreeMap, BTreeSet};

use super::operators;
use super::value::Value;
use super::{Executable, Precision, Source, Step};
use crate::error::{At, Error, Result};
use crate::package::constexpr::{self, Known};
use crate::package::read::literal::Kind;
use crate::package::read::scope::title;
use crate::package::read::{Function, Package};
use crate::package::spec::{Argument, Bound, Operation};

/// Results that depend on constants alone are kept up to this many elements.
const MAX_FOLDED_ELEMENTS: usize = 1 << 16;

/// Compiles one function.
pub(super) fn compile(
    package: &Package,
    name: &str,
    precision: Precision,
    watched: &[String],
) -> Result<Executable> {
    let function = package.function(name)?;
    let mut plan = Plan::new(package, function, precision);
    for operation in &function.block.operations {
        plan.add(operation).at(|| title(operation))?;
    }
    plan.finish(name, watched)
}

struct Plan<'a> {
    package: &'a Package,
    function: &'a Function,
    precision: Precision,
    slots: BTreeMap<&'a str, usize>,
    known: BTreeMap<&'a str, Known>,
    constants: Vec<Option<Value>>,
    steps: Vec<Step>,
    inputs: Vec<usize>,
    /// Per state the slot of its value at this point, and whether it was written.
    states: BTreeMap<&'a str, StateSlots>,
}

#[derive(Debug, Clone, Copy, Default)]
struct StateSlots {
    first: Option<usize>,
    now: Option<usize>,
    is_written: bool,
}

impl<'a> Plan<'a> {
    fn new(package: &'a Package, function: &'a Function, precision: Precision) -> Self {
        let mut plan = Plan {
            package,
            function,
            precision,
            slots: BTreeMap::new(),
            known: BTreeMap::new(),
            constants: Vec::new(),
            steps: Vec::new(),
            inputs: Vec::new(),
            states: BTreeMap::new(),
        };
        for input in &function.interface.inputs {
            let slot = plan.slot(None);
            plan.slots.insert(&input.name, slot);
            plan.inputs.push(slot);
        }
        for state in &function.interface.states {
            plan.states.insert(&state.name, StateSlots::default());
        }
        plan
    }

    fn slot(&mut self, constant: Option<Value>) -> usize {
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
            return self.add_step(operation);
        }
        for (value, output) in values.into_iter().zip(&operation.outputs) {
            self.known.insert(&output.name, value.clone());
            let slot = self.slot(Some(Value::of(value)?));
            self.slots.insert(&output.name, slot);
        }
        Ok(())
    }

    fn add_step(&mut self, operation: &'a Operation) -> Result<()> {
        let operator = operators::find(&operation.kind).ok_or_else(|| {
            Error::input(format!("the operator `{}` is not known here", operation.kind))
        })?;
        let mut arguments = Vec::new();
        for (name, argument) in &operation.inputs {
            arguments.push((name.clone(), self.sources(argument)?));
        }
        let kinds = operation.outputs.iter().map(|output| Kind::of(output.kind.as_ref()));
        let kinds = kinds.collect::<Result<Vec<_>>>()?;
        let first = self.constants.len();
        let outputs: Vec<usize> = operation.outputs.iter().map(|_| self.slot(None)).collect();
        for (output, slot) in operation.outputs.iter().zip(first..) {
            self.slots.insert(&output.name, slot);
        }
        let is_slice = operation.kind == "slice_by_index";
        let title = title(operation);
        let step = Step { title, operator, is_slice, arguments, outputs, kinds };
        if self.depends_on_constants(&step) {
            return step.run(&mut self.constants, self.precision);
        }
        self.steps.push(step);
        Ok(())
    }

    /// Whether a step can be computed now, and its results be kept.
    fn depends_on_constants(&self, step: &Step) -> bool {
        let sources = step.arguments.iter().flat_map(|(_, sources)| sources);
        let is_constant = |source: &Source| {
            matches!(&self.constants[source.slot], Some(Value::Tensor(_) | Value::Text(_)))
        };
        let is_small = |kind: &Kind| {
            kind.fixed_shape()
                .is_some_and(|shape| shape.iter().product::<usize>() <= MAX_FOLDED_ELEMENTS)
        };
        sources.clone().all(is_constant) && step.kinds.iter().all(is_small)
    }

    fn sources(&mut self, argument: &'a Argument) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        for binding in &argument.bindings {
            let slot = match &binding.bound {
                Some(Bound::Name(name)) => self.named(name)?,
                Some(Bound::Value(value)) => {
                    let literal = self.package.literal(value)?;
                    self.slot(Some(Value::of(Known::Literal(literal))?))
                }
                None => return Err(Error::input("an argument is bound to nothing")),
            };
            sources.push(Source { slot, is_last: false });
        }
        Ok(sources)
    }

    fn named(&self, name: &str) -> Result<usize> {
        self.slots.get(name).copied().ok_or_else(|| match self.states.contains_key(name) {
            true => Error::input(format!("only read_state and write_state take a state: `{name}`")),
            false => Error::input(format!("`{name}` is made within a nested block")),
        })
    }

    /// The name of the state that an operation reads or writes.
    fn state(operation: &'a Operation) -> Result<&'a str> {
        let argument = operation.inputs.get("input");
        match argument.and_then(|argument| argument.bindings.first()?.bound.as_ref()) {
            Some(Bound::Name(name)) => Ok(name),
            _ => Err(Error::input("the parameter `input` names no state")),
        }
    }

    /// Reading gives the value written last, or the one before the run.
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

    /// Only the value written last is kept, when the run ends.
    fn write_state(&mut self, operation: &'a Operation) -> Result<()> {
        let name = Self::state(operation)?;
        let data = operation.inputs.get("data");
        let data = data.ok_or_else(|| Error::input("the parameter `data` is missing"))?;
        let sources = self.sources(data)?;
        let state = self.states.get_mut(name).ok_or_else(|| not_a_state(name))?;
        let [source] = sources.as_slice() else {
            return Err(Error::input("data: expected one value"));
        };
        (state.now, state.is_written) = (Some(source.slot), true);
        Ok(())
    }

    fn finish(mut self, name: &str, watched: &[String]) -> Result<Executable> {
        let interface = self.function.interface.clone();
        let names = interface.outputs.iter().map(|output| &output.name).chain(watched);
        let outputs = names.map(|name| Ok((name.clone(), self.named(name)?)));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let states = interface.states.iter().map(|state| {
            let slots = self.states.get(state.name.as_str()).copied().unwrap_or_default();
            (slots.first, slots.now.filter(|_| slots.is_written))
        });
        let states: Vec<_> = states.collect();
        let kept = outputs
            .iter()
            .map(|(_, slot)| *slot)
            .chain(states.iter().filter_map(|(_, last)| *last));
        mark_last_uses(&mut self.steps, kept.collect());
        Ok(Executable {
            path: self.package.path().into(),
            function: name.to_owned(),
            interface,
            precision: self.precision,
            constants: self.constants,
            steps: self.steps,
            inputs: self.inputs,
            outputs,
            states,
        })
    }
}

fn not_a_state(name: &str) -> Error {
    Error::input(format!("`{name}` is not a state"))
}

/// Marks where each value is used for the last time; `kept` are needed after the run.
fn mark_last_uses(steps: &mut [Step], kept: BTreeSet<usize>) {
    let mut needed = kept;
    for step in steps.iter_mut().rev() {
        let arguments = step.arguments.iter_mut().rev();
        for source in arguments.flat_map(|(_, sources)| sources.iter_mut().rev()) {
            source.is_last = needed.insert(source.slot);
        }
    }
}
