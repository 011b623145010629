//! Reads and checks the types and literals of a program: the messages `ValueType` and `Value`.

use std::fmt;

use crate::error::{Error, Result};
use crate::package::blob::BlobType;
use crate::package::blob::read::SharedBytes;
use crate::package::spec::{
    self, Content, DataType, Elements, TensorType, TypeOf, Value, ValueType,
};

/// Tensors of higher rank are refused. MIL itself allows five axes.
const MAX_RANK: usize = 8;

/// The type that a program declares for a value: the type of the elements and the shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredType {
    /// The type of the elements.
    pub data_type: DataType,
    /// The length of every axis, `None` if it is not fixed; empty for a scalar.
    pub shape: Vec<Option<usize>>,
}

impl DeclaredType {
    /// Reads the type of a value.
    ///
    /// # Errors
    /// An input error if the value is neither a tensor nor a state, or if the message contradicts
    /// itself.
    pub fn of(kind: Option<&ValueType>) -> Result<Self> {
        match kind.and_then(|kind| kind.of.as_ref()) {
            Some(TypeOf::Tensor(tensor)) => Self::of_tensor(tensor),
            Some(TypeOf::State(state)) => Self::of(state.wrapped.as_deref()),
            None => Err(Error::input("expected the type of a tensor or a state, found none")),
        }
    }

    fn of_tensor(tensor: &TensorType) -> Result<Self> {
        let data_type = DataType::try_from(tensor.data_type).ok();
        let data_type = data_type.filter(|of| *of != DataType::Unused).ok_or_else(|| {
            Error::input(format!("the element type {} is not supported", tensor.data_type))
        })?;
        let rank = tensor.dimensions.len();
        if tensor.rank != rank as i64 || rank > MAX_RANK {
            return Err(Error::input(format!(
                "expected a rank of at most {MAX_RANK} that is the number of dimensions, found rank {} \
                 with {rank} dimensions",
                tensor.rank
            )));
        }
        let length = |dimension: &spec::Dimension| match (dimension.constant, dimension.unknown) {
            (Some(constant), None) => match usize::try_from(constant.size) {
                Ok(size) if size > 0 => Ok(Some(size)),
                _ => {
                    Err(Error::input(format!("a dimension cannot have {} elements", constant.size)))
                }
            },
            (None, Some(unknown)) if !unknown.variadic => Ok(None),
            _ => Err(Error::input("expected a dimension to be either constant or unknown")),
        };
        let shape = tensor.dimensions.iter().map(length).collect::<Result<Vec<_>>>()?;
        let product = shape.iter().flatten().try_fold(1usize, |all, len| all.checked_mul(*len));
        if product.is_none_or(|all| all > isize::MAX as usize / 8) {
            return Err(Error::input(format!(
                "a tensor of shape {shape:?} is larger than memory can address"
            )));
        }
        Ok(DeclaredType { data_type, shape })
    }

    /// The shape; `None` if a length is not fixed.
    pub fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().copied().collect()
    }

    /// Whether a tensor of shape `shape` fits this type.
    pub fn holds(&self, shape: &[usize]) -> bool {
        let fits = |(declared, len): (&Option<usize>, &usize)| declared.is_none_or(|d| d == *len);
        self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(fits)
    }
}

impl fmt::Display for DeclaredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |len: &Option<usize>| len.map_or("?".into(), |len| len.to_string());
        let shape: Vec<String> = self.shape.iter().map(name).collect();
        write!(f, "{:?}[{}]", self.data_type, shape.join(", "))
    }
}

/// The width of an element in bits; `None` for strings and unknown types.
pub fn bits(data_type: DataType) -> Option<u8> {
    match data_type {
        DataType::Bool => Some(8),
        DataType::Float64 | DataType::Int64 | DataType::Uint64 => Some(64),
        other => BlobType::of(other).map(BlobType::bits),
    }
}

