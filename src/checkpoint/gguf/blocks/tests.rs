//! Decoded bits against ggml's, and what holds for any block.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::*;
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::gguf::types::dtype;

/// What `tests/golden/make_blocks.py` writes.
#[derive(Deserialize)]
struct Golden {
    types: BTreeMap<String, Blocks>,
    grids: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Blocks {
    number: u32,
    weights: usize,
    stored: String,
    sha256: String,
}

/// The golden file, or the one that `EVALKIT_GGML_BLOCKS` names.
fn golden() -> Golden {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ggml_blocks.json");
    let path = std::env::var_os("EVALKIT_GGML_BLOCKS").map_or_else(ours, PathBuf::from);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn every_type_decodes_to_the_bits_of_ggml() {
    let golden = golden();
    assert_eq!(golden.types.len(), 27);
    for (name, blocks) in golden.types {
        let mut out = vec![f32::NAN; blocks.weights];
        dtype(blocks.number).unwrap().decode(&unhex(&blocks.stored), &mut out).unwrap();
        let bytes: Vec<u8> = out.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        assert_eq!(sha256(&bytes), blocks.sha256, "{name}");
    }
}

#[test]
fn grids_are_those_of_ggml() {
    fn flat<const N: usize>(rows: &[[i8; N]]) -> String {
        sha256(&rows.as_flattened().iter().map(|&value| value as u8).collect::<Vec<_>>())
    }
    let ours = [
        ("IQ1_S", flat(&grids::IQ1)),
        ("IQ2_S", flat(&grids::IQ2_S)),
        ("IQ2_XS", flat(&grids::IQ2_XS)),
        ("IQ2_XXS", flat(&grids::IQ2_XXS)),
        ("IQ3_S", flat(&grids::IQ3_S)),
        ("IQ3_XXS", flat(&grids::IQ3_XXS)),
    ];
    let ours: BTreeMap<String, String> =
        ours.into_iter().map(|(name, hash)| (name.to_owned(), hash)).collect();
    assert_eq!(ours, golden().grids);
}

proptest! {
    #[test]
    fn any_block_decodes_to_all_of_its_weights(
        which in 0..BlockType::ALL.len(),
        count in 1usize..4,
        byte in proptest::collection::vec(any::<u8>(), 4 * 136),
    ) {
        let kind = BlockType::ALL[which];
        let (weights, size) = kind.block();
        let stored = &byte[..count * size];
        let is_unwritten = |weight: &f32| weight.to_bits() == u32::MAX;
        let mut out = vec![f32::from_bits(u32::MAX); count * weights];
        let dtype = Dtype::Block(kind);
        dtype.decode(stored, &mut out).unwrap();
        prop_assert!(!out.iter().any(is_unwritten), "{}", kind.name());
        // A block is decoded by itself.
        let mut last = vec![0.0; weights];
        dtype.decode(&stored[(count - 1) * size..], &mut last).unwrap();
        let bits = |weights: &[f32]| weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&out[(count - 1) * weights..]), bits(&last));
        prop_assert!(dtype.decode(&stored[1..], &mut out).is_err());
        prop_assert_eq!(dtype.row_bytes(weights + 1), None);
    }
}
