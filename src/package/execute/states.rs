//! The states of a model: buffers that stay between runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tensor::{Tensor, element_count};
use crate::error::{At, Error, Result};
use crate::package::budget::Budget;
use crate::package::read::interface::{Feature, Interface};

/// The states of a model by name. Functions that use the same name share the state.
#[derive(Debug, Clone, Default)]
pub struct States(pub(super) BTreeMap<String, Arc<Tensor>>);

impl States {
    /// The states of `interface`, filled with zeros, as Core ML creates them. The interface is that of
    /// an [`Executable`](super::Executable), which has checked that they are not too large.
    pub fn zeros(interface: &Interface) -> Self {
        let zero = |state: &Feature| {
            let shape = state.kind.fixed_shape()?;
            let len = element_count(&shape).ok()?;
            Some((state.name.clone(), Arc::new(Tensor::floats(shape, vec![0.0; len]).ok()?)))
        };
        States(interface.states.iter().filter_map(zero).collect())
    }

    /// As [`States::zeros`]; the states are charged to `budget`.
    ///
    /// # Errors
    /// An input error if they are too large.
    pub fn charged(interface: &Interface, budget: &Arc<Budget>) -> Result<Self> {
        let mut states = BTreeMap::new();
        for state in &interface.states {
            let place = || format!("state {}", state.name);
            let shape = state.kind.fixed_shape().unwrap_or_default();
            let len = element_count(&shape).at(place)?;
            budget.check_room((len * size_of::<f32>()) as u64).at(place)?;
            let mut tensor = Tensor::floats(shape, vec![0.0; len])?;
            tensor.charge(budget).at(place)?;
            states.insert(state.name.clone(), Arc::new(tensor));
        }
        Ok(States(states))
    }

    /// The value of a state at the start of a run. A state that the run will write is moved out, so
    /// that it can be changed in place.
    pub(super) fn read(&mut self, feature: &Feature, is_written: bool) -> Result<Arc<Tensor>> {
        let missing = || Error::input(format!("the state `{}` is missing", feature.name));
        let value = if is_written {
            self.0.remove(&feature.name)
        } else {
            self.0.get(&feature.name).cloned()
        };
        let value = value.ok_or_else(missing)?;
        super::check(&value, &feature.kind).at(|| format!("state {}", feature.name))?;
        Ok(value)
    }

    /// Stores the value of a state at the end of a run.
    pub(super) fn write(&mut self, feature: &Feature, value: Arc<Tensor>) -> Result<()> {
        super::check(&value, &feature.kind).at(|| format!("state {}", feature.name))?;
        self.0.insert(feature.name.clone(), value);
        Ok(())
    }
}
