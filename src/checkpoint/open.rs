//! Opens a checkpoint: finds its files and tensors and checks these against the architecture.
//! Everything that can be refused without reading weights is refused here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use super::bytes::FileBytes;
use super::config::Config;
use super::dtype::Dtype;
use super::names::{Role, TensorId};
use super::stored::{StoredTensor, absent};
use super::tokenizer::TextTokenizer;
use super::{config_json, experts, gguf, safetensors};
use crate::error::{At, Error, Result};

/// Files of a checkpoint's folder that an app needs with its weights.
const COMPANIONS: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
];

/// An open checkpoint. Opening is cheap: only headers are read.
#[derive(Debug)]
pub struct Checkpoint {
    /// A short name for tables: that of the folder or file.
    pub name: String,
    /// The architecture's numbers.
    pub config: Config,
    tokenizer: TokenizerSource,
    pub(super) files: Vec<FileBytes>,
    pub(super) tensors: BTreeMap<TensorId, StoredTensor>,
    /// Tensor reads so far. Tests use it to prove that a walk over the layers reads each tensor
    /// once.
    pub(super) reads: AtomicU64,
}

/// Where the tokenizer comes from. It is built on request.
#[derive(Debug)]
enum TokenizerSource {
    Folder(PathBuf),
    Gguf(Box<gguf::Metadata>),
    Embedded(Embedded),
}

/// A checkpoint that is part of the program.
#[derive(Debug, Clone, Copy)]
pub struct Embedded {
    /// Its name in tables.
    pub name: &'static str,
    /// `config.json`.
    pub config: &'static [u8],
    /// `model.safetensors`.
    pub weights: &'static [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'static [u8],
    /// `tokenizer_config.json`.
    pub tokenizer_config: &'static [u8],
}

impl Checkpoint {
    /// Opens a Hugging Face folder (`config.json` with `model.safetensors` or shards and their
    /// index) or a GGUF file.
    ///
    /// # Errors
    /// Input errors that name the file and the tensor or key at fault.
    pub fn open(path: &Path) -> Result<Self> {
        let name = name_of(path);
        if path.is_dir() {
            return Self::open_folder(path, name);
        }
        let file = FileBytes::map(path)?;
        if !file.starts_with(b"GGUF") {
            return Err(Error::input("expected a folder with config.json, or a GGUF file")
                .at(path.display()));
        }
        let gguf::Gguf { tensors, config, metadata } = gguf::read(&file, 0)?;
        let tokenizer = TokenizerSource::Gguf(Box::new(metadata));
        Self::assemble(name, config, tokenizer, vec![file], tensors)
            .at(|| path.display().to_string())
    }

