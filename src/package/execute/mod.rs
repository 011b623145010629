//! Runs the functions of a package on this machine, without Core ML.
//!
//! A function is compiled once into an [`Executable`], in which names have become slots and what
//! depends on constants alone is already computed. [`Executable::run`] then takes inputs by name
//! and returns outputs by name; [`States`] hold what stays between runs. Weights stay packed, and a
//! value is dropped after its last use. Sums have a fixed order, so that results do not depend on
//! the number of threads.
//!
//! Packages may come from other tools: the operators here are those of MIL, not only those that
//! this program writes.

mod arguments;
mod compile;
mod keep_workers_hot;
pub mod multiply;
mod operators;
mod peak;
mod states;
mod tensor;
mod value;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use self::arguments::Arguments;
use self::keep_workers_hot::keep_workers_hot;
use self::operators::Operator;
pub use self::states::States;
pub(super) use self::tensor::element_count;
pub use self::tensor::{Data, Tensor};
use self::value::RuntimeValue;
use crate::error::{At, Error, Result};
use crate::package::budget::{Budget, Work};
use crate::package::read::Package;
use crate::package::read::interface::Interface;
use crate::package::read::literal::DeclaredType;
use crate::package::spec::DataType;

/// Whether values of type fp16 are rounded to fp16 while a function runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// They are not rounded: everything is computed in f32.
    Single,
    /// They are rounded to fp16 after every operator; sums within an operator are f32.
    Half,
}

/// A function that is ready to run.
#[derive(Debug)]
pub struct Executable {
    path: PathBuf,
    function: String,
    interface: Interface,
    precision: Precision,
    budget: Arc<Budget>,
    /// The constants by slot; `None` if an operation computes the value.
    constants: Vec<Option<RuntimeValue>>,
    operations: Vec<CompiledOperation>,
    /// The slots of the inputs, in the interface's order.
    inputs: Vec<usize>,
    /// The values that a run returns, with their slots: the interface's outputs, and inner values
    /// that were asked for.
    outputs: Vec<(String, usize)>,
    /// The slots of each state, in the interface's order.
    states: Vec<StateSlots>,
}

/// The slots of a state's values in a run.
#[derive(Debug, Clone, Copy)]
struct StateSlots {
    /// The value before the run; `None` if the function does not read it.
    first: Option<usize>,
    /// The value after the run; `None` if the function does not write it.
    last: Option<usize>,
}

/// One operation with its operator and slots.
#[derive(Debug)]
struct CompiledOperation {
    title: String,
    operator: Operator,
    /// Whether the result may be a slice of the argument, without a copy.
    is_slice: bool,
    arguments: Vec<(String, Vec<ArgumentSlot>)>,
    /// The slots of the outputs, and their types.
    outputs: Vec<usize>,
    kinds: Vec<DeclaredType>,
}

/// The slot of an argument.
#[derive(Debug, Clone, Copy)]
struct ArgumentSlot {
    slot: usize,
    /// Whether this is the last use of the value.
    is_last: bool,
}

impl Executable {
    /// Compiles the function `function`.
    ///
    /// # Errors
    /// Input errors that name the value: an operator that is not supported, or parameters that do
    /// not fit together.
    pub fn new(package: &Package, function: &str, precision: Precision) -> Result<Self> {
        Self::with_inner_values(package, function, precision, &[])
    }

    /// As [`Executable::new`]; [`run`](Executable::run) also returns the values `inner`, which
    /// operations within the function compute.
    ///
    /// # Errors
    /// As for [`Executable::new`], and if there is no such value.
    pub fn with_inner_values(
        package: &Package,
        function: &str,
        precision: Precision,
        inner: &[String],
    ) -> Result<Self> {
        compile::compile(package, function, precision, inner)
            .at(|| format!("function {function}"))
            .at(|| package.path().display().to_string())
    }

    /// The inputs, outputs and states of the function.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Runs the function once. `inputs` must be exactly those of the interface, by name; the
    /// outputs are returned by name.
    ///
    /// # Errors
    /// Input errors if the inputs do not fit, if an operator fails, or if memory or work exceed the
    /// package's budget; interruption. `states` cannot be used afterwards.
    pub fn run(
        &self,
        states: &mut States,
        inputs: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        keep_workers_hot(|| self.run_operations(states, inputs))
            .at(|| format!("function {}", self.function))
            .at(|| self.path.display().to_string())
    }

    fn run_operations(
        &self,
        states: &mut States,
        inputs: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let work = Work::new(&self.budget);
        let mut slots = self.constants.clone();
        self.bind_inputs(inputs, &mut slots)?;
        for (feature, state) in self.interface.states.iter().zip(&self.states) {
            if let Some(slot) = state.first {
                let value = states.read(feature, state.last.is_some())?;
                slots[slot] = Some(RuntimeValue::Tensor(value));
            }
        }
        for operation in &self.operations {
            operation.run(&mut slots, self.precision, &work).at(|| operation.title.clone())?;
        }
        for (feature, state) in self.interface.states.iter().zip(&self.states) {
            if let Some(slot) = state.last {
                states.write(feature, self.final_value(&slots, slot)?)?;
            }
        }
        let values = self.outputs.iter().map(|(_, slot)| self.final_value(&slots, *slot));
        let values = values.collect::<Result<Vec<_>>>()?;
        drop(slots);
        let own = |tensor: Arc<Tensor>| Arc::try_unwrap(tensor).unwrap_or_else(|t| (*t).clone());
        let names = self.outputs.iter().map(|(name, _)| name.clone());
        Ok(names.zip(values.into_iter().map(own)).collect())
    }

