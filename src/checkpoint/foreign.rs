//! What people give in place of a checkpoint: pointers to a file, adapters, and the files and folders
//! of other tools. They are recognized by name or first bytes, so that the error can say what they are
//! and what to do.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files::refuse_pointer;

/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 1 << 12;
/// Bytes at the start of an archive in which the names of its first files are looked for.
const ARCHIVE_START_BYTES: usize = 1 << 12;

/// How files begin that explain nothing: those of a training, and weights as they should be called.
const EXPLAIN_NOTHING: [&str; 6] =
    ["training_args", "optimizer", "scheduler", "rng_state", "model.safetensors", "model-0"];

const TO_SAFETENSORS: &str = "evalkit reads safetensors only, because such files can run code: load the model in transformers and store it with save_pretrained(FOLDER, safe_serialization=True)";
const TO_CHECKPOINT: &str = "give the checkpoint that it was made from: a Hugging Face folder with safetensors, or a GGUF file";
const MERGE: &str = "merge it into its base model (merge_and_unload of peft, then save_pretrained), and give that folder";

/// Fails (input) if `bytes`, a whole file, are not the file that is meant but a pointer to it, or the page
/// that a server sent instead.
pub fn refuse_placeholder(bytes: &[u8]) -> Result<()> {
    refuse_pointer(bytes)?;
    let text = bytes.trim_ascii_start();
    let is_page = ["<!doctype html", "<html"].iter().any(|start| {
        text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    });
    if is_page {
        return Err(Error::input("it is an HTML page, not the file itself").hint(
            "the server answered with a page, such as one to sign in: download the file again",
        ));
    }
    Ok(())
}

/// A kind of file that is not a checkpoint.
struct Kind {
    /// The name's start and end.
    name: (&'static str, &'static str),
    what: &'static str,
    hint: &'static str,
}

const fn kind(
    start: &'static str,
    end: &'static str,
    what: &'static str,
    hint: &'static str,
) -> Kind {
    Kind { name: (start, end), what, hint }
}

/// Kinds by name; the first that fits a file of a folder explains the folder.
const KINDS: [Kind; 27] = [
    kind("adapter_model.", "", "an adapter (LoRA or another of PEFT), not a model", MERGE),
    kind("adapter_config", ".json", "an adapter (LoRA or another of PEFT), not a model", MERGE),
    kind(
        "adapters",
        ".safetensors",
        "an adapter of MLX, not a model",
        "fuse it with mlx_lm.fuse, and give the result",
    ),
    kind(
        "consolidated",
        ".safetensors",
        "weights in Mistral's own layout",
        "take the repository's model*.safetensors, or convert it with transformers' convert_mistral_weights_to_hf.py",
    ),
    kind(
        "consolidated",
        ".pth",
        "weights in Meta's own layout",
        "take the repository's Hugging Face version, or convert it with transformers' convert_llama_weights_to_hf.py",
    ),
    kind(
        "",
        ".safetensors",
        "weights under another name",
        "if it holds the model's weights, call it model.safetensors",
    ),
    kind("", ".gguf", "a GGUF file", "give this file itself, not its folder"),
    kind("model_index", ".json", "a pipeline of diffusers", "evalkit scores language models"),
    kind("", ".onnx", "a model in ONNX", TO_CHECKPOINT),
    kind("", ".mlpackage", "a Core ML package", TO_CHECKPOINT),
    kind("", ".mlmodelc", "a compiled Core ML model", TO_CHECKPOINT),
    kind("", ".mlmodel", "a Core ML model", TO_CHECKPOINT),
    kind("", ".tflite", "a TensorFlow Lite model", TO_CHECKPOINT),
    kind("", ".litertlm", "a LiteRT model", TO_CHECKPOINT),
    kind("", ".task", "a MediaPipe bundle", TO_CHECKPOINT),
    kind("", ".pte", "an ExecuTorch program", TO_CHECKPOINT),
    kind("", ".h5", "weights of Keras or TensorFlow", TO_CHECKPOINT),
    kind("", ".keras", "a model of Keras", TO_CHECKPOINT),
    kind("saved_model", ".pb", "a TensorFlow model", TO_CHECKPOINT),
    kind("", ".msgpack", "weights of Flax", TO_CHECKPOINT),
    kind("", ".npz", "NumPy arrays", TO_CHECKPOINT),
    kind("pytorch_model", ".bin.index.json", "the index of PyTorch weights", TO_SAFETENSORS),
    kind("", ".bin", "weights of PyTorch", TO_SAFETENSORS),
    kind("", ".pt", "weights of PyTorch", TO_SAFETENSORS),
    kind("", ".pth", "weights of PyTorch", TO_SAFETENSORS),
    kind("", ".ckpt", "weights of PyTorch", TO_SAFETENSORS),
    kind(
        "records",
        ".jsonl",
        "a run's folder",
        "give the checkpoint; evalkit report and check read runs",
    ),
];

