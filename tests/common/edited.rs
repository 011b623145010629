//! A committed mixture, copied and damaged: the material of tests of bad input.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// One tensor as a safetensors file has it.
#[derive(Clone)]
pub struct Raw {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A checkpoint in memory, to be changed and written.
pub struct Edited {
    pub config: Map<String, Value>,
    pub tensors: BTreeMap<String, Raw>,
}

impl Edited {
    /// One of the folders in `tests/golden/mixtures`.
    pub fn of(name: &str) -> Self {
        let mixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures");
        let config = std::fs::read(mixtures.join(name).join("config.json")).unwrap();
        let file = std::fs::read(mixtures.join(name).join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap().tensors().into_iter();
        let raw = |view: TensorView<'_>| Raw {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        Edited {
            config: serde_json::from_slice(&config).unwrap(),
            tensors: tensors.map(|(name, view)| (name, raw(view))).collect(),
        }
    }

    /// The tensor `name`, to be changed.
    pub fn tensor(&mut self, name: &str) -> &mut Raw {
        self.tensors.get_mut(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// Takes the tensor `name` out.
    pub fn remove(&mut self, name: &str) -> Raw {
        self.tensors.remove(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// Writes it as a folder with one file of weights.
    pub fn write(&self, folder: &Path) {
        self.write_config(folder);
        write_tensors(&folder.join("model.safetensors"), self.tensors.iter());
    }

    /// Writes it as two shards and their index; `second` says which tensors lie in the second.
    /// Returns the shards' paths and the index's.
    pub fn write_shards(&self, folder: &Path, second: impl Fn(&str) -> bool) -> [PathBuf; 3] {
        self.write_config(folder);
        let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let shard_of = |name: &str| names[usize::from(second(name))];
        for shard in names {
            let of_shard = self.tensors.iter().filter(|(name, _)| shard_of(name) == shard);
            write_tensors(&folder.join(shard), of_shard);
        }
        let map: Map<String, Value> =
            self.tensors.keys().map(|name| (name.clone(), shard_of(name).into())).collect();
        let index = folder.join("model.safetensors.index.json");
        std::fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
        [folder.join(names[0]), folder.join(names[1]), index]
    }

    fn write_config(&self, folder: &Path) {
        let text = serde_json::to_string(&self.config).unwrap();
        std::fs::write(folder.join("config.json"), text).unwrap();
    }
}

fn write_tensors<'a>(path: &Path, tensors: impl Iterator<Item = (&'a String, &'a Raw)>) {
    let view = |raw: &'a Raw| TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes).unwrap();
    let views = tensors.map(|(name, raw)| (name, view(raw)));
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).unwrap();
}