    fn bind_inputs(
        &self,
        inputs: &BTreeMap<String, Tensor>,
        slots: &mut [Option<RuntimeValue>],
    ) -> Result<()> {
        let expected = self.interface.inputs.len();
        if inputs.len() != expected {
            let names: Vec<&String> = inputs.keys().collect();
            return Err(Error::input(format!("expected {expected} inputs, found {names:?}")));
        }
        for (feature, slot) in self.interface.inputs.iter().zip(&self.inputs) {
            let tensor = inputs
                .get(&feature.name)
                .ok_or_else(|| Error::input(format!("the input `{}` is missing", feature.name)))?;
            check(tensor, &feature.kind).at(|| format!("input {}", feature.name))?;
            let mut tensor = tensor.clone();
            tensor.charge(&self.budget)?;
            self.precision.round(&mut tensor, &feature.kind);
            slots[*slot] = Some(RuntimeValue::Tensor(tensor.into()));
        }
        Ok(())
    }

    /// The value of a slot at the end of a run, as a tensor.
    fn final_value(&self, slots: &[Option<RuntimeValue>], slot: usize) -> Result<Arc<Tensor>> {
        let room = |shape: &[usize]| {
            self.budget.check_room((element_count(shape)? * size_of::<f32>()) as u64)
        };
        let mut tensor = match &slots[slot] {
            Some(RuntimeValue::Tensor(tensor)) => return Ok(tensor.clone()),
            Some(RuntimeValue::Weight(weight)) => {
                room(weight.shape())?;
                Tensor::floats(weight.shape().to_vec(), weight.decode())?
            }
            Some(RuntimeValue::Slice(slice)) => {
                room(slice.shape())?;
                slice.to_tensor()?
            }
            Some(RuntimeValue::Text(_)) => {
                return Err(Error::input("expected a tensor as result, found a string"));
            }
            None => return Err(Error::bug(format!("slot {slot} is empty at the end of the run"))),
        };
        tensor.charge(&self.budget)?;
        Ok(Arc::new(tensor))
    }
}

impl Precision {
    fn round(self, tensor: &mut Tensor, kind: &DeclaredType) {
        if self == Precision::Half && kind.data_type == DataType::Float16 {
            tensor.round_to_half();
        }
    }
}

impl CompiledOperation {
    /// Computes the outputs into their slots, and charges them to the budget of `work`.
    fn run(
        &self,
        slots: &mut [Option<RuntimeValue>],
        precision: Precision,
        work: &Work,
    ) -> Result<()> {
        let mut by_name = Vec::with_capacity(self.arguments.len());
        for (name, values) in &self.arguments {
            let take = |argument: &ArgumentSlot| {
                let slot = &mut slots[argument.slot];
                let value = if argument.is_last { slot.take() } else { slot.clone() };
                value.ok_or_else(|| Error::bug(format!("{name}: the slot of the value is empty")))
            };
            by_name.push((name.as_str(), values.iter().map(take).collect::<Result<_>>()?));
        }
        let mut args = Arguments::new(by_name, self.outputs.len(), work)?;
        if let (true, [kind], [slot]) = (self.is_slice, &*self.kinds, &*self.outputs)
            && let Some(slice) =
                operators::slice_without_copy(&args)?.filter(|slice| slice.is_a(kind))
        {
            slots[*slot] = Some(RuntimeValue::Slice(slice));
            return Ok(());
        }
        let tensors = (self.operator)(&mut args)?;
        // What was an argument only is returned to the budget before the results are charged.
        drop(args);
        if tensors.len() < self.outputs.len() {
            let (expected, found) = (self.outputs.len(), tensors.len());
            return Err(Error::input(format!(
                "the program takes {expected} values from the operator, which computes {found}"
            )));
        }
        for ((mut tensor, kind), slot) in tensors.into_iter().zip(&self.kinds).zip(&self.outputs) {
            check(&tensor, kind)?;
            tensor.charge(work.budget())?;
            precision.round(&mut tensor, kind);
            slots[*slot] = Some(RuntimeValue::Tensor(tensor.into()));
        }
        Ok(())
    }
}

/// Returns an input error if a value does not have its declared type.
fn check(tensor: &Tensor, kind: &DeclaredType) -> Result<()> {
    if tensor.is_a(kind) {
        return Ok(());
    }
    let (name, shape) = (tensor.data().name(), tensor.shape());
    Err(Error::input(format!("expected {kind}, found {name} {shape:?}")))
}

#[cfg(test)]
mod hostile_arguments;
#[cfg(test)]
mod tests;