/// Kinds by their first bytes, from the byte with this number on.
const MAGICS: [(usize, &[u8], &str, &str); 14] = [
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it, and give the folder or the file inside"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it, and give the folder or the file inside"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it, and give the folder or the file inside"),
    (0, b"\xfd7zXZ", "an xz archive", "unpack it, and give the folder or the file inside"),
    (0, b"7z\xbc\xaf", "a 7z archive", "unpack it, and give the folder or the file inside"),
    (257, b"ustar", "a tar archive", "unpack it, and give the folder or the file inside"),
    (0, b"\x80\x02", "weights of PyTorch (a pickle)", TO_SAFETENSORS),
    (0, b"\x89HDF", "weights of Keras or TensorFlow (HDF5)", TO_CHECKPOINT),
    (4, b"TFL3", "a TensorFlow Lite model", TO_CHECKPOINT),
    (0, b"\x93NUMPY", "a NumPy array", TO_CHECKPOINT),
    (0, b"lmgg", "a model in GGML, the format before GGUF", "take a GGUF file of the model"),
    (0, b"fmgg", "a model in GGML, the format before GGUF", "take a GGUF file of the model"),
    (0, b"tjgg", "a model in GGML, the format before GGUF", "take a GGUF file of the model"),
    (0, b"{", "a JSON file", "give the folder that contains it"),
];

/// The error for a file that is not a GGUF file. `bytes` are the whole file.
pub fn not_gguf(path: &Path, bytes: &[u8]) -> Error {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let by_name = || KINDS.iter().find(|kind| kind.fits(&name)).map(|kind| (kind.what, kind.hint));
    let by_magic = || {
        let is_there = |(at, magic): (usize, &[u8])| {
            bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
        };
        let found = MAGICS.iter().find(|(at, magic, ..)| is_there((*at, magic)));
        found.map(|&(_, _, what, hint)| (what, hint))
    };
    let found = match in_archive(bytes) {
        Some(found) => Some(found),
        None if name.ends_with(".safetensors") && !name.starts_with("adapter") => Some((
            "weights without their configuration",
            "give the folder that holds them, with config.json and tokenizer.json",
        )),
        None => by_name().or_else(by_magic),
    };
    let expected = "expected a folder with config.json, or a GGUF file";
    let error = match found {
        Some((what, hint)) => Error::input(format!("{expected}, found {what}")).hint(hint),
        None => Error::input(expected),
    };
    error.at(path.display())
}

/// What a ZIP archive is by the names of its first files.
fn in_archive(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    if !bytes.starts_with(b"PK\x03\x04") {
        return None;
    }
    let start = &bytes[..bytes.len().min(ARCHIVE_START_BYTES)];
    let names = |word: &[u8]| start.windows(word.len()).any(|window| window == word);
    if names(b"data.pkl") {
        return Some(("weights of PyTorch", TO_SAFETENSORS));
    }
    if names(b"model.weights.h5") {
        return Some(("a model of Keras", TO_CHECKPOINT));
    }
    names(b".npy").then_some(("NumPy arrays", TO_CHECKPOINT))
}

