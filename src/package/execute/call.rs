//! The arguments of one operation as its operator asks for them.

use std::sync::Arc;

use super::tensor::{Data, Tensor, element_count};
use super::value::{Part, Value};
use crate::error::{At, Error, Result};
use crate::package::constexpr::PackedWeight;

/// One call of an operator. Parameters are taken by their name in MIL; where the program leaves
/// one out, the operator's default holds.
pub(super) struct Call<'a> {
    pub arguments: Vec<(&'a str, Vec<Value>)>,
}

impl Call<'_> {
    fn find(&self, name: &str) -> Option<&[Value]> {
        let found = self.arguments.iter().find(|(parameter, _)| *parameter == name);
        found.map(|(_, values)| values.as_slice())
    }

    fn one(&self, name: &str) -> Result<Option<&Value>> {
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

    /// Whether the program gives the parameter.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The value of a parameter as it is.
    pub fn value(&self, name: &str) -> Result<&Value> {
        self.one(name)?.ok_or_else(|| Self::missing(name))
    }

    /// A tensor; a packed weight is decoded for this call.
    pub fn tensor(&self, name: &str) -> Result<Arc<Tensor>> {
        dense(self.value(name)?).at(|| name.to_owned())
    }

    /// A tensor, where the program gives one.
    pub fn tensor_or_none(&self, name: &str) -> Result<Option<Arc<Tensor>>> {
        self.one(name)?.map(dense).transpose().at(|| name.to_owned())
    }

    /// A tensor of floats where it lies; a packed weight is decoded for this call.
    pub fn part(&self, name: &str) -> Result<Part> {
        match self.value(name)? {
            Value::Part(part) => Ok(part.clone()),
            other => Ok(Part::whole(dense(other).at(|| name.to_owned())?)),
        }
    }

    /// The tensors of a list.
    pub fn tensors(&self, name: &str) -> Result<Vec<Arc<Tensor>>> {
        let values = self.find(name).ok_or_else(|| Self::missing(name))?;
        values.iter().map(dense).collect::<Result<_>>().at(|| name.to_owned())
    }

    /// A tensor to change: without a copy where nothing else needs it.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        let found = self.arguments.iter_mut().find(|(parameter, _)| *parameter == name);
        let values = found.map(|(_, values)| std::mem::take(values)).unwrap_or_default();
        let [value] = <[Value; 1]>::try_from(values).map_err(|_| Self::missing(name))?;
        let tensor = dense(&value).at(|| name.to_owned())?;
        drop(value);
        Ok(Arc::try_unwrap(tensor).unwrap_or_else(|shared| (*shared).clone()))
    }

    /// A weight as it is stored, or the tensor that stands in its place.
    pub fn weight(&self, name: &str) -> Result<Weight> {
        match self.value(name)? {
            Value::Weight(weight) => Ok(Weight::Packed(weight.clone())),
            other => Ok(Weight::Dense(dense(other).at(|| name.to_owned())?)),
        }
    }

    /// Integers of a vector or scalar, where the program gives them.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(tensor) = self.tensor_or_none(name)? else { return Ok(None) };
        let ints = tensor.as_ints().at(|| name.to_owned())?;
        Ok(Some(ints.iter().map(|int| i64::from(*int)).collect()))
    }

    /// One integer.
    pub fn int(&self, name: &str) -> Result<i64> {
        match self.ints(name)?.as_deref() {
            Some([int]) => Ok(*int),
            Some(ints) => Err(Error::input(format!("{name}: expected an integer, found {ints:?}"))),
            None => Err(Self::missing(name)),
        }
    }

    /// One integer, or `default`.
    pub fn int_or(&self, name: &str, default: i64) -> Result<i64> {
        if self.has(name) { self.int(name) } else { Ok(default) }
    }

    /// Booleans, where the program gives them.
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
                Err(Error::input(format!("{name}: expected a float, found {}", floats.len())))
            }
        }
    }

    /// A text, where the program gives one.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.one(name)? {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Error::input(format!("{name}: expected a string"))),
        }
    }

    /// An axis of a tensor of rank `rank`, or `default`; negative ones count from the end.
    pub fn axis_or(&self, name: &str, rank: usize, default: i64) -> Result<usize> {
        axis(self.int_or(name, default)?, rank).at(|| name.to_owned())
    }

    /// Axes of a tensor of rank `rank`, where the program gives them.
    pub fn axes(&self, name: &str, rank: usize) -> Result<Option<Vec<usize>>> {
        let Some(axes) = self.ints(name)? else { return Ok(None) };
        axes.iter().map(|at| axis(*at, rank)).collect::<Result<_>>().map(Some)
    }
}

/// An axis counted from the start.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let from_start = if axis < 0 { axis + rank as i64 } else { axis };
    let found = usize::try_from(from_start).ok().filter(|found| *found < rank);
    found.ok_or_else(|| Error::input(format!("no axis {axis} in a tensor of rank {rank}")))
}

/// A weight of a matrix product.
pub(super) enum Weight {
    Packed(Arc<PackedWeight>),
    Dense(Arc<Tensor>),
}

impl Weight {
    /// The shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Weight::Packed(weight) => weight.shape(),
            Weight::Dense(tensor) => tensor.shape(),
        }
    }
}

fn dense(value: &Value) -> Result<Arc<Tensor>> {
    match value {
        Value::Tensor(tensor) => Ok(tensor.clone()),
        Value::Weight(weight) => {
            element_count(weight.shape())?;
            Ok(Arc::new(Tensor::floats(weight.shape().to_vec(), weight.decode())?))
        }
        Value::Part(part) => Ok(Arc::new(part.to_tensor()?)),
        Value::Text(_) => Err(Error::input("expected a tensor, found a string")),
    }
}
