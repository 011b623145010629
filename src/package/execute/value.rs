//! Values while a program runs: tensors, slices of tensors, packed weights and strings.

use std::sync::Arc;

use super::tensor::{Data, Tensor, element_count, is_float};
use super::view::StridedView;
use crate::error::{Error, Result};
use crate::package::budget::Budget;
use crate::package::constexpr::{KnownValue, PackedWeight};
use crate::package::read::literal::{DeclaredType, LiteralTensor};
use crate::package::spec::DataType;

/// Float constants with more elements stay packed.
const MAX_DECODED_ELEMENTS: usize = 4096;
/// Slices with fewer elements are copied.
const MIN_SLICE_ELEMENTS: usize = 1024;

/// A contiguous range of a tensor of floats, with a shape of its own and without a copy; for
/// example one layer of a cache. While it exists, a change of the tensor has to copy it.
#[derive(Debug, Clone)]
pub(super) struct TensorSlice {
    tensor: Arc<Tensor>,
    start: usize,
    shape: Vec<usize>,
}

impl TensorSlice {
    /// A slice that is the whole tensor.
    pub fn whole(tensor: Arc<Tensor>) -> Self {
        TensorSlice { start: 0, shape: tensor.shape().to_vec(), tensor }
    }

    /// The elements of `tensor` that `view` selects, in the shape `shape`. `None` if they are not a
    /// contiguous range of floats, or only a short one.
    pub fn of(tensor: &Arc<Tensor>, view: &StridedView, shape: Vec<usize>) -> Option<Self> {
        let range = view.contiguous()?;
        let values = tensor.as_floats().ok()?.get(range.clone())?;
        let fits = values.len() >= MIN_SLICE_ELEMENTS
            && element_count(&shape).is_ok_and(|len| len == values.len());
        fits.then(|| TensorSlice { tensor: tensor.clone(), start: range.start, shape })
    }

    /// The length of every axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements. Returns an input error for integers and booleans.
    pub fn as_floats(&self) -> Result<&[f32]> {
        let len: usize = self.shape.iter().product();
        Ok(&self.tensor.as_floats()?[self.start..][..len])
    }

    /// Copies the elements into a new tensor.
    pub fn to_tensor(&self) -> Result<Tensor> {
        Tensor::floats(self.shape.clone(), self.as_floats()?.to_vec())
    }

    /// Whether this slice has the type `kind`.
    pub fn is_a(&self, kind: &DeclaredType) -> bool {
        is_float(kind.data_type) && kind.holds(&self.shape)
    }
}

/// A value while a program runs.
#[derive(Debug, Clone)]
pub(super) enum RuntimeValue {
    Tensor(Arc<Tensor>),
    Weight(Arc<PackedWeight>),
    Slice(TensorSlice),
    Text(Arc<str>),
}

impl RuntimeValue {
    /// The length of every axis; `None` for a string.
    pub fn shape(&self) -> Option<&[usize]> {
        match self {
            RuntimeValue::Tensor(tensor) => Some(tensor.shape()),
            RuntimeValue::Weight(weight) => Some(weight.shape()),
            RuntimeValue::Slice(slice) => Some(slice.shape()),
            RuntimeValue::Text(_) => None,
        }
    }

    /// The value of a constant. Large constants stay packed; what is decoded is charged to `budget`.
    pub fn of(known: KnownValue, budget: &Arc<Budget>) -> Result<Self> {
        match known {
            KnownValue::Weight(weight) => Ok(RuntimeValue::Weight(weight.into())),
            KnownValue::Literal(LiteralTensor { text: Some(text), .. }) => {
                Ok(RuntimeValue::Text(text.into()))
            }
            KnownValue::Literal(literal) => {
                let len: usize = literal.shape.iter().product();
                if is_float(literal.data_type) && len > MAX_DECODED_ELEMENTS {
                    return Ok(RuntimeValue::Weight(PackedWeight::plain(&literal)?.into()));
                }
                budget.check_room((element_count(&literal.shape)? * size_of::<f64>()) as u64)?;
                let mut tensor = Self::decoded(&literal)?;
                tensor.charge(budget)?;
                Ok(RuntimeValue::Tensor(tensor.into()))
            }
        }
    }

    fn decoded(literal: &LiteralTensor) -> Result<Tensor> {
        let bytes = &*literal.bytes;
        let ints = |list: Vec<Option<i32>>| {
            let all: Option<Vec<i32>> = list.into_iter().collect();
            all.map(Data::Int)
                .ok_or_else(|| Error::input("an integer constant does not fit into int32"))
        };
        let data = match literal.data_type {
            DataType::Bool => Data::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
            DataType::Int32 => {
                let words = bytes.as_chunks().0.iter();
                Data::Int(words.map(|word| i32::from_le_bytes(*word)).collect())
            }
            DataType::Uint32 => {
                let words = bytes.as_chunks().0.iter();
                ints(words.map(|word| u32::from_le_bytes(*word).try_into().ok()).collect())?
            }
            DataType::Int64 | DataType::Uint64 => {
                let words = bytes.as_chunks().0.iter();
                ints(words.map(|word| i64::from_le_bytes(*word).try_into().ok()).collect())?
            }
            data_type => {
                let values = PackedWeight::plain(literal)?.decode();
                if is_float(data_type) {
                    Data::Float(values)
                } else {
                    Data::Int(values.iter().map(|value| *value as i32).collect())
                }
            }
        };
        Tensor::new(literal.shape.clone(), data)
    }
}
