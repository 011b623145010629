//! Coded weights on disk: what `evalkit quantize` writes and a sweep reads instead of coding again.
//!
//! It is a safetensors file. Each stored array of a coded tensor is an entry `<tensor>.<part>`, where
//! the part is `codes` and, if weights are pruned, `mask` (both packed, U8); `tables`, `table_scales`,
//! `channel_scales` and `scales` (F16 or I8); `zero_points` (packed, U8); `values` (F16 weights that
//! are not coded). `<tensor>` is the Hugging Face name; a tied head that is coded differently from the
//! embedding is stored as `lm_head.weight`. The header's `__metadata__` describes the file:
//!
//! | key | value |
//! |---|---|
//! | `format` | `evalkit-coded` |
//! | `version` | `2` |
//! | `numeric_version` | numeric version of the program that coded it |
//! | `content_hash` | blake3 of the arrays, then of the header with zeros in place of this hash |
//! | `model_hash` | hash of the checkpoint that it was coded from |
//! | `variant` | the mix of recipes |
//! | `tensors` | JSON: name to `{"recipe": …, "shape": [out, in]}` |
//! | `calibration` | if calibrated, JSON: the text, hashes of its windows and of saved moments |
//! | `errors` | if calibrated, JSON: name to `[[step, relative error of the outputs], …]` |
//! | `coding` | if calibrated, JSON: `pooled_experts`, `dead_inputs`, `data_free`, `tuned` by layer |

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::provenance::Calibrated;
use super::variant::Variant;
use crate::NUMERIC_VERSION;
use crate::checkpoint::{Checkpoint, FileBytes};
use crate::error::{At, Error, Result};
use crate::files::open_regular;
use crate::quantize::{ArrayType, CodedTensor, Recipe};

pub const FORMAT: &str = "evalkit-coded";
pub const VERSION: &str = "2";
/// The key of the hash of the whole file.
pub const CONTENT_HASH: &str = "content_hash";
/// What stands in the header in place of the hash while the hash is computed.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const AGAIN: &str = "write it again with this version of evalkit quantize";
/// Length of the field that holds the header's length.
pub const PREFIX_BYTES: u64 = 8;
/// Bytes that are read at a time to hash a file.
const BUFFER_BYTES: usize = 1 << 20;

/// One tensor of the file, as the metadata describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// Its recipe.
    pub recipe: String,
    /// Its shape, `[out, in]`.
    pub shape: [usize; 2],
}

/// A file of coded weights, open for reading. Opening reads the whole file once, to compare it with its
/// hash.
#[derive(Debug)]
pub struct CodedFile {
    bytes: FileBytes,
    /// Entry name to type, shape and byte range in the file.
    entries: BTreeMap<String, Entry>,
    /// Its tensors by name.
    pub tensors: BTreeMap<String, Described>,
    /// The recipes that it was coded with.
    pub variant: Variant,
    /// The checkpoint that it was coded from.
    pub model_hash: String,
    /// How its tensors were calibrated.
    pub calibrated: Calibrated,
}

#[derive(Debug)]
struct Entry {
    dtype: ArrayType,
    shape: Vec<usize>,
    range: std::ops::Range<usize>,
}