impl Kind {
    fn fits(&self, name: &str) -> bool {
        let (start, end) = self.name;
        name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
    }
}

/// The error for a folder without config.json.
pub fn no_config(folder: &Path) -> Error {
    let names = entries(folder);
    let has = |name: &str| names.iter().any(|found| found == name);
    let inside = names.iter().find(|name| folder.join(name).join("config.json").is_file());
    let is_core_ml = has("Manifest.json") || has("coremldata.bin");
    let (what, hint) = if is_core_ml {
        ("it is a Core ML package".to_owned(), TO_CHECKPOINT.to_owned())
    } else if has("model.json") && names.iter().any(|name| name.ends_with(".mlpackage")) {
        let hint = "give the checkpoint; evalkit verify and bench read packages";
        ("it is a folder of packages".to_owned(), hint.to_owned())
    } else if has("snapshots") && has("refs") {
        let hint = "give hf:owner/name, or a folder in snapshots";
        ("it is a repository in the hub's cache".to_owned(), hint.to_owned())
    } else {
        explain(&names).unwrap_or_else(|| {
            let hint = match inside {
                Some(inside) => format!("there is one in the folder {inside}: give that"),
                None => "a checkpoint folder has config.json, tokenizer.json and model.safetensors"
                    .into(),
            };
            ("it has no config.json".to_owned(), hint)
        })
    };
    Error::input(format!("expected a folder with config.json, or a GGUF file: {what}"))
        .at(folder.display())
        .hint(hint)
}

/// The error for a folder with config.json, but without weights that can be read.
pub fn no_weights(folder: &Path) -> Error {
    let (what, hint) = explain(&entries(folder)).unwrap_or_else(|| {
        let hint =
            "a checkpoint folder has config.json and model.safetensors, or shards and their index";
        ("it has no weights".to_owned(), hint.to_owned())
    });
    let error =
        Error::input(format!("expected model.safetensors, or shards and their index: {what}"));
    let error = error.at(folder.display());
    match unfinished(folder) {
        Some(name) => error.hint(unfinished_hint(&name)),
        None => error.hint(hint),
    }
}

/// What a folder with these entries holds, and what to do.
fn explain(names: &[String]) -> Option<(String, String)> {
    KINDS.iter().find_map(|kind| {
        let explains = |name: &&String| {
            kind.fits(name) && !EXPLAIN_NOTHING.iter().any(|start| name.starts_with(start))
        };
        let found = names.iter().find(explains)?;
        Some((format!("it has {found}, {}", kind.what), kind.hint.to_owned()))
    })
}

/// A file of an unfinished download in the folder, or in the place where the hub's tools keep them.
pub fn unfinished(folder: &Path) -> Option<String> {
    let is_part = |name: &String| {
        let ends = [".part", ".incomplete", ".aria2", ".crdownload", ".download", ".tmp"];
        ends.iter().any(|end| name.ends_with(end))
    };
    let own = entries(folder).into_iter().find(is_part);
    own.or_else(|| entries(&folder.join(".cache/huggingface/download")).into_iter().find(is_part))
}

/// What to do about a file of an unfinished download.
pub fn unfinished_hint(name: &str) -> String {
    format!("a download is not finished ({name} is there): start it again")
}

