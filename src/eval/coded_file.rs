//! Coded weights on disk: what `evalkit quantize` writes and a sweep reads instead of coding again.
//!
//! A safetensors file. Each stored array of a coded tensor is an entry `<tensor>.<part>`:
//! `codes` and, where some are pruned, `mask` (packed, U8), `tables`, `table_scales`, `channel_scales`, `scales` (F16 or I8),
//! `zero_points` (packed, U8), `values` (F16 weights that are not coded). `<tensor>` is the
//! Hugging Face name; a head that is tied but coded differently from the embedding is stored as
//! `lm_head.weight`. The header's `__metadata__` says what it is:
//!
//! | key | value |
//! |---|---|
//! | `format` | `evalkit-coded` |
//! | `version` | `1` |
//! | `numeric_version` | of the program that coded it |
//! | `model_hash` | of the checkpoint it was coded from |
//! | `variant` | the mix of recipes |
//! | `tensors` | JSON: name to `{"recipe": …, "shape": [out, in]}` |

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::coder::Coder;
use super::variant::Variant;
use crate::NUMERIC_VERSION;
use crate::checkpoint::{Checkpoint, FileBytes, Role, TensorId};
use crate::error::{At, Error, Result};
use crate::quantize::{CodedTensor, PartType, Recipe};
use crate::results::write_aside_with;

const FORMAT: &str = "evalkit-coded";
const VERSION: &str = "1";
/// Length of the field that holds the header's length.
const PREFIX_BYTES: u64 = 8;
/// Room for one header entry beside its name: type, shape and offsets as JSON.
const ENTRY_BYTES: u64 = 160;
/// Most arrays that a coded tensor has.
const MAX_PARTS: u64 = 5;

/// One tensor of the file, as its metadata has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Described {
    recipe: String,
    shape: [usize; 2],
}

/// A file of coded weights, open for reading. Cheap: only the header is read.
#[derive(Debug)]
pub struct CodedFile {
    bytes: FileBytes,
    /// Entry name to type, shape and byte range in the file.
    entries: BTreeMap<String, Entry>,
    tensors: BTreeMap<String, Described>,
    /// The recipes it was coded with.
    pub variant: Variant,
    /// The checkpoint that it was coded from.
    pub model_hash: String,
}

#[derive(Debug)]
struct Entry {
    dtype: PartType,
    shape: Vec<usize>,
    range: std::ops::Range<usize>,
}

impl CodedFile {
    /// Opens a file that [`write()`] wrote.
    ///
    /// # Errors
    /// Input errors: not such a file, damaged, or coded by a program whose numbers differ.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(FileBytes::map(path)?).at(|| path.display().to_string())
    }

    fn read(bytes: FileBytes) -> Result<Self> {
        let (header_bytes, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| {
            Error::input("not a file of coded weights")
                .because(e)
                .hint("write it again with evalkit quantize")
        })?;
        let facts = metadata.metadata().clone().unwrap_or_default();
        let fact = |key: &str| {
            let missing = || {
                Error::input(format!(
                    "metadata `{key}` is missing: not a file that evalkit quantize wrote"
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
                .hint("write it again with this version of evalkit quantize"));
            }
        }
        let tensors = serde_json::from_str(fact("tensors")?)
            .map_err(|e| Error::input("metadata `tensors` is damaged").because(e))?;
        let variant: Variant = fact("variant")?.parse().at(|| "metadata `variant`")?;
        let model_hash = fact("model_hash")?.to_owned();
        let start = PREFIX_BYTES as usize + header_bytes;
        let mut entries = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let dtype = match info.dtype {
                Dtype::U8 => PartType::U8,
                Dtype::I8 => PartType::I8,
                Dtype::F16 => PartType::F16,
                other => {
                    return Err(Error::input(format!("entry {name}: unexpected type {other:?}")));
                }
            };
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            entries.insert(name, Entry { dtype, shape: info.shape.clone(), range });
        }
        Ok(CodedFile { bytes, entries, tensors, variant, model_hash })
    }

    /// Reads one tensor back.
    ///
    /// # Errors
    /// Input errors: a tensor that is missing, of another recipe or shape than asked for, or
    /// damaged.
    pub fn tensor(&self, name: &str, recipe: Recipe, shape: [usize; 2]) -> Result<CodedTensor> {
        self.find(name, recipe, shape)
            .at(|| format!("tensor {name}"))
            .at(|| self.bytes.path.display().to_string())
    }

    fn find(&self, name: &str, recipe: Recipe, shape: [usize; 2]) -> Result<CodedTensor> {
        let described =
            self.tensors.get(name).ok_or_else(|| Error::input("missing from the file"))?;
        let expected = Described { recipe: recipe.resolved(shape).to_string(), shape };
        if *described != expected {
            return Err(Error::input(format!("expected {expected:?}, found {described:?}")));
        }
        CodedTensor::from_parts(recipe, shape, |suffix| {
            let entry = self.entries.get(&format!("{name}.{suffix}"))?;
            Some((entry.dtype, &entry.shape[..], &self.bytes[entry.range.clone()]))
        })
    }
}

