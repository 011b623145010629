//! A checkpoint without its weights. The configuration, and the index of shards if there is one,
//! give every tensor and its size, so that a model can be judged before it is downloaded.
//!
//! How tensors are stored is an assumption: in the type that the configuration names, or bf16, and
//! experts in MXFP4 if it says so. The total size in an index confirms the assumption.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::bytes::FileBytes;
use super::config::Config;
use super::dtype::Dtype;
use super::layout::FileLayout;
use super::missing::missing;
use super::names::TensorId;
use super::open::{Checkpoint, name_of};
use super::stored::{FileRange, RowOrder, StoredTensor};
use super::weights::Weights;
use super::{config_json, json, safetensors, spelling};
use crate::error::{At, Error, Result};

/// A checkpoint whose weights may be missing.
#[derive(Debug)]
pub struct Outline {
    /// Its tensors. Reading one fails if the weights are missing.
    pub checkpoint: Checkpoint,
    /// A sentence about the missing weights, or `None` if they are there.
    pub absent: Option<String>,
}

impl Outline {
    /// Opens a checkpoint as [`Checkpoint::open`] does, or describes it if its weights are missing.
    /// `path` may also be a folder with only `config.json` and perhaps an index, or a configuration
    /// file.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; an input error if the index belongs to another configuration.
    pub fn open(path: &Path) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension == "json") {
            return Self::describe(path, None);
        }
        let config = path.join("config.json");
        if !config.exists() {
            return Ok(Outline { checkpoint: Checkpoint::open(path)?, absent: None });
        }
        match Weights::find(path)? {
            Weights::Absent => Self::describe(&config, None),
            Weights::Indexed(index) if !is_whole(path, &index)? => {
                Self::describe(&config, Some(&index))
            }
            _ => Ok(Outline { checkpoint: Checkpoint::open(path)?, absent: None }),
        }
    }

    fn describe(config_path: &Path, index: Option<&Path>) -> Result<Self> {
        let bytes = FileBytes::map(config_path)?;
        let config = config_json::parse(&bytes).at(|| config_path.display().to_string())?;
        let storage = AssumedStorage::of(&bytes);
        let (tensors, absent) = match index {
            None => (storage.tensors(&config), format!("types are assumed: {}", storage.name())),
            Some(path) => storage.proven(&config, path).at(|| path.display().to_string())?,
        };
        let folder = config_path.parent().unwrap_or(Path::new("."));
        let of_folder = config_path.file_name().is_some_and(|name| name == "config.json");
        let name = name_of(if of_folder { folder } else { config_path });
        let checkpoint = Checkpoint::described(name, config, folder, tensors);
        Ok(Outline { checkpoint, absent: Some(format!("the weights are missing; {absent}")) })
    }
}

/// Whether every shard that the index names is in the folder.
fn is_whole(folder: &Path, index: &Path) -> Result<bool> {
    let shards = safetensors::read_index(index)?.weight_map;
    Ok(shards.values().all(|shard| folder.join(shard).exists()))
}

/// The types in which a checkpoint is assumed to be stored.
#[derive(Debug, Clone, Copy)]
struct AssumedStorage {
    dtype: Dtype,
    mxfp4_experts: bool,
}

impl AssumedStorage {
    /// The types that a configuration, which is known to be valid, names.
    fn of(config: &[u8]) -> Self {
        let json: Value = json::parse(config, "not a JSON object").unwrap_or_default();
        let named = json.get("dtype").or(json.get("torch_dtype")).and_then(Value::as_str);
        let dtype = match named {
            Some("float32") => Dtype::F32,
            Some("float16") => Dtype::F16,
            _ => Dtype::BF16,
        };
        let mxfp4_experts = json["quantization_config"]["quant_method"] == "mxfp4";
        AssumedStorage { dtype, mxfp4_experts }
    }

    fn name(self) -> String {
        let experts = if self.mxfp4_experts { ", experts in mxfp4" } else { "" };
        format!("{}{experts}", self.dtype.name())
    }

    /// Every tensor of the architecture, stored in these types.
    fn tensors(self, config: &Config) -> BTreeMap<TensorId, StoredTensor> {
        let describe = |id: TensorId| {
            let is_packed = self.mxfp4_experts && id.expert.is_some() && !id.bias;
            let (dtype, scales) = if is_packed {
                (Dtype::Mxfp4, Some(FileRange { file: 0, range: 0..0 }))
            } else {
                (self.dtype, None)
            };
            let (name, shape, rows) = (id.name(), config.shape_of(id), RowOrder::Plain);
            (
                id,
                StoredTensor {
                    name,
                    file: 0,
                    range: 0..0,
                    shape,
                    dtype,
                    rows,
                    scales,
                    minus_one: false,
                },
            )
        };
        config.tensors().into_iter().map(describe).collect()
    }

    /// The tensors in the type that gives the total size of the index, and a sentence about it.
    fn proven(
        self,
        config: &Config,
        index: &Path,
    ) -> Result<(BTreeMap<TensorId, StoredTensor>, String)> {
        let index = safetensors::read_index(index)?;
        refuse_other_names(&index, config)?;
        let Some(total_bytes) = index.total_size_bytes else {
            let what = format!("the index gives no total size; types are assumed: {}", self.name());
            return Ok((self.tensors(config), what));
        };
        let mut sizes = Vec::new();
        for dtype in [self.dtype, Dtype::BF16, Dtype::F32] {
            let storage = AssumedStorage { dtype, ..self };
            let tensors = storage.tensors(config);
            let size_bytes: u64 = tensors.values().map(StoredTensor::size_bytes).sum();
            if size_bytes == total_bytes {
                let name = storage.name();
                let what = format!("the index's total of {total_bytes} bytes matches {name}");
                return Ok((tensors, what));
            }
            sizes.push(format!("{size_bytes} in {}", storage.name()));
        }
        sizes.dedup();
        let expected = sizes.join(" or ");
        let what = format!("expected a total size of {expected}, found {total_bytes}");
        Err(Error::input(what).hint("config.json and the index do not belong together"))
    }
}

/// Fails (input) if the index lacks a tensor of the architecture.
fn refuse_other_names(index: &safetensors::ShardIndex, config: &Config) -> Result<()> {
    let layout = FileLayout::new(config)?;
    let contains = |name: &str| index.weight_map.contains_key(name);
    for id in config.tensors() {
        let names = layout.names(id);
        if !names.iter().any(|name| spelling::is_named(name, id, config, contains)) {
            return Err(missing(id, &names[0]));
        }
    }
    Ok(())
}