impl CodedFile {
    /// Opens a file that [`write_coded`](super::write_coded) wrote.
    ///
    /// # Errors
    /// Input errors: not a file of coded weights, damaged, or of another version.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, content_hash, header_end) =
            Self::read(FileBytes::map(path)?).at(|| path.display().to_string())?;
        let found = hash_of(path, header_end, &content_hash)?;
        if found != content_hash {
            return Err(Error::input(format!(
                "the file is damaged: expected content {content_hash:.12}, found {found:.12}"
            ))
            .at(path.display())
            .hint(AGAIN));
        }
        file.bytes.check_unchanged()?;
        Ok(file)
    }

    /// Reads the header. Returns the file with the hash in its header and the header's end.
    fn read(bytes: FileBytes) -> Result<(Self, String, usize)> {
        let (header_bytes, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|e| Error::input("not a file of coded weights").because(e).hint(AGAIN))?;
        let facts = metadata.metadata().clone().unwrap_or_default();
        let fact = |key: &str| {
            let missing = || {
                Error::input(format!(
                    "metadata `{key}` is missing: evalkit quantize did not write this file"
                ))
            };
            facts.get(key).map(String::as_str).ok_or_else(missing)
        };
        for (key, expected) in [
            ("format", FORMAT),
            ("version", VERSION),
            ("numeric_version", &NUMERIC_VERSION.to_string()),
        ] {
            let found = fact(key)?;
            if found != expected {
                return Err(Error::input(format!(
                    "metadata `{key}`: expected {expected}, found {found}"
                ))
                .hint(AGAIN));
            }
        }
        let tensors = serde_json::from_str(fact("tensors")?)
            .map_err(|e| Error::input("metadata `tensors` is damaged").because(e))?;
        let variant: Variant = fact("variant")?.parse().at(|| "metadata `variant`")?;
        let errors = json(facts.get("errors"), "errors")?;
        let provenance = json(facts.get("coding"), "coding")?;
        let origin = json(facts.get("calibration"), "calibration")?;
        let model_hash = fact("model_hash")?.to_owned();
        let content_hash = fact(CONTENT_HASH)?.to_owned();
        let start = PREFIX_BYTES as usize + header_bytes;
        let mut entries = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let dtype = match info.dtype {
                Dtype::U8 => ArrayType::U8,
                Dtype::I8 => ArrayType::I8,
                Dtype::F16 => ArrayType::F16,
                other => {
                    return Err(Error::input(format!("entry {name}: unexpected type {other:?}")));
                }
            };
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            entries.insert(name, Entry { dtype, shape: info.shape.clone(), range });
        }
        let calibrated = Calibrated { origin, errors, provenance };
        let file = CodedFile { bytes, entries, tensors, variant, model_hash, calibrated };
        Ok((file, content_hash, start))
    }

    /// Reads one tensor back.
    ///
    /// # Errors
    /// Input errors: the tensor is missing, is damaged, or has another recipe or shape.
    pub fn tensor(&self, name: &str, recipe: Recipe, shape: [usize; 2]) -> Result<CodedTensor> {
        self.find(name, recipe, shape)
            .at(|| format!("tensor {name}"))
            .at(|| self.bytes.path.display().to_string())
    }

    fn find(&self, name: &str, recipe: Recipe, shape: [usize; 2]) -> Result<CodedTensor> {
        let described = self
            .tensors
            .get(name)
            .ok_or_else(|| Error::input("the tensor is missing from the file"))?;
        let expected = Described { recipe: recipe.resolved(shape).to_string(), shape };
        if *described != expected {
            return Err(Error::input(format!("expected {expected:?}, found {described:?}")));
        }
        CodedTensor::from_named_arrays(recipe, shape, |suffix| {
            let entry = self.entries.get(&format!("{name}.{suffix}"))?;
            Some((entry.dtype, &entry.shape[..], &self.bytes[entry.range.clone()]))
        })
    }
}

/// The hash of a file whose header ends at `header_end` and holds the hash `content_hash`. The file is
/// read piece by piece rather than through the map, whose pages would count as this process's memory.
fn hash_of(path: &Path, header_end: usize, content_hash: &str) -> Result<String> {
    let failed = |e| Error::io("read", path, e);
    let (mut file, _) = open_regular("read", path)?;
    let mut header = vec![0; header_end];
    file.read_exact(&mut header).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            count => _ = hasher.update_rayon(&buffer[..count]),
        }
    }
    let stored = format!("\"{CONTENT_HASH}\":\"{content_hash}\"");
    if let Some(at) = header.windows(stored.len()).position(|found| found == stored.as_bytes()) {
        let end = at + stored.len() - 1;
        header[end - content_hash.len()..end].fill(b'0');
    }
    Ok(hasher.update(&header).finalize().to_hex().to_string())
}

/// Parses metadata; the default if it is absent.
fn json<T: Default + DeserializeOwned>(text: Option<&String>, key: &str) -> Result<T> {
    text.map_or(Ok(T::default()), |text| {
        serde_json::from_str(text)
            .map_err(|e| Error::input(format!("metadata `{key}` is damaged")).because(e))
    })
}

/// The name that a variant's head is stored under.
pub fn head_name(checkpoint: &Checkpoint, variant: &Variant) -> String {
    if variant.stores_tied_head(checkpoint) {
        "lm_head.weight".into()
    } else {
        checkpoint.head().name()
    }
}
