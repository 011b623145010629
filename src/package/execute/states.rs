//! Buffers that stay between runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tensor::Tensor;
use crate::error::{At, Error, Result};
use crate::package::read::interface::{Feature, Interface};

/// The states of a model by name. Functions that name the same state share it.
#[derive(Debug, Clone, Default)]
pub struct States(BTreeMap<String, Arc<Tensor>>);

impl States {
    /// The states of `interface`, all zero, as Core ML makes them.
    pub fn zeros(interface: &Interface) -> Self {
        let zero = |state: &Feature| {
            let shape = state.kind.fixed_shape()?;
            let len = shape.iter().product();
            Some((state.name.clone(), Arc::new(Tensor::floats(shape, vec![0.0; len]).ok()?)))
        };
        States(interface.states.iter().filter_map(zero).collect())
    }

    /// The state called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name).map(|tensor| &**tensor)
    }

    /// Puts a tensor, of fp16 values, in the place of a state.
    pub fn set(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), Arc::new(tensor));
    }

    /// The value of a state as a run begins. A state that the run will write is handed over, so
    /// that it can be changed in place.
    pub(super) fn read(&mut self, feature: &Feature, is_written: bool) -> Result<Arc<Tensor>> {
        let missing = || Error::input(format!("the state `{}` is missing", feature.name));
        let value = match is_written {
            true => self.0.remove(&feature.name),
            false => self.0.get(&feature.name).cloned(),
        };
        let value = value.ok_or_else(missing)?;
        super::check(&value, &feature.kind).at(|| format!("state {}", feature.name))?;
        Ok(value)
    }

    /// Keeps the value of a state as a run ends.
    pub(super) fn write(&mut self, feature: &Feature, value: Arc<Tensor>) -> Result<()> {
        super::check(&value, &feature.kind).at(|| format!("state {}", feature.name))?;
        self.0.insert(feature.name.clone(), value);
        Ok(())
    }
}
