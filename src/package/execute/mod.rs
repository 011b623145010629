//! Running a package's functions on this machine, without Core ML.
//!
//! A function is compiled once into a plan: names become slots, constants are at hand, what
//! depends on constants alone is computed, and each value is dropped after its last use. Weights
//! stay packed. Sums have a fixed order, so that results do not depend on the number of threads.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use evalkit::package::{execute::{Executable, Precision, States, Tensor}, read::Package};
//!
//! # fn main() -> evalkit::error::Result<()> {
//! let package = Package::open("model.mlpackage".as_ref())?;
//! let decode = Executable::new(&package, package.default_function(), Precision::Single)?;
//! let mut states = States::zeros(decode.interface());
//! let inputs = BTreeMap::from([("input_ids".to_owned(), Tensor::ints([1, 1], vec![7])?)]);
//! let outputs = decode.run(&mut states, &inputs)?;
//! println!("{:?}", outputs["logits"].shape());
//! # Ok(())
//! # }
//! ```

mod call;
mod compile;
mod linger;
pub mod multiply;
mod operators;
mod states;
mod tensor;
mod value;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use self::call::Call;
use self::operators::Operator;
pub use self::states::States;
pub use self::tensor::{Data, Tensor};
use self::value::Value;
use crate::error::{At, Error, Result};
use crate::package::read::Package;
use crate::package::read::interface::Interface;
use crate::package::read::literal::Kind;
use crate::package::spec::DataType;

/// What values of type fp16 are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Nothing: everything is f32.
    Single,
    /// fp16 after every operator; sums within one stay f32.
    Half,
}

/// A function that is ready to run.
#[derive(Debug)]
pub struct Executable {
    path: PathBuf,
    function: String,
    interface: Interface,
    precision: Precision,
    /// Constants by slot; nothing where a step makes the value.
    constants: Vec<Option<Value>>,
    steps: Vec<Step>,
    /// Slots of inputs in the interface's order.
    inputs: Vec<usize>,
    /// What comes out, with its slot: the interface's outputs, and what is watched.
    outputs: Vec<(String, usize)>,
    /// Slots of each state's first and last value in a run; nothing where it is not touched.
    states: Vec<(Option<usize>, Option<usize>)>,
}

/// One operation of a plan.
#[derive(Debug)]
struct Step {
    title: String,
    operator: Operator,
    /// Whether the result may stay a part of the argument.
    is_slice: bool,
    arguments: Vec<(String, Vec<Source>)>,
    outputs: Vec<usize>,
    kinds: Vec<Kind>,
}

/// Where an argument is.
#[derive(Debug, Clone, Copy)]
struct Source {
    slot: usize,
    /// Whether nothing needs the value afterwards.
    is_last: bool,
}

impl Executable {
    /// Compiles the function `function`. Fails (input), naming the value, on operators that are
    /// not known and on parameters that do not fit together.
    pub fn new(package: &Package, function: &str, precision: Precision) -> Result<Self> {
        Self::watching(package, function, precision, &[])
    }

    /// The same with the values `watched` among what [`run`](Executable::run) gives: what an
    /// operator within the function makes. Fails (input) also where there is no such value.
    pub fn watching(
        package: &Package,
        function: &str,
        precision: Precision,
        watched: &[String],
    ) -> Result<Self> {
        compile::compile(package, function, precision, watched)
            .at(|| format!("function {function}"))
            .at(|| package.path().display().to_string())
    }

    /// What the function takes and gives.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Runs the function once on `inputs` by name, which must be exactly those of the interface;
    /// gives its outputs by name. A failed run (input) leaves `states` unusable.
    pub fn run(
        &self,
        states: &mut States,
        inputs: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        linger::awake(|| self.run_steps(states, inputs))
            .at(|| format!("function {}", self.function))
            .at(|| self.path.display().to_string())
    }