    /// Opens a checkpoint that is part of the program.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_embedded(embedded: &Embedded) -> Result<Self> {
        let config = config_json::parse(embedded.config).at(|| "config.json")?;
        let file = FileBytes::embedded("model.safetensors", embedded.weights);
        let found = safetensors::read(&file, 0)?;
        let tokenizer = TokenizerSource::Embedded(*embedded);
        Self::assemble(embedded.name.into(), config, tokenizer, vec![file], found)
    }

    fn open_folder(folder: &Path, name: String) -> Result<Self> {
        let config_path = folder.join("config.json");
        let config = config_json::parse(&FileBytes::map(&config_path)?)
            .at(|| config_path.display().to_string())?;
        let (files, found) = open_shards(folder)?;
        let tokenizer = TokenizerSource::Folder(folder.into());
        Self::assemble(name, config, tokenizer, files, found).at(|| folder.display().to_string())
    }

    /// A checkpoint whose tensors are known but whose weights are missing.
    pub(super) fn described(
        name: String,
        config: Config,
        folder: &Path,
        tensors: BTreeMap<TensorId, StoredTensor>,
    ) -> Self {
        let tokenizer = TokenizerSource::Folder(folder.into());
        Checkpoint { name, config, tokenizer, files: vec![], tensors, reads: AtomicU64::new(0) }
    }

    /// Matches the tensors found with those that the architecture has.
    fn assemble(
        name: String,
        config: Config,
        tokenizer: TokenizerSource,
        files: Vec<FileBytes>,
        mut found: BTreeMap<String, StoredTensor>,
    ) -> Result<Self> {
        experts::unpack(&mut found, &config)?;
        let mut tensors = BTreeMap::new();
        for id in config.tensors() {
            let stored = found.remove(&id.name()).ok_or_else(|| absent(&id.name()))?;
            let expected = config.shape_of(id);
            if stored.shape != expected {
                let what = format!("expected shape {expected:?}, found {:?}", stored.shape);
                return Err(Error::input(what).at(format!("tensor {}", stored.name)));
            }
            if stored.dtype == Dtype::U8 {
                return Err(Error::input("expected f32, f16 or bf16, found U8")
                    .at(format!("tensor {}", stored.name)));
            }
            tensors.insert(id, stored);
        }
        found.retain(|name, _| !is_derived(name, &config));
        if let Some(name) = found.keys().next() {
            return Err(Error::input("found in the checkpoint, not expected by the architecture")
                .at(format!("tensor {name}"))
                .hint("this model has a part that evalkit does not compute"));
        }
        Ok(Checkpoint { name, config, tokenizer, files, tensors, reads: AtomicU64::new(0) })
    }

    /// The checkpoint's own tokenizer.
    ///
    /// # Errors
    /// Input errors: there is no tokenizer, it cannot be used, or it has more ids than the model.
    pub fn tokenizer(&self) -> Result<TextTokenizer> {
        let tokenizer = match &self.tokenizer {
            TokenizerSource::Folder(folder) => TextTokenizer::from_folder(folder)?,
            TokenizerSource::Gguf(metadata) => TextTokenizer::from_gguf(metadata)?,
            TokenizerSource::Embedded(e) => {
                TextTokenizer::from_bytes(e.tokenizer, Some(e.tokenizer_config), None)?
            }
        };
        let (tokens, rows) = (tokenizer.vocab_size(), self.config.vocab_size);
        if tokens > rows {
            return Err(Error::input(format!(
                "the tokenizer has token ids up to {}, but the model has only {rows} embedding rows",
                tokens - 1
            ))
            .at(&self.name)
            .hint("the tokenizer belongs to another model"));
        }
        Ok(tokenizer)
    }

    /// The files that an app needs with the weights, by name: tokenizer, generation settings,
    /// licence. Empty for a GGUF file, which contains its tokenizer in a format of its own.
    ///
    /// # Errors
    /// Errors of reading the files.
    pub fn companions(&self) -> Result<Vec<(String, Vec<u8>)>> {
        match &self.tokenizer {
            TokenizerSource::Gguf(_) => Ok(Vec::new()),
            TokenizerSource::Embedded(embedded) => Ok(vec![
                ("tokenizer.json".into(), embedded.tokenizer.to_vec()),
                ("tokenizer_config.json".into(), embedded.tokenizer_config.to_vec()),
            ]),
            TokenizerSource::Folder(folder) => {
                let there = COMPANIONS.iter().filter(|name| folder.join(name).is_file());
                let read = |name: &&str| {
                    let path = folder.join(name);
                    let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
                    Ok(((*name).to_owned(), bytes))
                };
                there.map(read).collect()
            }
        }
    }

    /// Where and how a tensor is stored.
    ///
    /// # Errors
    /// A bug-class error for a tensor that the architecture does not have.
    pub fn stored(&self, id: TensorId) -> Result<&StoredTensor> {
        self.tensors
            .get(&id)
            .ok_or_else(|| Error::bug(format!("the architecture has no tensor {}", id.name())))
    }

    /// The head's tensor, which is the embedding if both are tied.
    pub fn head(&self) -> TensorId {
        TensorId::model(if self.config.tied { Role::Embedding } else { Role::Head })
    }

    /// All tensors, in the order in which the model is computed.
    pub fn tensors(&self) -> impl Iterator<Item = (TensorId, &StoredTensor)> {
        self.config.tensors().into_iter().filter_map(|id| Some((id, self.tensors.get(&id)?)))
    }

    /// The number of weights; tied weights count once.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(StoredTensor::weights).sum()
    }
}

/// Whether a tensor can be computed from others, so that it can be ignored.
fn is_derived(name: &str, config: &Config) -> bool {
    name.ends_with("rotary_emb.inv_freq") || (config.tied && name == "lm_head.weight")
}

/// A checkpoint's name in tables: that of its folder, or of its file without the extension.
pub(super) fn name_of(path: &Path) -> String {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.into());
    let name = if path.is_dir() { absolute.file_name() } else { absolute.file_stem() };
    name.map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

/// Maps the folder's safetensors files: the single one, or the shards that the index names.
fn open_shards(folder: &Path) -> Result<(Vec<FileBytes>, BTreeMap<String, StoredTensor>)> {
    let single = folder.join("model.safetensors");
    let index_path = folder.join(safetensors::INDEX_NAME);
    if single.exists() || !index_path.exists() {
        let file = FileBytes::map(&single).map_err(|e| {
            e.hint("a checkpoint folder has config.json and model.safetensors, or shards and their index")
        })?;
        let found = safetensors::read(&file, 0)?;
        return Ok((vec![file], found));
    }
    let index = safetensors::read_index(&index_path)?.weight_map;
    let shards: std::collections::BTreeSet<&String> = index.values().collect();
    let (mut files, mut found) = (Vec::new(), BTreeMap::new());
    for (number, shard) in shards.into_iter().enumerate() {
        let path: PathBuf = folder.join(shard);
        let file =
            FileBytes::map(&path).map_err(|e| e.hint("the index names a shard that is missing"))?;
        let mut tensors = safetensors::read(&file, number)?;
        for (name, _) in index.iter().filter(|(_, of)| *of == shard) {
            let stored = tensors.remove(name).ok_or_else(|| {
                Error::input(format!("the index places it in {shard}, which does not contain it"))
                    .at(format!("tensor {name}"))
                    .at(index_path.display())
            })?;
            found.insert(name.clone(), stored);
        }
        files.push(file);
    }
    Ok((files, found))
}
