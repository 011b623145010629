//! What names stand for while a program runs: tensors, stretches of tensors, packed weights, text.

use std::sync::Arc;

use super::tensor::{Data, Tensor, element_count, is_float};
use super::view::View;
use crate::error::{Error, Result};
use crate::package::constexpr::{Known, PackedWeight};
use crate::package::read::literal::{Kind, Literal};
use crate::package::spec::DataType;

/// Float constants above this stay as they are stored.
const MAX_DECODED_ELEMENTS: usize = 4096;
/// Stretches of fewer elements are copied.
const MIN_PART_ELEMENTS: usize = 1024;

/// Neighbouring floats of a tensor, seen as a tensor of another shape without a copy: one layer of
/// a cache. As long as it is there, changing the tensor copies it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    tensor: Arc<Tensor>,
    start: usize,
    shape: Vec<usize>,
}

impl Part {
    /// A whole tensor.
    pub fn whole(tensor: Arc<Tensor>) -> Self {
        Part { start: 0, shape: tensor.shape().to_vec(), tensor }
    }

    /// What `view` shows of `tensor`, as `shape`; nothing where that is no one stretch of floats,
    /// or a short one.
    pub fn of(tensor: &Arc<Tensor>, view: &View, shape: Vec<usize>) -> Option<Self> {
        let stretch = view.stretch()?;
        let values = tensor.as_floats().ok()?.get(stretch.clone())?;
        let fits = values.len() >= MIN_PART_ELEMENTS
            && element_count(&shape).is_ok_and(|len| len == values.len());
        fits.then(|| Part { tensor: tensor.clone(), start: stretch.start, shape })
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements. Fails (input) for integers and booleans.
    pub fn as_floats(&self) -> Result<&[f32]> {
        let len: usize = self.shape.iter().product();
        Ok(&self.tensor.as_floats()?[self.start..][..len])
    }

    /// The same as a tensor of its own.
    pub fn to_tensor(&self) -> Result<Tensor> {
        Tensor::floats(self.shape.clone(), self.as_floats()?.to_vec())
    }

    /// Whether this is a value of type `kind`.
    pub fn is_a(&self, kind: &Kind) -> bool {
        is_float(kind.data_type) && kind.holds(&self.shape)
    }
}

/// What a name stands for while a program runs.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Tensor(Arc<Tensor>),
    Weight(Arc<PackedWeight>),
    Part(Part),
    Text(Arc<str>),
}

impl Value {
    /// The shape; none for text.
    pub fn shape(&self) -> Option<&[usize]> {
        match self {
            Value::Tensor(tensor) => Some(tensor.shape()),
            Value::Weight(weight) => Some(weight.shape()),
            Value::Part(part) => Some(part.shape()),
            Value::Text(_) => None,
        }
    }

    /// A constant: decoded where it is small.
    pub fn of(known: Known) -> Result<Self> {
        match known {
            Known::Weight(weight) => Ok(Value::Weight(weight.into())),
            Known::Literal(Literal { text: Some(text), .. }) => Ok(Value::Text(text.into())),
            Known::Literal(literal) => {
                let len: usize = literal.shape.iter().product();
                if is_float(literal.data_type) && len > MAX_DECODED_ELEMENTS {
                    return Ok(Value::Weight(PackedWeight::plain(&literal)?.into()));
                }
                Ok(Value::Tensor(Self::decoded(&literal)?.into()))
            }
        }
    }

    fn decoded(literal: &Literal) -> Result<Tensor> {
        let bytes = &*literal.bytes;
        let ints = |list: Vec<Option<i32>>| {
            let all: Option<Vec<i32>> = list.into_iter().collect();
            all.map(Data::Int).ok_or_else(|| Error::input("an integer is beyond int32"))
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
                match is_float(data_type) {
                    true => Data::Float(values),
                    false => Data::Int(values.iter().map(|value| *value as i32).collect()),
                }
            }
        };
        Tensor::new(literal.shape.clone(), data)
    }
}
