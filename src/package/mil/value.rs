//! Handles to the values and states of a function.

use std::rc::Rc;

use super::types::TensorType;
use crate::package::spec::DataType;

/// An input of a function, or a result of one of its operators. Cheap to clone; valid only in its
/// own function.
#[derive(Debug, Clone)]
pub struct Value(pub(super) Rc<ValueInfo>);

/// A state: a buffer that stays between calls. Cheap to clone; valid only in its own function.
#[derive(Debug, Clone)]
pub struct StateBuffer(pub(super) Rc<ValueInfo>);

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueOrigin {
    /// The function's caller.
    Input,
    /// `const` or `constexpr_*`, whose results are known before the function runs.
    Constant,
    /// Any other operator.
    Operator,
}

/// The name and type of a value or state.
#[derive(Debug)]
pub(super) struct ValueInfo {
    /// The name of its function. Functions compare this pointer, not the text.
    pub(super) owner: Rc<str>,
    pub(super) name: String,
    pub(super) kind: TensorType,
    pub(super) origin: ValueOrigin,
}

impl Value {
    /// Its name in the function. An output gets its final name when the function is finished.
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

    /// Whether its elements are known before the function runs.
    pub fn is_constant(&self) -> bool {
        self.0.origin == ValueOrigin::Constant
    }
}

impl StateBuffer {
    /// Its name in the function, which is also its name for callers.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The type of the tensor that it holds.
    pub fn kind(&self) -> &TensorType {
        &self.0.kind
    }
}
