//! Packages that are not the model that was scored: each fault is found, and named.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::Command;

use evalkit::package::spec::{Argument, Bound, Content, Model, Operation};
use prost::Message;
use serde_json::Value;
use sha2::{Digest, Sha256};

const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";
const MODEL: &str = "Data/com.apple.CoreML/model.mlmodel";
/// Bytes of a blob's metadata, which its offset points to.
const METADATA_BYTES: usize = 64;

fn evalkit(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_evalkit")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// A model as packages under a recipe.
struct Packaged {
    model: String,
    folder: tempfile::TempDir,
}

impl Packaged {
    fn new(recipe: &str, more: &[&str]) -> Self {
        Self::of("demo", recipe, more)
    }

    fn of(model: &str, recipe: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let lengths = ["--max-sequence-length", "64", "--prefill-length", "16"];
        let mut arguments =
            vec!["package", "-m", model, "--recipe", recipe, "-o", out.to_str().unwrap()];
        arguments.extend(lengths.iter().chain(more));
        let (code, text) = evalkit(&arguments);
        assert_eq!(code, Some(0), "{text}");
        Packaged { model: model.to_owned(), folder }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Each link's verdict and what it says.
    fn links(&self) -> (Option<i32>, Vec<(String, String, String)>) {
        let out = self.out();
        let (code, text) = evalkit(&[
            "verify",
            out.to_str().unwrap(),
            "-m",
            &self.model,
            "--tokens",
            "24",
            "--format",
            "json",
        ]);
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let table = &document["tables"][0];
        let rows = table["rows"].as_array().unwrap().iter();
        let notes = table["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap());
        let link = |(row, note): (&Value, &str)| {
            (text(row, "link"), text(row, "verdict"), note.to_owned())
        };
        (code, rows.zip(notes).map(link).collect())
    }

    /// Changes a file of a package, and `model.json` with it, as a faulty writer would.
    fn change(&self, package: &str, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.out().join(package).join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let manifest_path = self.out().join("model.json");
        let text = std::fs::read_to_string(&manifest_path).unwrap();
        let mut manifest: Value = serde_json::from_str(&text).unwrap();
        let packages = manifest["packages"].as_array_mut().unwrap().iter_mut();
        for entry in packages.filter(|entry| entry["path"] == package) {
            for own in entry["files"].as_array_mut().unwrap() {
                if own["path"] == file {
                    own["size_bytes"] = bytes.len().into();
                    let hash = Sha256::digest(&bytes);
                    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                    own["sha256"] = hex.into();
                }
            }
        }
        std::fs::write(&manifest_path, manifest.to_string()).unwrap();
    }

    /// Changes the data of the first blob that `find` finds in the function `decode`.
    fn change_blob(
        &self,
        find: impl Fn(&Operation) -> Option<u64>,
        change: impl FnOnce(&mut [u8]),
    ) {
        let package = self.out().join("model.mlpackage");
        let model = Model::decode(std::fs::read(package.join(MODEL)).unwrap().as_slice()).unwrap();
        let program = model.program.unwrap();
        let function = &program.functions["decode"];
        let block = function.block_specializations.values().next().unwrap();
        let offset = block.operations.iter().find_map(find).unwrap() as usize;
        self.change("model.mlpackage", WEIGHTS, |bytes| {
            let size: [u8; 8] = bytes[offset + 8..offset + 16].try_into().unwrap();
            let data = offset + METADATA_BYTES;
            change(&mut bytes[data..data + u64::from_le_bytes(size) as usize]);
        });
    }
}

fn blob_offset(value: &evalkit::package::spec::Value) -> Option<u64> {
    match &value.content {
        Some(Content::Blob(blob)) => Some(blob.offset),
        _ => None,
    }
}

fn argument(argument: &Argument) -> Option<u64> {
    match &argument.bindings.first()?.bound {
        Some(Bound::Value(value)) => blob_offset(value),
        _ => None,
    }
}

/// The blob of parameter `name` of a table that gives the weight `of`.
fn of_table(name: &'static str, of: &'static str) -> impl Fn(&Operation) -> Option<u64> {
    move |operation| {
        let is_it =
            operation.kind == "constexpr_lut_to_dense" && operation.outputs[0].name.starts_with(of);
        is_it.then(|| operation.inputs.get(name).and_then(argument)).flatten()
    }
}

/// The blob of the constant whose name begins with `of` and which has `elements` elements.
fn of_constant(of: &'static str, elements: u64) -> impl Fn(&Operation) -> Option<u64> {
    move |operation| {
        let is_it = operation.kind == "const" && operation.outputs[0].name.starts_with(of);
        let kind = operation.outputs[0].kind.as_ref()?;
        let Some(evalkit::package::spec::TypeOf::Tensor(tensor)) = &kind.of else { return None };
        let lens = tensor.dimensions.iter().map(|d| d.constant.map_or(0, |c| c.size));
        let has = lens.product::<u64>() == elements;
        (is_it && has).then(|| operation.attributes.get("val").and_then(blob_offset)).flatten()
    }
}

/// Expects that `link` is the one that breaks first, and says `essentials`.
fn expect_broken(packaged: &Packaged, link: &str, essentials: &[&str]) {
    let (code, links) = packaged.links();
    assert_eq!(code, Some(1), "{links:?}");
    let broken = links.iter().find(|(_, verdict, _)| verdict == "BROKEN").unwrap();
    assert_eq!(broken.0, link, "{links:?}");
    for essential in essentials {
        assert!(broken.2.contains(essential), "expected {essential:?} in {broken:?}");
    }
}

fn halve(bytes: &mut [u8]) {
    for pair in bytes.as_chunks_mut::<2>().0 {
        let half = half::f16::from_le_bytes(*pair).to_f32() / 2.0;
        *pair = half::f16::from_f32(half).to_le_bytes();
    }
}

#[test]
fn a_halved_scale_is_named() {
    let packaged = Packaged::new("palette4-g16-s", &[]);
    // The query's channel scales are the first fp16 vector of as many rows.
    packaged.change_blob(of_constant("layer_0_attention_channel_scales", 128), halve);
    expect_broken(&packaged, "weights", &["channel scales of model.layers.0.self_attn", "a scale"]);
}

#[test]
fn exchanged_table_entries_are_named() {
    let packaged = Packaged::new("palette2-g16", &[]);
    packaged.change_blob(of_table("lut", "layer_0_attention"), |bytes| {
        // Entries 1 and 2 of the first table.
        let (first, second) = ([bytes[2], bytes[3]], [bytes[4], bytes[5]]);
        bytes[2..4].copy_from_slice(&second);
        bytes[4..6].copy_from_slice(&first);
    });
    let tensor = "tensor model.layers.0.self_attn.q_proj.weight";
    expect_broken(&packaged, "weights", &[tensor, "entries of a table are swapped or wrong"]);
}

#[test]
fn a_transposed_weight_is_named() {
    let packaged = Packaged::new("fp16", &[]);
    packaged.change_blob(of_constant("layer_0_attention_weight", 128 * 128), |bytes| {
        let old = bytes.to_vec();
        for (row, column) in (0..128).flat_map(|row| (0..128).map(move |column| (row, column))) {
            let (to, from) = (2 * (row * 128 + column), 2 * (column * 128 + row));
            bytes[to..to + 2].copy_from_slice(&old[from..from + 2]);
        }
    });
    expect_broken(&packaged, "weights", &["model.layers.0.self_attn", "the weight is transposed"]);
}

#[test]
fn shifted_indices_are_named() {
    let packaged = Packaged::new("palette4", &[]);
    packaged.change_blob(of_table("indices", "layer_0_attention"), |bytes| {
        // Each four-bit code moves to the place before it.
        for at in 0..bytes.len() {
            let next = bytes.get(at + 1).copied().unwrap_or_default();
            bytes[at] = bytes[at] >> 4 | next << 4;
        }
    });
    expect_broken(
        &packaged,
        "weights",
        &["model.layers.0.self_attn", "the codes are shifted by one"],
    );
}

#[test]
fn a_stale_state_between_chunks_is_named() {
    let packaged = Packaged::new("palette4-g16-s", &["--chunk-size", "300kB"]);
    let manifest = std::fs::read_to_string(packaged.out().join("model.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let packages = manifest["packages"].as_array().unwrap().iter();
    let chunks: Vec<&Value> = packages.filter(|entry| entry["role"] == "blocks").collect();
    assert!(chunks.len() > 1, "{manifest}");
    packaged.change(chunks[1]["path"].as_str().unwrap(), MODEL, |bytes| {
        let mut model = Model::decode(bytes.as_slice()).unwrap();
        let functions = &mut model.program.as_mut().unwrap().functions;
        for block in functions.get_mut("decode").unwrap().block_specializations.values_mut() {
            block.operations.retain(|operation| operation.kind != "write_state");
        }
        *bytes = model.encode_to_vec();
    });
    expect_broken(&packaged, "steps", &["token", "so the cache is wrong"]);
}

#[test]
fn a_truncated_weight_file_is_named() {
    let packaged = Packaged::new("palette4-g16-s", &[]);
    let path = packaged.out().join("model.mlpackage").join(WEIGHTS);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    expect_broken(&packaged, "files", &["weight.bin", &format!("expected {} bytes", bytes.len())]);
}

#[test]
fn clean_packages_raise_no_alarm() {
    let recipes = "fp16 palette1 palette1-g16-s palette2 palette2-g16-s palette2-c palette3-g16 \
        palette3-s palette4-g8 palette4-c palette6-g16 palette6 palette8-t8 palette4-g16-t8 int4 \
        int4-b32-a int8 int8-a int8-b32 mxfp4 palette4-p50 palette2-g16-s-p50 palette4-t0.05 \
        vector1-d8 vector2-d4 vector2-d4-g16 vector3-d2 vector4-d2-g32";
    let mut refused = 0;
    let designs = ["--compute gpu", "--compute ane", "--chunk-size 150kB", "--chunk-size 300kB"];
    let mut clean = 0;
    let mut hold = |model: &str, recipe: &str, design: &str| {
        let design: Vec<&str> = design.split(' ').collect();
        let (code, links) = Packaged::of(model, recipe, &design).links();
        assert_eq!(code, Some(0), "{model} {recipe} {design:?}: {links:?}");
        clean += 1;
    };
    for recipe in recipes.split_whitespace() {
        for design in designs {
            // Scales of blocks and scales on top of a table are not for the Neural Engine.
            let has_blocks = recipe == "mxfp4" || recipe.contains("-b32");
            if has_blocks && design.ends_with("ane") {
                refused += 1;
            } else {
                hold("demo", recipe, design);
            }
        }
    }
    for recipe in ["fp16", "palette1", "palette2-s", "palette4", "palette8", "int8", "int8-a"] {
        hold("demo", recipe, "--target ios17");
    }
    let mixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures");
    for name in ["gpt-oss-4", "gpt-oss-mxfp4-4", "qwen3-moe-4", "qwen3-moe-norm-4"] {
        let model = mixtures.join(name);
        for how in ["fp16 gpu", "palette4 gpu", "int8 ane", "mxfp4 gpu", "vector2-d4 ane"] {
            let (recipe, compute) = how.split_once(' ').unwrap();
            hold(model.to_str().unwrap(), recipe, &format!("--compute {compute}"));
        }
    }
    assert_eq!((clean, refused), (28 * 4 - 3 + 7 + 20, 3));
}

#[test]
fn another_checkpoint_or_folder_is_refused() {
    let packaged = Packaged::new("palette4", &[]);
    let out = packaged.out();
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mixtures/qwen3-moe-4");
    let (code, text) = evalkit(&["verify", out.to_str().unwrap(), "-m", other.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("packaged from the model"), "{text}");
    let (code, text) = evalkit(&["verify", other.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("model.json"), "{text}");
}
