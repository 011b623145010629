//! Safetensors files: one header of names, shapes and offsets, then the bytes.
//!
//! The `safetensors` crate checks the header (size limit, overlaps, holes, overflow). Its errors do
//! not name the tensor at fault; that is found here.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype as FileDtype, SafeTensorError, SafeTensors};
use serde_json::{Map, Value};

use super::bytes::FileBytes;
use super::dtype::Dtype;
use super::stored::{RowOrder, StoredTensor};
use super::{json, quantized};
use crate::error::{At, Error, Result};

/// Length of the field with the header's length.
const PREFIX_BYTES: usize = 8;

/// Largest shard index that is read, in bytes.
const MAX_INDEX_BYTES: usize = 256 << 20;

/// The tensors of one file, by name. `file` is the file's index in the checkpoint.
///
/// # Errors
/// Input errors, with the tensor's name if a tensor is at fault.
pub fn read(bytes: &FileBytes, file: usize) -> Result<BTreeMap<String, StoredTensor>> {
    parse(bytes, file).at(|| bytes.path.display().to_string())
}

fn parse(bytes: &FileBytes, file: usize) -> Result<BTreeMap<String, StoredTensor>> {
    let (header_bytes, metadata) = match SafeTensors::read_metadata(bytes) {
        Ok(read) => read,
        Err(cause) => return Err(explain(bytes, cause)),
    };
    let start = PREFIX_BYTES + header_bytes;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let dtype = match info.dtype {
            FileDtype::F32 => Dtype::F32,
            FileDtype::F16 => Dtype::F16,
            FileDtype::BF16 => Dtype::BF16,
            FileDtype::U8 => Dtype::U8,
            other => {
                return Err(wrong_type(&name, &format!("{other:?}")));
            }
        };
        let range = start + info.data_offsets.0..start + info.data_offsets.1;
        let (shape, rows) = (info.shape.clone(), RowOrder::Plain);
        tensors.insert(
            name.clone(),
            StoredTensor { name, file, range, shape, dtype, rows, scales: None, minus_one: false },
        );
    }
    Ok(tensors)
}

/// The error for a bad file. It names the tensor at fault if the header can be parsed.
fn explain(bytes: &[u8], cause: SafeTensorError) -> Error {
    let error = match culprit(bytes) {
        Some(Culprit { name, what, is_type: true }) => {
            return wrong_type(&name, &what);
        }
        Some(Culprit { name, what, .. }) => Error::input(what).at(format!("tensor {name}")),
        None => Error::input("not a valid safetensors file"),
    };
    error.because(cause).hint("the file is truncated or damaged: download it again")
}

/// The error for a tensor of a type that no weight has.
fn wrong_type(name: &str, found: &str) -> Error {
    let error = Error::input(format!("expected f32, f16 or bf16, found {found}"))
        .at(format!("tensor {name}"));
    match quantized::hint_of_tensor(name).or_else(|| quantized::hint_of_type(found)) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A tensor at fault.
struct Culprit {
    name: String,
    /// What is wrong, or the name of the unknown type.
    what: String,
    /// Whether the fault is an unknown type, which does not mean that the file is damaged.
    is_type: bool,
}

/// The first tensor, by offset, whose type is unknown or whose byte range does not fit its shape or
/// the tensor before it.
fn culprit(bytes: &[u8]) -> Option<Culprit> {
    let prefix: [u8; PREFIX_BYTES] = bytes.get(..PREFIX_BYTES)?.try_into().ok()?;
    let end = usize::try_from(u64::from_le_bytes(prefix)).ok()?.checked_add(PREFIX_BYTES)?;
    let header: Map<String, Value> = serde_json::from_slice(bytes.get(PREFIX_BYTES..end)?).ok()?;
    let data_bytes = (bytes.len() - end) as u64;
    let mut tensors: Vec<(&String, HeaderEntry)> = header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .filter_map(|(name, value)| Some((name, HeaderEntry::deserialize(value)?)))
        .collect();
    tensors.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut expected_start = 0;
    for (name, HeaderEntry { dtype, shape, data_offsets: (start, end) }) in tensors {
        let size = match dtype.as_str() {
            "F32" => 4,
            "F16" | "BF16" => 2,
            "U8" => 1,
            _ => 0,
        };
        let is_type = serde_json::from_value::<FileDtype>(dtype.clone().into()).is_err();
        let elements = shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim));
        let wanted = elements.and_then(|n| n.checked_mul(size));
        let what = if is_type {
            dtype.clone()
        } else if end > data_bytes {
            format!("expected its bytes to end at {end}, found only {data_bytes} bytes of data")
        } else if start != expected_start {
            format!("expected its bytes to start at {expected_start}, found {start}")
        } else if size > 0 && end.checked_sub(start) != wanted {
            let found = end.saturating_sub(start);
            format!("{dtype} {shape:?} does not fit the {found} bytes given for it")
        } else {
            expected_start = end;
            continue;
        };
        return Some(Culprit { name: name.clone(), what, is_type });
    }
    None
}

/// One tensor's entry in the header.
#[derive(serde::Deserialize)]
struct HeaderEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl HeaderEntry {
    fn deserialize(value: &Value) -> Option<Self> {
        serde_json::from_value(value.clone()).ok()
    }
}

/// The name of a folder's shard index.
pub const INDEX_NAME: &str = "model.safetensors.index.json";

/// A folder's shard index.
#[derive(Debug)]
pub struct ShardIndex {
    /// The name of the file that contains each tensor, by tensor name.
    pub weight_map: BTreeMap<String, String>,
    /// Total size of all tensors in bytes, if the index has it.
    pub total_size_bytes: Option<u64>,
}

/// Reads `model.safetensors.index.json`.
///
/// # Errors
/// An input error if the file is not an index, or a shard is not a plain file name.
pub fn read_index(path: &Path) -> Result<ShardIndex> {
    #[derive(serde::Deserialize)]
    struct Read {
        #[serde(default)]
        metadata: Map<String, Value>,
        weight_map: BTreeMap<String, String>,
    }
    let bytes = FileBytes::map(path)?;
    if bytes.len() > MAX_INDEX_BYTES {
        let found = bytes.len();
        return Err(Error::input(format!(
            "expected at most {MAX_INDEX_BYTES} bytes, found {found}"
        )))
        .at(|| path.display().to_string());
    }
    let index: Read = json::parse(&bytes, "not a shard index").at(|| path.display())?;
    for (tensor, file) in &index.weight_map {
        if !is_plain_name(file) {
            return Err(Error::input(format!(
                "tensor {tensor}: expected a file name, found {file:?}"
            ))
            .at(path.display())
            .hint("shards must be in the same folder as their index"));
        }
    }
    let total_size_bytes = index.metadata.get("total_size").and_then(Value::as_u64);
    Ok(ShardIndex { weight_map: index.weight_map, total_size_bytes })
}

/// Whether `name` is a file name without a path.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(parts.next(), Some(std::path::Component::Normal(part)) if part == name)
        && parts.next().is_none()
        && !name.contains('\\')
}
