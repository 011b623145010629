//! Saved second moments: `evalkit calibrate` writes them once, and recipes of any width are calibrated
//! by them.
//!
//! It is a safetensors file. Each entry is the upper triangle of one matrix E[x xᵀ] `[in, in]`, row by
//! row, in F32. Its name is `layers.<l>.<input>`, where `<input>` is `attention` (the first projections of
//! attention or of a short convolution), `output`, `mlp` (gate and up) or `down`; in latent attention also
//! `query_latent` and `kv_latent`, and with a shared expert `shared_down`. In a mixture of experts,
//! `layers.<l>.mlp` has the inputs of all experts, and an expert's own moments are `layers.<l>.experts.<e>.<input>`. An expert
//! with too few tokens has no `mlp` of its own, and its `down` comes from the inputs of all experts.
//! Entries are in the order of their names. The header's `__metadata__` describes the file:
//!
//! | key | value |
//! |---|---|
//! | `format` | `evalkit-moments` |
//! | `version` | `1` |
//! | `numeric_version` | numeric version of the program that collected them |
//! | `model_hash` | hash of the checkpoint |
//! | `origin` | JSON: name of the text, hashes of each window and of all windows |
//! | `tokens` | JSON: by layer of a mixture, the number of tokens of each expert |
//! | `content_hash` | blake3 of the lines above, and of every entry's name and bytes |

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use crate::NUMERIC_VERSION;
use crate::checkpoint::{Checkpoint, FileBytes, TensorId};
use crate::error::{At, Error, Result};
use crate::eval::coded_file::PREFIX_BYTES;
use crate::eval::origin::Origin;
use crate::files::write_atomic_with;
use crate::model::Input;
use crate::quantize::calibrated::Moments;

const FORMAT: &str = "evalkit-moments";
const VERSION: &str = "1";
const AGAIN: &str = "collect them again with evalkit calibrate";
/// An expert with fewer tokens than its number of inputs divided by this is coded on the tokens of all
/// experts.
const FEW: u64 = 4;

/// Whether an expert with this number of tokens is coded on the tokens of all experts.
pub fn is_pooled(tokens: u64, inputs: usize) -> bool {
    tokens * FEW < inputs as u64
}

/// The file's description of its entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Hash of the checkpoint.
    pub model_hash: String,
    /// The text and windows that they were collected on; without a moments hash.
    pub origin: Origin,
    /// By layer of a mixture, tokens per expert.
    pub tokens: BTreeMap<usize, Vec<u64>>,
}

/// Second moments by name, open for reading. Opening is cheap: only the header is read.
#[derive(Debug)]
pub struct MomentsFile {
    bytes: FileBytes,
    entries: BTreeMap<String, Range<usize>>,
    facts: Facts,
    content_hash: String,
}