/// The names in a folder, sorted; empty if it cannot be read.
fn entries(folder: &Path) -> Vec<String> {
    let Ok(found) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        Some(entry.ok()?.file_name().to_string_lossy().into_owned())
    };
    let mut names: Vec<String> = found.filter_map(name).take(MAX_ENTRIES).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_and_pages_are_named() {
        let refused = |bytes: &[u8]| refuse_placeholder(bytes).unwrap_err().to_string();
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 71424\n";
        let text = refused(lfs);
        assert!(text.contains("a Git LFS pointer, not the file of 71424 bytes itself"), "{text}");
        assert!(text.contains("git lfs pull"), "{text}");
        assert!(refused(b"/annex/objects/SHA256E-s1\n").contains("git annex get"));
        assert!(refused(b"\n <!DOCTYPE HTML><title>Sign in</title>").contains("an HTML page"));
        for sound in [&b"GGUF"[..], b"{}", b"", b"version 3", b"<htm"] {
            refuse_placeholder(sound).unwrap();
        }
        // A text to score may be a page.
        refuse_pointer(b"<html>").unwrap();
        let long = [&lfs[..], &[b' '; 2048]].concat();
        refuse_pointer(&long).unwrap();
    }

    #[test]
    fn files_of_other_tools_are_named() {
        let told = |name: &str, bytes: &[u8]| not_gguf(Path::new(name), bytes).to_string();
        let zip = b"PK\x03\x04\0\0archive/data.pkl";
        let tar = [&[0; 257][..], b"ustar"].concat();
        for (name, bytes, expected) in [
            ("pytorch_model.bin", &b"\x80\x02"[..], "weights of PyTorch"),
            ("model", zip, "weights of PyTorch"),
            ("model.zip", b"PK\x03\x04", "a ZIP archive"),
            ("model.tar", &tar, "a tar archive"),
            ("model.onnx", b"\x08\x07", "a model in ONNX"),
            ("model", b"\x89HDF\r\n", "HDF5"),
            ("m", b"\0\0\0\0TFL3", "a TensorFlow Lite model"),
            ("ggml-model.bin", b"tjgg", "weights of PyTorch"),
            ("ggml-model", b"tjgg", "the format before GGUF"),
            ("model.safetensors", b"", "weights without their configuration"),
            ("adapter_model.safetensors", b"", "an adapter"),
            ("config.json", b"{}", "a JSON file"),
        ] {
            let text = told(name, bytes);
            assert!(text.contains(expected), "{name}: {text}");
            assert!(text.contains("hint: "), "{name}: {text}");
        }
        assert_eq!(told("x", b"no"), "x: expected a folder with config.json, or a GGUF file");
    }

    #[test]
    fn folders_without_a_checkpoint_are_explained() {
        let told = |names: &[&str], of: fn(&Path) -> Error| {
            let folder = tempfile::tempdir().unwrap();
            for name in names {
                let path = folder.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "{}").unwrap();
            }
            of(folder.path()).to_string()
        };
        for (names, expected) in [
            (
                &["pytorch_model.bin", "tokenizer.json"][..],
                "it has pytorch_model.bin, weights of PyTorch",
            ),
            (&["consolidated.safetensors"], "in Mistral's own layout"),
            (&["consolidated.00.pth", "params.json"], "in Meta's own layout"),
            (&["adapter_config.json", "adapter_model.safetensors"], "merge_and_unload"),
            (&["model.fp16.safetensors"], "call it model.safetensors"),
            (&["model.onnx"], "a model in ONNX"),
            (&["tf_model.h5"], "Keras or TensorFlow"),
            (&["model.safetensors.part"], "a download is not finished (model.safetensors.part"),
            (&["tokenizer.json"], "it has no weights"),
        ] {
            let text = told(names, no_weights);
            assert!(text.contains(expected), "{names:?}: {text}");
        }
        for (names, expected) in [
            (&["Manifest.json", "Data/x"][..], "it is a Core ML package"),
            (&["a.gguf"], "it has a.gguf, a GGUF file"),
            (&["snapshots/x", "refs/main"], "in the hub's cache"),
            (&["text/config.json"], "one in the folder text"),
            (&["readme"], "it has no config.json"),
        ] {
            let text = told(names, no_config);
            assert!(text.contains(expected), "{names:?}: {text}");
        }
    }
}