/// Where a tensor of a variant is stored, and how: `(name in the file, tensor, recipe)`.
fn contents(checkpoint: &Checkpoint, variant: &Variant) -> Vec<(String, TensorId, Recipe)> {
    let mut contents: Vec<_> = checkpoint
        .tensors()
        .map(|(id, stored)| (id.name(), id, variant.recipe_of(id, stored)))
        .collect();
    if variant.stores_tied_head(checkpoint) {
        let head = TensorId::model(Role::Head);
        contents.push((head_name(checkpoint, variant), head, variant.head.weights));
    }
    contents
}

/// The name under which a variant's head is stored.
pub fn head_name(checkpoint: &Checkpoint, variant: &Variant) -> String {
    if variant.stores_tied_head(checkpoint) {
        "lm_head.weight".into()
    } else {
        checkpoint.head().name()
    }
}

/// Codes every tensor of `checkpoint` as `variant` says and writes them to `path`, one tensor in
/// memory at a time. `progress` is told how many of how many tensors are done, and may stop it.
///
/// # Errors
/// Input errors of the checkpoint and the recipes, surroundings errors of the disk; `path` is then
/// as it was.
pub fn write(
    path: &Path,
    checkpoint: &Checkpoint,
    variant: &Variant,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    let contents = contents(checkpoint, variant);
    let facts = facts(checkpoint, variant, &contents)?;
    // The header's length is not known before the last tensor is coded, so room is left for the
    // longest and filled with spaces, as the format allows.
    let names: u64 = contents.iter().map(|(name, _, _)| name.len() as u64).sum();
    let entries = MAX_PARTS * (names + contents.len() as u64 * ENTRY_BYTES);
    let room = (facts.to_string().len() as u64 * 2 + entries).next_multiple_of(8);
    write_aside_with(path, |out| {
        let failed = |e| Error::io("write", path, e);
        out.seek(SeekFrom::Start(PREFIX_BYTES + room)).map_err(failed)?;
        let mut header = Map::from_iter([("__metadata__".to_owned(), facts)]);
        let mut offset = 0u64;
        let coder = Coder { checkpoint, variant, file: None, scales: None };
        for (done, (name, id, _)) in contents.iter().enumerate() {
            progress(done, contents.len())?;
            let coded = coder.tensor(*id)?;
            for part in coded.parts() {
                let end = offset + part.bytes.len() as u64;
                let entry = json!({
                    "dtype": part.dtype.name(), "shape": part.shape, "data_offsets": [offset, end],
                });
                header.insert(format!("{name}.{}", part.suffix), entry);
                out.write_all(&part.bytes).map_err(failed)?;
                offset = end;
            }
        }
        let text = Value::Object(header).to_string();
        let padding = (room as usize).checked_sub(text.len());
        let padding = padding.ok_or_else(|| Error::bug("the header is longer than its room"))?;
        out.seek(SeekFrom::Start(0)).map_err(failed)?;
        out.write_all(&room.to_le_bytes()).map_err(failed)?;
        out.write_all(text.as_bytes()).map_err(failed)?;
        out.write_all(&b" ".repeat(padding)).map_err(failed)
    })
}

fn facts(
    checkpoint: &Checkpoint,
    variant: &Variant,
    contents: &[(String, TensorId, Recipe)],
) -> Result<Value> {
    let mut tensors = BTreeMap::new();
    for (name, id, recipe) in contents {
        let (_, shape) = Coder { checkpoint, variant, file: None, scales: None }.recipe(*id)?;
        let recipe = recipe.resolved(shape).to_string();
        tensors.insert(name, Described { recipe, shape });
    }
    let tensors = serde_json::to_string(&tensors)
        .map_err(|e| Error::bug("cannot describe the tensors").because(e))?;
    Ok(json!({
        "format": FORMAT,
        "version": VERSION,
        "numeric_version": NUMERIC_VERSION.to_string(),
        "model_hash": checkpoint.content_hash(),
        "variant": variant.to_string(),
        "tensors": tensors,
    }))
}
