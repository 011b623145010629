//! Opens a checkpoint: finds its files and tensors and checks these against the architecture.
//! Everything that can be refused without reading weights is refused here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use super::bytes::FileBytes;
use super::config::Config;
use super::dtype::Dtype;
use super::layout::FileLayout;
use super::missing::missing;
use super::names::TensorId;
use super::roles::Role;
use super::spelling::{self, PassedOver};
use super::stored::StoredTensor;
use super::tokenizer::{
    BYTE_LEVEL, PRETOKENIZER, TOKENIZER_MODEL, TextTokenizer, is_known_pretokenizer,
};
use super::weights::Weights;
use super::{
    config_json, experts, foreign, gguf, head_norms, quantized, safetensors, tensor_bytes,
};
use crate::error::{At, Error, Result};
use crate::files::read_regular;

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
/// A larger file of these is refused; the largest tokenizers have 40 MB.
const MAX_COMPANION_BYTES: u64 = 1 << 28;

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
    /// What the files have beside the language model.
    pub passed_over: Option<PassedOver>,
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
            return Err(foreign::not_gguf(path, &file));
        }
        let (files, gguf::Gguf { tensors, config, metadata }) = gguf::open(file)?;
        let name = if files.len() > 1 { gguf::whole_name(&name).to_owned() } else { name };
        let tokenizer = TokenizerSource::Gguf(Box::new(metadata));
        Self::assemble(name, config, tokenizer, files, tensors).at(|| path.display().to_string())
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
        if !config_path.exists() {
            return Err(foreign::no_config(folder));
        }
        let config = config_json::parse(&FileBytes::map(&config_path)?)
            .at(|| config_path.display().to_string())?;
        let tokenizer = TokenizerSource::Folder(folder.into());
        let found = Weights::find(folder).and_then(|weights| weights.open(folder));
        let opened = found.and_then(|(files, found)| {
            Self::assemble(name, config, tokenizer, files, found)
                .at(|| folder.display().to_string())
        });
        opened.map_err(|error| quantized::explain(folder, error))
    }

    /// A checkpoint whose tensors are known but whose weights are missing.
    pub(super) fn described(
        name: String,
        config: Config,
        folder: &Path,
        tensors: BTreeMap<TensorId, StoredTensor>,
        passed_over: Option<PassedOver>,
    ) -> Self {
        let tokenizer = TokenizerSource::Folder(folder.into());
        let reads = AtomicU64::new(0);
        Checkpoint { name, config, tokenizer, files: vec![], tensors, passed_over, reads }
    }

    /// Matches the tensors found with those that the architecture has.
    fn assemble(
        name: String,
        config: Config,
        tokenizer: TokenizerSource,
        files: Vec<FileBytes>,
        mut found: BTreeMap<String, StoredTensor>,
    ) -> Result<Self> {
        let is_gguf = matches!(tokenizer, TokenizerSource::Gguf(_));
        let layout = FileLayout::new(&config)?;
        let mut passed_over = None;
        let tensors = if is_gguf {
            named(&mut found, &config)?
        } else {
            passed_over = spelling::settle(&mut found, &config, &layout)?;
            experts::unpack(&mut found, &config)?;
            head_norms::join(&mut found, &config, &layout)?;
            layout.assign(&mut found)?
        };
        if let Some(stored) = tensors.values().find(|stored| stored.dtype == Dtype::U8) {
            return Err(Error::input("expected f32, f16 or bf16, found U8")
                .at(format!("tensor {}", stored.name)));
        }
        let head = layout.sources(TensorId::model(Role::Head))[0].name.clone();
        if config.tied
            && let Some(head) = found.remove(&head)
        {
            let embedding = &tensors[&TensorId::model(Role::Embedding)];
            refuse_other_head(&files, embedding, &head)?;
        }
        if let Some(name) = found.keys().next() {
            return Err(Error::input("found in the checkpoint, not expected by the architecture")
                .at(format!("tensor {name}"))
                .hint("this model has a part that evalkit does not compute"));
        }
        let reads = AtomicU64::new(0);
        Ok(Checkpoint { name, config, tokenizer, files, tensors, passed_over, reads })
    }

    /// The checkpoint's own tokenizer.
    ///
    /// # Errors
    /// Input errors: there is no tokenizer, it cannot be used, or it has more ids than the model.
    pub fn tokenizer(&self) -> Result<TextTokenizer> {
        let tokenizer = match &self.tokenizer {
            TokenizerSource::Folder(folder) => TextTokenizer::from_folder(folder)?,
            TokenizerSource::Gguf(metadata) => TextTokenizer::from_gguf(metadata).at(|| {
                self.files.first().map_or(self.name.clone(), |f| f.path.display().to_string())
            })?,
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

    /// Says how the tokenizer splits text into words, for a GGUF file that does not say it itself, or
    /// that names a rule which is not known. [`Checkpoint::tokenizer`] checks the name.
    ///
    /// # Errors
    /// Input errors: another known name in the file, or a checkpoint whose tokenizer needs none.
    pub fn set_pretokenizer(&mut self, name: &str) -> Result<()> {
        let refused = |what: String| {
            Err(Error::input(what)
                .at("--pretokenizer")
                .hint("leave it out: it is for GGUF files that name no pre-tokenizer, or one that is not known"))
        };
        let TokenizerSource::Gguf(metadata) = &mut self.tokenizer else {
            return refused(format!("{} says in tokenizer.json how text is split", self.name));
        };
        match metadata.text(PRETOKENIZER)?.map(str::to_owned) {
            Some(own) if own == name => Ok(()),
            Some(own) if is_known_pretokenizer(&own) => {
                refused(format!("{} names {own}, not {name}", self.name))
            }
            _ if metadata.text(TOKENIZER_MODEL)? != Some(BYTE_LEVEL) => {
                refused(format!("{} has no byte-level tokenizer", self.name))
            }
            _ => {
                metadata.set_text(PRETOKENIZER, name);
                Ok(())
            }
        }
    }

    /// The quantized types in which matrices are stored, the one with most weights first; empty if all
    /// are f32, f16 or bf16.
    pub fn quantized_types(&self) -> Vec<String> {
        let mut types: BTreeMap<String, u64> = BTreeMap::new();
        for stored in self.tensors.values().filter(|stored| stored.dtype.is_quantized()) {
            *types.entry(stored.dtype.name()).or_default() += stored.weights();
        }
        let mut types: Vec<(String, u64)> = types.into_iter().collect();
        types.sort_by_key(|(_, weights)| std::cmp::Reverse(*weights));
        types.into_iter().map(|(name, _)| name).collect()
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
                    let bytes = read_regular("read", &path, MAX_COMPANION_BYTES)?;
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

/// The tensors of the architecture among those of a file with our names.
fn named(
    found: &mut BTreeMap<String, StoredTensor>,
    config: &Config,
) -> Result<BTreeMap<TensorId, StoredTensor>> {
    let mut tensors = BTreeMap::new();
    for id in config.tensors() {
        let name = id.name();
        let stored = found.remove(&name).ok_or_else(|| missing(id, &name))?;
        let expected = config.shape_of(id);
        if stored.shape != expected {
            let what = format!("expected shape {expected:?}, found {:?}", stored.shape);
            return Err(Error::input(what).at(format!("tensor {}", stored.name)));
        }
        tensors.insert(id, stored);
    }
    Ok(tensors)
}

/// Fails (input) if the head that is stored beside a tied embedding has other weights.
fn refuse_other_head(
    files: &[FileBytes],
    embedding: &StoredTensor,
    head: &StoredTensor,
) -> Result<()> {
    let what = if head.shape != embedding.shape {
        format!("shape {:?} instead of {:?}", head.shape, embedding.shape)
    } else if head.dtype == Dtype::U8 {
        "elements of type u8".to_owned()
    } else {
        match tensor_bytes::first_difference(files, embedding, head)? {
            None => return Ok(()),
            Some(row) => format!("other weights, first in row {row}"),
        }
    };
    Err(Error::input(format!(
        "config.json says that the head is tied to the embedding, but the stored head has {what}"
    ))
    .at(format!("tensor {}", head.name))
    .hint("to score the stored head, set \"tie_word_embeddings\": false in config.json; to score the tied one, delete this tensor from the file"))
}

/// A checkpoint's name in tables: that of its folder, or of its file without the extension.
pub(super) fn name_of(path: &Path) -> String {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.into());
    let name = if path.is_dir() { absolute.file_name() } else { absolute.file_stem() };
    name.map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}
