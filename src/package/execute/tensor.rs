//! Tensors while a program runs: floats as f32, integers as i32, and booleans.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::package::budget::{Budget, Charge};
use crate::package::constexpr::round_to_half;
use crate::package::read::literal::DeclaredType;
use crate::package::spec::DataType;

/// Larger tensors (1 GiB of floats) are refused before they are allocated.
const MAX_ELEMENTS: usize = 1 << 28;
/// Tensors of higher rank are refused. MIL itself allows five axes.
const MAX_RANK: usize = 8;

/// A tensor, row-major.
#[derive(Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
    /// Its bytes in a budget, which get them back when it is dropped; `None` if it is not counted.
    charge: Option<Charge>,
}

impl Clone for Tensor {
    /// The copy is not counted in any budget.
    fn clone(&self) -> Self {
        Tensor { shape: self.shape.clone(), data: self.data.clone(), charge: None }
    }
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && self.data == other.data
    }
}

/// The elements of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// fp16 and fp32.
    Float(Vec<f32>),
    /// Integers of all types.
    Int(Vec<i32>),
    /// Booleans.
    Bool(Vec<bool>),
}

/// Evaluates `$new` with `$old` bound to the elements of a `Data`; the result has the same type.
macro_rules! map_data {
    ($data:expr, $old:pat => $new:expr) => {
        match $data {
            $crate::package::execute::Data::Float($old) => {
                $crate::package::execute::Data::Float($new)
            }
            $crate::package::execute::Data::Int($old) => $crate::package::execute::Data::Int($new),
            $crate::package::execute::Data::Bool($old) => {
                $crate::package::execute::Data::Bool($new)
            }
        }
    };
}
pub(super) use map_data;

impl Data {
    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Data::Float(values) => values.len(),
            Data::Int(values) => values.len(),
            Data::Bool(values) => values.len(),
        }
    }

    /// The bytes of the elements in memory.
    fn size_bytes(&self) -> u64 {
        match self {
            Data::Float(values) => size_of_val(values.as_slice()) as u64,
            Data::Int(values) => size_of_val(values.as_slice()) as u64,
            Data::Bool(values) => size_of_val(values.as_slice()) as u64,
        }
    }

    /// What the elements are called in messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Data::Float(_) => "floats",
            Data::Int(_) => "integers",
            Data::Bool(_) => "booleans",
        }
    }
}

impl Tensor {
    /// A tensor of `shape`. Returns an input error if `data` has a different number of elements.
    pub fn new(shape: impl Into<Vec<usize>>, data: Data) -> Result<Self> {
        let shape = shape.into();
        let len = element_count(&shape)?;
        if len != data.len() {
            return Err(Error::input(format!(
                "expected {len} elements for the shape {shape:?}, found {}",
                data.len()
            )));
        }
        Ok(Tensor { shape, data, charge: None })
    }

    /// Takes the tensor's bytes out of a budget as long as it exists, unless that is done already.
    pub(super) fn charge(&mut self, budget: &Arc<Budget>) -> Result<()> {
        if self.charge.is_none() {
            self.charge = Some(budget.charge(self.data.size_bytes())?);
        }
        Ok(())
    }

    /// A tensor of floats. Errors as for [`new`](Tensor::new).
    pub fn floats(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self> {
        Self::new(shape, Data::Float(values))
    }

    /// A tensor of integers. Errors as for [`new`](Tensor::new).
    pub fn ints(shape: impl Into<Vec<usize>>, values: Vec<i32>) -> Result<Self> {
        Self::new(shape, Data::Int(values))
    }

    /// The length of every axis; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The shape and the elements.
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }

    /// The same elements in another shape. Returns an input error if their number differs.
    pub(super) fn reshaped(self, shape: Vec<usize>) -> Result<Self> {
        Self::new(shape, self.data)
    }

    /// The elements as floats. Returns an input error for integers and booleans.
    pub fn as_floats(&self) -> Result<&[f32]> {
        match &self.data {
            Data::Float(values) => Ok(values),
            other => Err(Error::input(format!("expected floats, found {}", other.name()))),
        }
    }

    /// The elements as integers. Returns an input error for floats and booleans.
    pub fn as_ints(&self) -> Result<&[i32]> {
        match &self.data {
            Data::Int(values) => Ok(values),
            other => Err(Error::input(format!("expected integers, found {}", other.name()))),
        }
    }

    pub(super) fn as_floats_mut(&mut self) -> Result<&mut Vec<f32>> {
        match &mut self.data {
            Data::Float(values) => Ok(values),
            other => Err(Error::input(format!("expected floats, found {}", other.name()))),
        }
    }

    pub(super) fn data_mut(&mut self) -> &mut Data {
        &mut self.data
    }

    /// Rounds floats to fp16 values; integers and booleans stay.
    pub(super) fn round_to_half(&mut self) {
        if let Data::Float(values) = &mut self.data {
            round_to_half(values);
        }
    }

    /// Whether this tensor has the type `kind`.
    pub(super) fn is_a(&self, kind: &DeclaredType) -> bool {
        let is_class = match self.data {
            Data::Float(_) => is_float(kind.data_type),
            Data::Int(_) => !is_float(kind.data_type) && kind.data_type != DataType::Bool,
            Data::Bool(_) => kind.data_type == DataType::Bool,
        };
        is_class && kind.holds(&self.shape)
    }
}

/// The number of elements of `shape`. Returns an input error if they are too many, or would be if no
/// axis were empty: so the product of any of its lengths is small.
pub(in crate::package) fn element_count(shape: &[usize]) -> Result<usize> {
    if shape.len() > MAX_RANK {
        let rank = shape.len();
        return Err(Error::input(format!(
            "expected a tensor of at most {MAX_RANK} axes, found {rank}"
        )));
    }
    let len = shape.iter().try_fold(1usize, |len, axis| len.checked_mul((*axis).max(1)));
    let len = len.filter(|len| *len <= MAX_ELEMENTS);
    let len = len.ok_or_else(|| {
        Error::input(format!(
            "a tensor of shape {shape:?} has too many elements; expected at most {MAX_ELEMENTS}"
        ))
    })?;
    Ok(if shape.contains(&0) { 0 } else { len })
}

/// Whether values of the type are held as floats.
pub(super) fn is_float(data_type: DataType) -> bool {
    use DataType::{Bfloat16, Float16, Float32, Float64};
    matches!(data_type, Float16 | Float32 | Float64 | Bfloat16)
}
