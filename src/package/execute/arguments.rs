//! The arguments of one operation, converted to what its operator asks for.

use std::cell::Cell;
use std::sync::Arc;

use super::tensor::{Data, Tensor, element_count};
use super::value::{RuntimeValue, TensorSlice};
use crate::error::{At, Error, Result};
use crate::package::budget::Work;
use crate::package::constexpr::PackedWeight;

/// The most integers or booleans of a parameter that is a list, such as the sizes of a split.
const MAX_LISTED: usize = 1 << 16;

/// The arguments of one operation, by the name that MIL gives the parameter. A program may leave
/// out parameters for which the operator has a default.
pub(super) struct Arguments<'a> {
    by_name: Vec<(&'a str, Vec<RuntimeValue>)>,
    /// The number of values that the program takes from the operation.
    outputs: usize,
    work: &'a Work,
    /// The bytes that the operator was allowed to allocate so far.
    allowed_bytes: Cell<u64>,
}

impl<'a> Arguments<'a> {
    /// The arguments of an operation with `outputs` outputs. All their elements count as work, except
    /// those of packed weights.
    pub fn new(
        by_name: Vec<(&'a str, Vec<RuntimeValue>)>,
        outputs: usize,
        work: &'a Work,
    ) -> Result<Self> {
        for value in by_name.iter().flat_map(|(_, values)| values) {
            if let RuntimeValue::Tensor(tensor) = value {
                work.add_elements(tensor.data().len())?;
            }
        }
        Ok(Arguments { by_name, outputs, work, allowed_bytes: Cell::new(0) })
    }

    /// The number of values that the program takes from the operation.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Asks for memory for `len` elements of `each_bytes` bytes, before they are allocated; counts them
    /// as work. An operator asks for its results and for whatever else grows with its arguments.
    pub fn allow(&self, len: usize, each_bytes: usize) -> Result<()> {
        let bytes = (len as u64).saturating_mul(each_bytes as u64);
        let total = self.allowed_bytes.get().saturating_add(bytes);
        self.allowed_bytes.set(total);
        self.work.budget().check_room(total)?;
        self.work.add_elements(len)
    }

    /// Asks for memory for `copies` tensors of `shape`, and returns the number of elements of one.
    pub fn allow_shape(&self, shape: &[usize], copies: usize) -> Result<usize> {
        let len = element_count(shape)?;
        self.allow(len, copies.saturating_mul(size_of::<f32>()))?;
        Ok(len)
    }

    /// Counts the multiply-adds of a product, which are the product of `factors`.
    pub fn count_products(&self, factors: &[usize]) -> Result<()> {
        self.work.add_products(factors)
    }

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
        self.dense(self.value(name)?).at(|| name.to_owned())
    }

    /// A tensor; `None` if the program does not set the parameter.
    pub fn tensor_or_none(&self, name: &str) -> Result<Option<Arc<Tensor>>> {
        self.one(name)?.map(|value| self.dense(value)).transpose().at(|| name.to_owned())
    }

    /// A tensor of floats, without a copy if it is a slice of another one; a packed weight is
    /// decoded.
    pub fn slice(&self, name: &str) -> Result<TensorSlice> {
        match self.value(name)? {
            RuntimeValue::Slice(slice) => Ok(slice.clone()),
            other => Ok(TensorSlice::whole(self.dense(other).at(|| name.to_owned())?)),
        }
    }

    fn dense(&self, value: &RuntimeValue) -> Result<Arc<Tensor>> {
        match value {
            RuntimeValue::Tensor(tensor) => Ok(tensor.clone()),
            RuntimeValue::Weight(weight) => {
                self.allow_shape(weight.shape(), 1)?;
                Ok(Arc::new(Tensor::floats(weight.shape().to_vec(), weight.decode())?))
            }
            RuntimeValue::Slice(slice) => {
                self.allow_shape(slice.shape(), 1)?;
                Ok(Arc::new(slice.to_tensor()?))
            }
            RuntimeValue::Text(_) => Err(Error::input("expected a tensor, found a string")),
        }
    }

    /// The tensors of a list.
    pub fn tensors(&self, name: &str) -> Result<Vec<Arc<Tensor>>> {
        let values = self.find(name).ok_or_else(|| Self::missing(name))?;
        values.iter().map(|value| self.dense(value)).collect::<Result<_>>().at(|| name.to_owned())
    }

    /// A tensor to change in place. It is copied only if something else needs it.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        let found = self.by_name.iter_mut().find(|(parameter, _)| *parameter == name);
        let values = found.map(|(_, values)| std::mem::take(values)).unwrap_or_default();
        let [value] = <[RuntimeValue; 1]>::try_from(values).map_err(|_| Self::missing(name))?;
        let tensor = self.dense(&value).at(|| name.to_owned())?;
        drop(value);
        match Arc::try_unwrap(tensor) {
            Ok(tensor) => Ok(tensor),
            Err(shared) => {
                self.allow_shape(shared.shape(), 1)?;
                Ok((*shared).clone())
            }
        }
    }

    /// A weight: packed as it is stored, or a tensor.
    pub fn weight(&self, name: &str) -> Result<MatrixWeight> {
        match self.value(name)? {
            RuntimeValue::Weight(weight) => Ok(MatrixWeight::Packed(weight.clone())),
            other => Ok(MatrixWeight::Dense(self.dense(other).at(|| name.to_owned())?)),
        }
    }

    /// The integers of a vector or scalar; `None` if the program does not set the parameter.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(tensor) = self.tensor_or_none(name)? else { return Ok(None) };
        let ints = tensor.as_ints().and_then(listed).at(|| name.to_owned())?;
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
            Data::Bool(flags) => Ok(Some(listed(flags).at(|| name.to_owned())?.to_vec())),
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

/// The elements of a parameter that is a list. Returns an input error if it is too long for one.
fn listed<T>(list: &[T]) -> Result<&[T]> {
    if list.len() <= MAX_LISTED {
        return Ok(list);
    }
    let found = list.len();
    Err(Error::input(format!("expected a list of at most {MAX_LISTED} elements, found {found}")))
}