impl MomentsFile {
    /// Opens a file of second moments.
    ///
    /// # Errors
    /// Input errors: not a file of second moments, truncated, or of another numeric version.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(FileBytes::map(path)?).at(|| path.display().to_string())
    }

    fn read(bytes: FileBytes) -> Result<Self> {
        let (header_bytes, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|e| Error::input("not a file of second moments").because(e).hint(AGAIN))?;
        let texts = metadata.metadata().clone().unwrap_or_default();
        let text = |key: &str| {
            let missing = || Error::input(format!("metadata `{key}` is missing")).hint(AGAIN);
            texts.get(key).map(String::as_str).ok_or_else(missing)
        };
        let numeric_version = NUMERIC_VERSION.to_string();
        let expected =
            [("format", FORMAT), ("version", VERSION), ("numeric_version", &numeric_version)];
        for (key, expected) in expected {
            let found = text(key)?;
            if found != expected {
                let what = format!("metadata `{key}`: expected {expected}, found {found}");
                return Err(Error::input(what).hint(AGAIN));
            }
        }
        let damaged = |key: &str, e: serde_json::Error| {
            Error::input(format!("metadata `{key}` is damaged")).because(e).hint(AGAIN)
        };
        let facts = Facts {
            model_hash: text("model_hash")?.to_owned(),
            origin: serde_json::from_str(text("origin")?).map_err(|e| damaged("origin", e))?,
            tokens: serde_json::from_str(text("tokens")?).map_err(|e| damaged("tokens", e))?,
        };
        let content_hash = text("content_hash")?.to_owned();
        let start = PREFIX_BYTES as usize + header_bytes;
        let mut entries = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            if info.dtype != Dtype::F32 {
                let found = info.dtype;
                return Err(Error::input(format!("entry {name}: expected F32, found {found:?}")));
            }
            entries.insert(name, start + info.data_offsets.0..start + info.data_offsets.1);
        }
        Ok(MomentsFile { bytes, entries, facts, content_hash })
    }

    /// The origin of codes that are calibrated by these moments.
    pub fn origin(&self) -> Origin {
        Origin { moments_hash: Some(self.content_hash.clone()), ..self.facts.origin.clone() }
    }

    /// The file's description of its entries.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The names and bytes of all entries.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().map(|(name, range)| (name.as_str(), &self.bytes[range.clone()]))
    }

    /// Refuses (input) a file that is damaged, is of another model, or has not all moments of this model.
    /// Reads the whole file.
    ///
    /// # Errors
    /// Bug-class errors for tensors that the checkpoint does not have.
    pub fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        let place = || self.bytes.path.display().to_string();
        let model_hash = checkpoint.content_hash();
        if self.facts.model_hash != model_hash {
            let found = &self.facts.model_hash;
            return Err(Error::input(format!(
                "second moments of the model {found:.12}, but the checkpoint is {model_hash:.12}"
            ))
            .at(place())
            .hint(AGAIN));
        }
        (0..checkpoint.config.layers)
            .try_for_each(|layer| self.check_layer(checkpoint, layer))
            .at(place)?;
        let mut hasher = hasher_of(&self.facts)?;
        self.entries().for_each(|(name, bytes)| hash_entry(&mut hasher, name, bytes));
        let found = hasher.finalize().to_hex();
        if found.as_str() != self.content_hash {
            let expected = &self.content_hash;
            return Err(Error::input(format!(
                "the file is damaged: expected content {expected:.12}, found {found:.12}"
            ))
            .at(place())
            .hint(AGAIN));
        }
        Ok(())
    }

    /// Refuses (input) a file without all moments of a layer.
    pub fn check_layer(&self, checkpoint: &Checkpoint, layer: usize) -> Result<()> {
        let config = &checkpoint.config;
        let of_experts =
            (0..config.expert_count(layer)).flat_map(|expert| config.expert_tensors(layer, expert));
        for id in config.block_tensors(layer).into_iter().chain(of_experts) {
            if let Some((name, inputs)) = self.place_of(checkpoint, id)? {
                self.find(&name, inputs)?;
            }
        }
        Ok(())
    }

    /// The second moments of a tensor's inputs; `None` if it is not a linear layer.
    ///
    /// # Errors
    /// Input errors: an entry that is missing, has another length, or cannot be second moments.
    pub fn moments(&self, checkpoint: &Checkpoint, id: TensorId) -> Result<Option<Moments>> {
        let Some((name, inputs)) = self.place_of(checkpoint, id)? else { return Ok(None) };
        let moments = self.unpacked(&name, inputs).and_then(|values| Moments::new(values, inputs));
        let place = || format!("{}: {name}", self.bytes.path.display());
        moments.map(Some).map_err(|e| e.hint(AGAIN)).at(place)
    }

    /// The entry of a tensor, and the number of its inputs.
    fn place_of(&self, checkpoint: &Checkpoint, id: TensorId) -> Result<Option<(String, usize)>> {
        let (Some(layer), Some(input)) = (id.layer, Input::of(id.role).filter(|_| !id.bias)) else {
            return Ok(None);
        };
        let [_, inputs] = checkpoint.stored(id)?.matrix();
        let expert = match (id.expert, input) {
            (Some(expert), Input::Mlp) => {
                let tokens = self.facts.tokens.get(&layer).and_then(|layer| layer.get(expert));
                let tokens = *tokens.ok_or_else(|| {
                    let what = format!(
                        "layer {layer}: the number of tokens of expert {expert} is missing"
                    );
                    Error::input(what).hint(AGAIN)
                })?;
                (!is_pooled(tokens, inputs)).then_some(expert)
            }
            (expert, _) => expert,
        };
        Ok(Some((name_of(layer, expert, input), inputs)))
    }

    /// An entry's bytes, which must be the triangle of a matrix with `inputs` rows.
    fn find(&self, name: &str, inputs: usize) -> Result<&[u8]> {
        let missing = || Error::input(format!("{name} is missing")).hint(AGAIN);
        let bytes = &self.bytes[self.entries.get(name).ok_or_else(missing)?.clone()];
        let expected = inputs.checked_add(1).and_then(|more| inputs.checked_mul(more));
        let expected = expected.map(|twice| twice / 2);
        if expected.and_then(|values| values.checked_mul(4)) == Some(bytes.len()) {
            return Ok(bytes);
        }
        let found = bytes.len() / 4;
        Err(Error::input(format!(
            "{name}: expected the triangle of {inputs} inputs, found {found} values"
        ))
        .hint(AGAIN))
    }

    /// The full matrix `[in, in]` of an entry.
    fn unpacked(&self, name: &str, inputs: usize) -> Result<Vec<f64>> {
        let bytes = self.find(name, inputs)?;
        let mut packed = bytes.chunks_exact(4);
        let mut values = vec![0.0; inputs * inputs];
        for row in 0..inputs {
            for column in row..inputs {
                let four = packed.next().and_then(|bytes| bytes.try_into().ok());
                let value = f64::from(f32::from_le_bytes(four.unwrap_or_default()));
                values[row * inputs + column] = value;
                values[column * inputs + row] = value;
            }
        }
        Ok(values)
    }

    /// Whether an expert is coded on the tokens of all experts.
    pub fn pools(&self, checkpoint: &Checkpoint, layer: usize, expert: usize) -> bool {
        let tokens = self.facts.tokens.get(&layer).and_then(|layer| layer.get(expert));
        tokens.is_some_and(|tokens| is_pooled(*tokens, checkpoint.config.hidden_size))
    }
}

