//! Whole files that llama.cpp quantized, against the weights that its own decoder gives.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::checkpoint::Checkpoint;

#[derive(Deserialize)]
struct Decoded {
    shape: Vec<usize>,
    sha256: String,
}

#[test]
#[allow(clippy::print_stderr)]
fn files_of_every_type_decode_to_the_bits_of_llama_cpp() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/judge/golden");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no golden files at {}", folder.display());
        return;
    };
    let mut types = Vec::new();
    for entry in entries.map(|entry| entry.unwrap().path()) {
        let path = entry.join("model.gguf");
        if !path.is_file() {
            continue;
        }
        let checkpoint = Checkpoint::open(&path).unwrap();
        let expected = std::fs::read(entry.join("decoded.sha256.json")).unwrap();
        let mut expected: BTreeMap<String, Decoded> = serde_json::from_slice(&expected).unwrap();
        for (id, stored) in checkpoint.tensors() {
            let Decoded { shape, sha256 } = expected.remove(&id.name()).unwrap();
            assert_eq!(stored.shape, shape);
            let mut hasher = Sha256::new();
            for weight in checkpoint.read(id).unwrap() {
                hasher.update(weight.to_le_bytes());
            }
            let found: String = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(found, sha256, "{} of {}", id.name(), path.display());
            types.push(stored.dtype.name());
        }
        assert!(expected.is_empty(), "{}: {:?}", path.display(), expected.keys());
    }
    types.sort();
    types.dedup();
    eprintln!("types: {}", types.join(" "));
    assert!(types.len() > 10, "{types:?}");
}