/// A literal tensor: its elements, with their type and shape.
#[derive(Debug, Clone)]
pub struct LiteralTensor {
    /// The type of the elements.
    pub data_type: DataType,
    /// The length of every axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements, row-major and little endian. Types of less than a byte are packed from the
    /// lowest bit; booleans take a byte. Empty for a string.
    pub bytes: SharedBytes,
    /// The text, if the literal is a string.
    pub text: Option<String>,
}

impl LiteralTensor {
    /// Reads a literal. `blob` looks up a blob in a weight file, by the file's name and the offset.
    ///
    /// # Errors
    /// An input error if type, shape and elements disagree.
    pub fn read(
        value: &Value,
        blob: impl Fn(&str, u64) -> Result<crate::package::blob::read::Blob>,
    ) -> Result<Self> {
        let kind = DeclaredType::of(value.kind.as_ref())?;
        let shape = kind.fixed_shape().ok_or_else(|| {
            Error::input(format!("expected a literal of fixed shape, found {kind}"))
        })?;
        let data_type = kind.data_type;
        let elements = shape.iter().product::<usize>();
        if data_type == DataType::String {
            let text = Some(text(value)?);
            return Ok(LiteralTensor { data_type, shape, bytes: Vec::new().into(), text });
        }
        let (bytes, found) = match &value.content {
            Some(Content::Immediate(immediate)) => {
                let list = immediate.tensor.as_ref().and_then(|tensor| tensor.elements.as_ref());
                let bytes = match list {
                    Some(list) => immediate_bytes(list, data_type)?,
                    None => Vec::new(),
                };
                let width = usize::from(bits(data_type).unwrap_or(8));
                // If elements are smaller than a byte, the last byte may have unused bits.
                let whole =
                    elements.checked_mul(width).map(|bits| bits.div_ceil(8)) == Some(bytes.len());
                let found = if whole { elements } else { bytes.len() * 8 / width };
                (SharedBytes::from(bytes), found as u64)
            }
            Some(Content::Blob(at)) => {
                let blob = blob(&at.file_name, at.offset)?;
                if blob.kind.data_type() != data_type {
                    return Err(Error::input(format!(
                        "{kind}: the blob at offset {} holds {:?}",
                        at.offset, blob.kind
                    )));
                }
                (blob.bytes, blob.elements)
            }
            None => return Err(Error::input(format!("{kind}: expected elements, found none"))),
        };
        if found != elements as u64 {
            return Err(Error::input(format!(
                "{kind}: expected {elements} elements, found {found}"
            )));
        }
        Ok(LiteralTensor { data_type, shape, bytes, text: None })
    }
}

fn text(value: &Value) -> Result<String> {
    if let Some(Content::Immediate(immediate)) = &value.content
        && let Some(tensor) = &immediate.tensor
        && let Some(Elements::Strings(strings)) = &tensor.elements
        && let [text] = strings.values.as_slice()
    {
        return Ok(text.clone());
    }
    Err(Error::input("expected one string"))
}

/// The elements of an immediate value, packed as in a blob.
fn immediate_bytes(list: &Elements, data_type: DataType) -> Result<Vec<u8>> {
    use DataType::{Bool, Float32, Float64, Int16, Int32, Int64, Uint16, Uint64};
    Ok(match (list, data_type) {
        (Elements::Floats(list), Float32) => flat(&list.values, |v| v.to_le_bytes()),
        (Elements::Doubles(list), Float64) => flat(&list.values, |v| v.to_le_bytes()),
        (Elements::Ints(list), Int32) => flat(&list.values, |v| v.to_le_bytes()),
        (Elements::Ints(list), Int16 | Uint16) => flat(&list.values, |v| (v as u16).to_le_bytes()),
        (Elements::LongInts(list), Int64 | Uint64) => flat(&list.values, |v| v.to_le_bytes()),
        (Elements::Bools(list), Bool) => flat(&list.values, |v| [u8::from(v)]),
        (Elements::Bytes(list), other) if BlobType::of(other).is_some() => list.values.clone(),
        _ => {
            return Err(Error::input(format!(
                "a literal of type {data_type:?} has its elements in the wrong field"
            )));
        }
    })
}

fn flat<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
}
