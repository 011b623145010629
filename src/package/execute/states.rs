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

    /// Takes the states out of a budget as long as they exist.
    ///
    /// # Errors
    /// An input error if the budget does not have them.
    pub fn charged(mut self, budget: &Arc<Budget>) -> Result<Self> {
        for (name, tensor) in &mut self.0 {
            if let Some(tensor) = Arc::get_mut(tensor) {
                tensor.charge(budget).at(|| format!("state {name}"))?;
            }
        }
        Ok(self)
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