/// The name of an entry.
pub fn name_of(layer: usize, expert: Option<usize>, input: Input) -> String {
    match expert {
        Some(expert) => format!("layers.{layer}.experts.{expert}.{}", input.name()),
        None => format!("layers.{layer}.{}", input.name()),
    }
}

/// The upper triangle of moments `[in, in]` as bytes, row by row. Fails (input) if a moment is not
/// finite.
pub fn packed(values: &[f64], inputs: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(inputs * (inputs + 1) * 2);
    for row in 0..inputs {
        for column in row..inputs {
            // Both are the same sum, but rounded in a different order.
            let both = values[row * inputs + column] + values[column * inputs + row];
            let value = (both / 2.0) as f32;
            if !value.is_finite() {
                let what = format!("second moments: expected finite, found {value}");
                return Err(Error::input(what).at(format!("[{row}, {column}]")));
            }
            bytes.extend(value.to_le_bytes());
        }
    }
    Ok(bytes)
}

/// Writes entries, given with their sizes in the order of their names; `bytes` returns their contents.
pub fn write<'a>(
    path: &Path,
    facts: &Facts,
    entries: &[(String, usize)],
    bytes: impl Fn(usize) -> &'a [u8],
) -> Result<()> {
    let mut hasher = hasher_of(facts)?;
    let header = |content_hash: &str| -> Result<Vec<u8>> {
        let mut described = described(facts)?;
        described["content_hash"] = Value::from(content_hash);
        let mut header = Map::from_iter([("__metadata__".to_owned(), described)]);
        let mut offset = 0;
        for (name, size_bytes) in entries {
            let offsets = [offset, offset + size_bytes];
            let entry =
                json!({ "dtype": "F32", "shape": [size_bytes / 4], "data_offsets": offsets });
            header.insert(name.clone(), entry);
            offset += size_bytes;
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(PREFIX_BYTES as usize), b' ');
        Ok(text)
    };
    let blank = header(&"0".repeat(blake3::OUT_LEN * 2))?.len() as u64;
    write_atomic_with(path, |out| {
        let failed = |e| Error::io("write", path, e);
        out.seek(SeekFrom::Start(PREFIX_BYTES + blank)).map_err(failed)?;
        for (at, (name, _)) in entries.iter().enumerate() {
            let bytes = bytes(at);
            hash_entry(&mut hasher, name, bytes);
            out.write_all(bytes).map_err(failed)?;
        }
        out.seek(SeekFrom::Start(0)).map_err(failed)?;
        out.write_all(&blank.to_le_bytes()).map_err(failed)?;
        out.write_all(&header(hasher.finalize().to_hex().as_str())?).map_err(failed)
    })
}

/// The facts as metadata, without the content hash.
fn described(facts: &Facts) -> Result<Value> {
    let bug = |e: serde_json::Error| Error::bug("cannot describe the moments").because(e);
    Ok(json!({
        "format": FORMAT,
        "version": VERSION,
        "numeric_version": NUMERIC_VERSION.to_string(),
        "model_hash": facts.model_hash,
        "origin": serde_json::to_string(&facts.origin).map_err(bug)?,
        "tokens": serde_json::to_string(&facts.tokens).map_err(bug)?,
    }))
}

fn hasher_of(facts: &Facts) -> Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(described(facts)?.to_string().as_bytes());
    Ok(hasher)
}

fn hash_entry(hasher: &mut blake3::Hasher, name: &str, bytes: &[u8]) {
    hasher.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}
