//! The arguments of one operation, converted to what its operator asks for.

use std::sync::Arc;

use super::tensor::{Data, Tensor, element_count};
use super::value::{RuntimeValue, TensorSlice};
use crate::error::{At, Error, Result};
use crate::package::constexpr::PackedWeight;

/// The arguments of one operation, by the name that MIL gives the parameter. A program may leave
/// out parameters for which the operator has a default.
pub(super) struct Arguments<'a> {
    pub by_name: Vec<(&'a str, Vec<RuntimeValue>)>,
}

impl Arguments<'_> {
    fn find(&self, name: &str) -> Option<&[RuntimeValue]> {
        let found = self.by_name.iter().find(|(parameter, _)| *parameter == name);
        found.map(|(_, values)| values.as_slice())
    }

    fn one(&self, name: &str) -> Result<Option<&RuntimeValue>> {
        match self.find(name) {
            None => Ok(None),
            Some([value]) => Ok(Some(value)),
            Some(values) => {
                Err(Error::input(format!("{name}: expected one value, found {}", values.len())))
            }
        }
    }

    fn missing(name: &str) -> Error {
        Error::input(format!("the parameter `{name}` is missing"))
    }

    /// Whether the program sets the parameter.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value of a parameter, unconverted.
    pub fn value(&self, name: &str) -> Result<&RuntimeValue> {
        self.one(name)?.ok_or_else(|| Self::missing(name))
    }

    /// A tensor; a packed weight is decoded.
    pub fn tensor(&self, name: &str) -> Result<Arc<Tensor>> {
        dense(self.value(name)?).at(|| name.to_owned())
    }

    /// A tensor; `None` if the program does not set the parameter.
    pub fn tensor_or_none(&self, name: &str) -> Result<Option<Arc<Tensor>>> {
        self.one(name)?.map(dense).transpose().at(|| name.to_owned())
    }

    /// A tensor of floats, without a copy if it is a slice of another one; a packed weight is
    /// decoded.
    pub fn slice(&self, name: &str) -> Result<TensorSlice> {
        match self.value(name)? {
            RuntimeValue::Slice(slice) => Ok(slice.clone()),
            other => Ok(TensorSlice::whole(dense(other).at(|| name.to_owned())?)),
        }
    }

    /// The tensors of a list.
    pub fn tensors(&self, name: &str) -> Result<Vec<Arc<Tensor>>> {
        let values = self.find(name).ok_or_else(|| Self::missing(name))?;
        values.iter().map(dense).collect::<Result<_>>().at(|| name.to_owned())
    }

    /// A tensor to change in place. It is copied only if something else needs it.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        let found = self.by_name.iter_mut().find(|(parameter, _)| *parameter == name);
        let values = found.map(|(_, values)| std::mem::take(values)).unwrap_or_default();
        let [value] = <[RuntimeValue; 1]>::try_from(values).map_err(|_| Self::missing(name))?;
        let tensor = dense(&value).at(|| name.to_owned())?;
        drop(value);
        Ok(Arc::try_unwrap(tensor).unwrap_or_else(|shared| (*shared).clone()))
    }

    /// A weight: packed as it is stored, or a tensor.
    pub fn weight(&self, name: &str) -> Result<MatrixWeight> {
        match self.value(name)? {
            RuntimeValue::Weight(weight) => Ok(MatrixWeight::Packed(weight.clone())),
            other => Ok(MatrixWeight::Dense(dense(other).at(|| name.to_owned())?)),
        }
    }

    /// The integers of a vector or scalar; `None` if the program does not set the parameter.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(tensor) = self.tensor_or_none(name)? else { return Ok(None) };
        let ints = tensor.as_ints().at(|| name.to_owned())?;
        Ok(Some(ints.iter().map(|int| i64::from(*int)).collect()))
    }

    /// One integer.
    pub fn int(&self, name: &str) -> Result<i64> {
        match self.ints(name)?.as_deref() {
            Some([int]) => Ok(*int),
            Some(ints) => {
                Err(Error::input(format!("{name}: expected one integer, found {ints:?}")))
            }
            None => Err(Self::missing(name)),
        }
    }

    /// One integer, or `default`.
    pub fn int_or(&self, name: &str, default: i64) -> Result<i64> {
        if self.has(name) { self.int(name) } else { Ok(default) }
    }

    /// The booleans of a vector or scalar; `None` if the program does not set the parameter.
    pub fn flags(&self, name: &str) -> Result<Option<Vec<bool>>> {
        let Some(tensor) = self.tensor_or_none(name)? else { return Ok(None) };
        match tensor.data() {
            Data::Bool(flags) => Ok(Some(flags.clone())),
            other => {
                Err(Error::input(format!("{name}: expected booleans, found {}", other.name())))
            }
        }
    }

    /// One boolean, or `default`.
    pub fn flag_or(&self, name: &str, default: bool) -> Result<bool> {
        let flags = self.flags(name)?;
        Ok(flags.and_then(|flags| flags.first().copied()).unwrap_or(default))
    }

    /// One float, or `default`.
    pub fn float_or(&self, name: &str, default: f32) -> Result<f32> {
        let Some(tensor) = self.tensor_or_none(name)? else { return Ok(default) };
        match tensor.as_floats().at(|| name.to_owned())? {
            [float] => Ok(*float),
            floats => {
                Err(Error::input(format!("{name}: expected one float, found {}", floats.len())))
            }
        }
    }

    /// A string; `None` if the program does not set the parameter.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.one(name)? {
            None => Ok(None),
            Some(RuntimeValue::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Error::input(format!("{name}: expected a string"))),
        }
    }

    /// An axis of a tensor of rank `rank`, or `default`; a negative axis counts from the end.
    pub fn axis_or(&self, name: &str, rank: usize, default: i64) -> Result<usize> {
        axis(self.int_or(name, default)?, rank).at(|| name.to_owned())
    }

    /// Axes of a tensor of rank `rank`; `None` if the program does not set the parameter.
    pub fn axes(&self, name: &str, rank: usize) -> Result<Option<Vec<usize>>> {
        let Some(axes) = self.ints(name)? else { return Ok(None) };
        axes.iter().map(|at| axis(*at, rank)).collect::<Result<_>>().map(Some)
    }
}

/// `axis` counted from the start, for a tensor of rank `rank`.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let from_start = if axis < 0 { axis + rank as i64 } else { axis };
    let found = usize::try_from(from_start).ok().filter(|found| *found < rank);
    found.ok_or_else(|| Error::input(format!("a tensor of rank {rank} has no axis {axis}")))
}

/// A weight of a matrix product, packed or as a tensor.
pub(super) enum MatrixWeight {
    Packed(Arc<PackedWeight>),
    Dense(Arc<Tensor>),
}

impl MatrixWeight {
    /// The shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            MatrixWeight::Packed(weight) => weight.shape(),
            MatrixWeight::Dense(tensor) => tensor.shape(),
        }
    }
}

fn dense(value: &RuntimeValue) -> Result<Arc<Tensor>> {
    match value {
        RuntimeValue::Tensor(tensor) => Ok(tensor.clone()),
        RuntimeValue::Weight(weight) => {
            element_count(weight.shape())?;
            Ok(Arc::new(Tensor::floats(weight.shape().to_vec(), weight.decode())?))
        }
        RuntimeValue::Slice(slice) => Ok(Arc::new(slice.to_tensor()?)),
        RuntimeValue::Text(_) => Err(Error::input("expected a tensor, found a string")),
    }
}
