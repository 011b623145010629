//! What the command tests stand on: a small Llama written out of code, a text in its alphabet, and
//! the program run on both.
#![allow(dead_code, reason = "every test file uses another part")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// The characters that the tokenizer knows, from token 1 on; token 0 is `<s>`.
const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz .,\n";

/// Bound on how much the memory of two starts of the program differs.
const VARYING_BYTES: u64 = 256 << 10;

/// One tensor of a safetensors file.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// Overwrites single weights of an f32 tensor.
    pub fn poke(&mut self, at: usize, value: f32) {
        self.bytes[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// A Llama with random weights.
#[derive(Clone)]
pub struct Tiny {
    pub layers: usize,
    pub hidden: usize,
    pub inner: usize,
    pub vocab: usize,
    pub tied: bool,
    pub seed: u64,
}

impl Default for Tiny {
    fn default() -> Self {
        Tiny { layers: 2, hidden: 64, inner: 96, vocab: 40, tied: true, seed: 1 }
    }
}

impl Tiny {
    pub fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": self.vocab,
            "max_position_embeddings": 128,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": self.tied,
        })
    }

    pub fn tensors(&self) -> Vec<Tensor> {
        let (hidden, inner) = (self.hidden, self.inner);
        let mut shapes = vec![("model.embed_tokens".to_owned(), vec![self.vocab, hidden])];
        for layer in 0..self.layers {
            let parts = [
                ("input_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![hidden, hidden]),
                ("self_attn.k_proj", vec![hidden / 2, hidden]),
                ("self_attn.v_proj", vec![hidden / 2, hidden]),
                ("self_attn.o_proj", vec![hidden, hidden]),
                ("post_attention_layernorm", vec![hidden]),
                ("mlp.gate_proj", vec![inner, hidden]),
                ("mlp.up_proj", vec![inner, hidden]),
                ("mlp.down_proj", vec![hidden, inner]),
            ];
            shapes
                .extend(parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}"), shape)));
        }
        shapes.push(("model.norm".into(), vec![hidden]));
        if !self.tied {
            shapes.push(("lm_head".into(), vec![self.vocab, hidden]));
        }
        let mut random = Random(self.seed);
        shapes.into_iter().map(|(stem, shape)| random.tensor(stem, shape)).collect()
    }

    /// Writes the checkpoint into `folder`.
    pub fn write(&self, folder: &Path) {
        write_checkpoint(folder, &self.config(), &self.tensors());
    }
}

/// Writes a checkpoint of these parts into `folder`, with the tokenizer that all share.
pub fn write_checkpoint(folder: &Path, config: &Value, tensors: &[Tensor]) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("model.safetensors"), safetensors(tensors)).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    let bos = json!({"bos_token": "<s>", "add_bos_token": true});
    std::fs::write(folder.join("tokenizer_config.json"), bos.to_string()).unwrap();
}

/// A tokenizer with a token for each character of the alphabet, and `<s>`.
pub fn tokenizer() -> Value {
    let mut vocab = serde_json::Map::from_iter([("<s>".to_owned(), json!(0))]);
    vocab.extend(ALPHABET.chars().zip(1..).map(|(c, id)| (c.to_string(), json!(id))));
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

/// A text of `tokens` characters, each one token.
pub fn text(tokens: usize) -> String {
    seeded_text(7, tokens)
}

/// The same for another seed, which gives another text.
fn seeded_text(seed: u64, tokens: usize) -> String {
    let letters: Vec<char> = ALPHABET.chars().collect();
    let mut random = Random(seed);
    (0..tokens).map(|_| letters[random.next() as usize % letters.len()]).collect()
}

/// A safetensors file of these tensors, one after the other.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += tensor.bytes.len();
        let entry =
            json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end]});
        header.insert(tensor.name.clone(), entry);
    }
    let data: Vec<u8> = tensors.iter().flat_map(|tensor| tensor.bytes.clone()).collect();
    with_header(&Value::Object(header), &data)
}

/// A safetensors file with this header, true or not.
pub fn with_header(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// splitmix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Norms are one, the rest is uniform with the variance that keeps activations in range.
    fn tensor(&mut self, stem: String, shape: Vec<usize>) -> Tensor {
        let count: usize = shape.iter().product();
        let bound = (3.0 / shape[shape.len() - 1] as f64).sqrt();
        let weight = |random: &mut Random| {
            let unit = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
            if shape.len() == 1 { 1.0 } else { ((2.0 * unit - 1.0) * bound) as f32 }
        };
        let bytes = (0..count).flat_map(|_| weight(self).to_le_bytes()).collect();
        Tensor { name: format!("{stem}.weight"), dtype: "F32", shape, bytes }
    }
}

/// A folder with a model, a text and a place for reports, gone when dropped.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A tiny model, a text of `tokens` tokens, and `other.txt`, five windows of 16 to calibrate on.
    pub fn new(model: &Tiny, tokens: usize) -> Self {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        model.write(&place.model());
        std::fs::write(place.path("text.txt"), text(tokens)).unwrap();
        std::fs::write(place.path("other.txt"), seeded_text(8, 5 * 15)).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn model(&self) -> PathBuf {
        self.path("model")
    }

    /// The place that `args` are run in: relative paths are inside it.
    pub fn evalkit(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("evalkit"));
        command.current_dir(self.folder.path()).args(args);
        command
    }

    /// `evalkit sweep` on the model and text of this place, with more arguments.
    pub fn sweep(&self, more: &[&str]) -> Command {
        let mut command = self.evalkit(&["sweep", "--model", "model", "--text", "text.txt"]);
        command.args(["--context", "16"]).args(more);
        command
    }

    /// A `--memory` that holds a pass of so many windows, for a sweep with these arguments; a few
    /// more where the windows are small, for what the program itself holds varies.
    pub fn budget(&self, windows: usize, more: &[&str]) -> String {
        let mut dry = self.sweep(&["--dry-run", "--format", "json", "--limit"]);
        let output = run(dry.arg(windows.to_string()).args(more), 0);
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = plan["tables"][1]["rows"].as_array().unwrap();
        let sum = rows.iter().find(|row| row["purpose"] == "sum").unwrap();
        format!("{}B", sum["size_bytes"].as_u64().unwrap() + VARYING_BYTES)
    }

    /// The only run's folder among the reports.
    pub fn run_folder(&self) -> PathBuf {
        let mut entries = std::fs::read_dir(self.path("reports")).unwrap();
        let folder = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "more than one run");
        folder
    }

    pub fn records(&self) -> String {
        std::fs::read_to_string(self.run_folder().join("records.jsonl")).unwrap()
    }

    /// Every path below the place, sorted.
    pub fn listing(&self) -> Vec<PathBuf> {
        let mut open = vec![self.folder.path().to_owned()];
        let mut all = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                }
                all.push(entry.path());
            }
        }
        all.sort();
        all
    }

    /// Asserts that the command fails with `code`, says exactly `error` (without its `error: `)
    /// and nothing else anywhere, and leaves no file behind.
    pub fn refuses(&self, mut command: Command, code: i32, error: &str) {
        let before = self.listing();
        let output = command.output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert_eq!(told.trim_end(), format!("error: {error}"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "stdout is not empty");
        assert_eq!(self.listing(), before, "files were left behind");
    }
}

/// What a command said on stderr.
pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must end with `code`.
pub fn run(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    let mut all = told(&output);
    write!(all, "\n{}", String::from_utf8_lossy(&output.stdout)).unwrap();
    assert_eq!(output.status.code(), Some(code), "{all}");
    output
}

/// A file of the development material that is not part of the project.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")).join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}
