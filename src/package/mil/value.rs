//! Handles to what a function has: values and states.

use std::rc::Rc;

use super::types::TensorType;
use crate::package::spec::DataType;

/// A tensor that a function takes or has made. Cheap to clone; of use only in its own function.
#[derive(Debug, Clone)]
pub struct Value(pub(super) Rc<Declared>);

/// A buffer that stays between calls. Cheap to clone; of use only in its own function.
#[derive(Debug, Clone)]
pub struct State(pub(super) Rc<Declared>);

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The function's caller.
    Input,
    /// `const` or `constexpr_*`: known before the function runs.
    Constant,
    /// Any other operator.
    Operator,
}

#[derive(Debug)]
pub(super) struct Declared {
    /// The function that it belongs to.
    pub(super) owner: Rc<str>,
    pub(super) name: String,
    pub(super) kind: TensorType,
    pub(super) origin: Origin,
}

impl Value {
    /// Its name in the function; the name of an output is settled when the function is finished.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its type.
    pub fn kind(&self) -> &TensorType {
        &self.0.kind
    }

    /// The type of its elements.
    pub fn data_type(&self) -> DataType {
        self.0.kind.data_type
    }

    /// The length of every axis.
    pub fn shape(&self) -> &[usize] {
        &self.0.kind.shape
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// Whether it is known before the function runs.
    pub fn is_constant(&self) -> bool {
        self.0.origin == Origin::Constant
    }
}

impl State {
    /// Its name in the function and for the function's caller.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The tensor within.
    pub fn kind(&self) -> &TensorType {
        &self.0.kind
    }
}
