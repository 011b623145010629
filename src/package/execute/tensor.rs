//! Values while a program runs: floats as f32, integers as i32, booleans.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::package::constexpr::{Known, PackedWeight, round_to_half};
use crate::package::read::literal::{Kind, Literal};
use crate::package::spec::DataType;

/// More elements than this, 1 GiB of floats, are refused before they are allocated.
const MAX_ELEMENTS: usize = 1 << 28;
/// Float constants above this stay as they are stored.
const MAX_DECODED_ELEMENTS: usize = 4096;

/// A tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// The elements of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// fp16 and fp32.
    Float(Vec<f32>),
    /// All integers.
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
    pub fn len(&self) -> usize {
        match self {
            Data::Float(values) => values.len(),
            Data::Int(values) => values.len(),
            Data::Bool(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
    /// A tensor of `shape`. Fails (input) when `data` has another number of elements.
    pub fn new(shape: impl Into<Vec<usize>>, data: Data) -> Result<Self> {
        let shape = shape.into();
        let len = element_count(&shape)?;
        if len != data.len() {
            return Err(Error::input(format!(
                "expected {len} elements for {shape:?}, found {}",
                data.len()
            )));
        }
        Ok(Tensor { shape, data })
    }

    /// A tensor of floats.
    pub fn floats(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self> {
        Self::new(shape, Data::Float(values))
    }

    /// A tensor of integers.
    pub fn ints(shape: impl Into<Vec<usize>>, values: Vec<i32>) -> Result<Self> {
        Self::new(shape, Data::Int(values))
    }

    /// The shape; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Shape and elements.
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }

    /// The same elements in another shape. Fails (input) where their number differs.
    pub(super) fn reshaped(self, shape: Vec<usize>) -> Result<Self> {
        Self::new(shape, self.data)
    }

    /// The elements as floats. Fails (input) for integers and booleans.
    pub fn as_floats(&self) -> Result<&[f32]> {
        match &self.data {
            Data::Float(values) => Ok(values),
            other => Err(Error::input(format!("expected floats, found {}", other.name()))),
        }
    }

    /// The elements as integers. Fails (input) for floats and booleans.
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

    /// Rounds floats to fp16 values.
    pub(super) fn round_to_half(&mut self) {
        if let Data::Float(values) = &mut self.data {
            round_to_half(values);
        }
    }

    /// Whether this is a value of type `kind`.
    pub(super) fn is_a(&self, kind: &Kind) -> bool {
        let is_class = match self.data {
            Data::Float(_) => is_float(kind.data_type),
            Data::Int(_) => !is_float(kind.data_type) && kind.data_type != DataType::Bool,
            Data::Bool(_) => kind.data_type == DataType::Bool,
        };
        is_class && kind.holds(&self.shape)
    }
}

/// The number of elements of `shape`. Fails (input) when that is too much.
pub(super) fn element_count(shape: &[usize]) -> Result<usize> {
    let len = shape.iter().try_fold(1usize, |len, axis| len.checked_mul(*axis));
    len.filter(|len| *len <= MAX_ELEMENTS)
        .ok_or_else(|| Error::input(format!("a tensor {shape:?} has too many elements")))
}

/// Whether values of the type are floats here.
pub(super) fn is_float(data_type: DataType) -> bool {
    use DataType::{Bfloat16, Float16, Float32, Float64};
    matches!(data_type, Float16 | Float32 | Float64 | Bfloat16)
}

/// What a name stands for while a program runs.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Tensor(Arc<Tensor>),
    Weight(Arc<PackedWeight>),
    Text(Arc<str>),
}

impl Value {
    /// The shape; none for text.
    pub fn shape(&self) -> Option<&[usize]> {
        match self {
            Value::Tensor(tensor) => Some(tensor.shape()),
            Value::Weight(weight) => Some(weight.shape()),
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