    fn run_steps(
        &self,
        states: &mut States,
        inputs: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut slots = self.constants.clone();
        self.bind_inputs(inputs, &mut slots)?;
        for (feature, (first, last)) in self.interface.states.iter().zip(&self.states) {
            if let Some(slot) = first {
                let value = states.read(feature, last.is_some())?;
                slots[*slot] = Some(Value::Tensor(value));
            }
        }
        for step in &self.steps {
            step.run(&mut slots, self.precision).at(|| step.title.clone())?;
        }
        for (feature, (_, last)) in self.interface.states.iter().zip(&self.states) {
            if let Some(slot) = last {
                states.write(feature, kept(&slots, *slot)?)?;
            }
        }
        let values = self.outputs.iter().map(|(_, slot)| kept(&slots, *slot));
        let values = values.collect::<Result<Vec<_>>>()?;
        drop(slots);
        let own = |tensor: Arc<Tensor>| Arc::try_unwrap(tensor).unwrap_or_else(|t| (*t).clone());
        let names = self.outputs.iter().map(|(name, _)| name.clone());
        Ok(names.zip(values.into_iter().map(own)).collect())
    }

    fn bind_inputs(
        &self,
        inputs: &BTreeMap<String, Tensor>,
        slots: &mut [Option<Value>],
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
            let mut tensor = tensor.clone();
            check(&tensor, &feature.kind).at(|| format!("input {}", feature.name))?;
            self.precision.round(&mut tensor, &feature.kind);
            slots[*slot] = Some(Value::Tensor(tensor.into()));
        }
        Ok(())
    }
}

/// The value of a slot when a run ends.
fn kept(slots: &[Option<Value>], slot: usize) -> Result<Arc<Tensor>> {
    match &slots[slot] {
        Some(Value::Tensor(tensor)) => Ok(tensor.clone()),
        Some(Value::Weight(weight)) => {
            Ok(Arc::new(Tensor::floats(weight.shape().to_vec(), weight.decode())?))
        }
        Some(Value::Part(part)) => Ok(Arc::new(part.to_tensor()?)),
        _ => Err(Error::bug(format!("the value of slot {slot} is gone"))),
    }
}

impl Precision {
    fn round(self, tensor: &mut Tensor, kind: &Kind) {
        if self == Precision::Half && kind.data_type == DataType::Float16 {
            tensor.round_to_half();
        }
    }
}

impl Step {
    /// Computes the step's outputs into their slots.
    fn run(&self, slots: &mut [Option<Value>], precision: Precision) -> Result<()> {
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for (name, sources) in &self.arguments {
            let take = |source: &Source| {
                let slot = &mut slots[source.slot];
                let value = if source.is_last { slot.take() } else { slot.clone() };
                value.ok_or_else(|| Error::bug(format!("{name}: the value is gone")))
            };
            arguments.push((name.as_str(), sources.iter().map(take).collect::<Result<_>>()?));
        }
        let mut call = Call { arguments };
        if let (true, [kind], [slot]) = (self.is_slice, &*self.kinds, &*self.outputs)
            && let Some(part) = operators::slice_part(&call)?.filter(|part| part.is_a(kind))
        {
            slots[*slot] = Some(Value::Part(part));
            return Ok(());
        }
        let tensors = (self.operator)(&mut call)?;
        if tensors.len() < self.outputs.len() {
            return Err(Error::bug(format!("it made {} values", tensors.len())));
        }
        for ((mut tensor, kind), slot) in tensors.into_iter().zip(&self.kinds).zip(&self.outputs) {
            check(&tensor, kind)?;
            precision.round(&mut tensor, kind);
            slots[*slot] = Some(Value::Tensor(tensor.into()));
        }
        Ok(())
    }
}

/// Fails (input) where a value is not of its declared type.
fn check(tensor: &Tensor, kind: &Kind) -> Result<()> {
    match tensor.is_a(kind) {
        true => Ok(()),
        false => Err(Error::input(format!(
            "expected {kind}, found {} {:?}",
            tensor.data().name(),
            tensor.shape()
        ))),
    }
}

#[cfg(test)]
mod tests;
