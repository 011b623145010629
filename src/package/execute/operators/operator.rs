//! The form of every operator.

use crate::error::Result;
use crate::package::execute::arguments::Arguments;
use crate::package::execute::tensor::Tensor;

/// Computes the outputs of an operator from its arguments.
pub(in crate::package::execute) type Operator = fn(&mut Arguments) -> Result<Vec<Tensor>>;
