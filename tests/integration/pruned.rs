//! Pruned palettes through the whole program: what is scored, what is stored, what is packaged.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;

use crate::fixtures::{Place, Tiny, run};
use serde_json::Value;

fn rows(document: &[u8]) -> Vec<Value> {
    let document: Value = serde_json::from_slice(document).unwrap();
    document["tables"][0]["rows"].as_array().unwrap().clone()
}

#[test]
fn the_demo_is_the_further_from_itself_the_more_is_pruned() {
    let place = Place::new(&Tiny::default(), 100);
    let recipes = "fp,palette4-g16-s,palette4-g16-s-p30,palette4-g16-s-p50,palette4-g16-s-t0.05";
    let mut sweep =
        place.evalkit(&["sweep", "--model", "demo", "--limit", "4", "--format", "json"]);
    let rows = rows(&run(sweep.args(["--recipes", recipes]), 0).stdout);
    let kl: Vec<f64> =
        rows[1..].iter().map(|row| row["kl_mean_nats"]["point"].as_f64().unwrap()).collect();
    assert!(kl[0] < kl[1] && kl[1] < kl[2] && kl[2] < 0.1, "{kl:?}");
    assert!(kl[3] < 0.01, "{kl:?}");
    // Blocks of two projections of 16,384 weights, two of 8,192 and three of 49,152: a bit each,
    // and 4 bits of those that are kept; tables and scales as ever. The rest is at fp16.
    let blocks = [16_384u64, 16_384, 8_192, 8_192, 49_152, 49_152, 49_152];
    let rest = 2 * (98_304 + 1_152);
    let codes = |kept: fn(u64) -> u64| -> u64 {
        4 * blocks.iter().map(|weights| (kept(*weights) * 4).div_ceil(8)).sum::<u64>()
    };
    let masks = 4 * blocks.iter().sum::<u64>() / 8;
    let sizes: Vec<u64> = rows[1..].iter().map(|row| row["size_bytes"].as_u64().unwrap()).collect();
    let tables = sizes[0] - rest - codes(|all| all);
    assert_eq!(sizes[1], rest + tables + masks + codes(|all| all - (all * 3 + 5) / 10));
    assert_eq!(sizes[2], rest + tables + masks + codes(|all| all / 2));
}

/// Two slices of vocabulary, and a share of all of it.
#[test]
fn a_vocabulary_that_is_read_in_slices_is_pruned_as_a_whole() {
    let place = Place::new(&Tiny { vocab: 5000, tied: false, ..Tiny::default() }, 100);
    let parts = ["--embed", "palette4-g8-p40", "--head", "palette3-g8-s-t0.05"];
    let recipe = "palette4-c-t0.05";
    let mut quantize = place.evalkit(&["quantize", "--model", "model", "--recipe", recipe]);
    let stored = run(quantize.args(["-o", "coded", "--format", "json"]).args(parts), 0);
    let mut records = Vec::new();
    let read: &[&str] = &["--coded", "coded"];
    for more in [&[], read] {
        run(place.sweep(&["--recipes", recipe]).args(parts).args(more), 0);
        records.push(place.records());
        std::fs::remove_dir_all(place.path("reports")).unwrap();
    }
    assert!(records[0] == records[1]);
    let sizes = rows(&stored.stdout).into_iter().map(|row| row["size_bytes"].as_u64().unwrap());
    let file = std::fs::read(place.path("coded")).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap());
    assert_eq!(file.len() as u64, 8 + header + sizes.sum::<u64>());
}

/// The bytes of all files below a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let size = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => size_of(&entry.path()),
        false => entry.metadata().unwrap().len(),
    };
    entries.map(size).sum()
}

/// A head in two slices of rows, each with as many weights as fall into it.
#[test]
fn packages_with_a_head_in_slices_have_the_predicted_size() {
    let model = Tiny { vocab: 20_000, hidden: 32, inner: 128, layers: 1, ..Tiny::default() };
    let place = Place::new(&model, 100);
    for (name, recipe) in [
        ("share", "palette4-p50+embed:fp16+head:palette2-p30"),
        ("threshold", "palette2-g4-s-t8-t0.1+embed:palette4-p40+head:palette3-g4-t0.1"),
    ] {
        let package = ["package", "--model", "model", "--recipe", recipe, "--compute", "ane"];
        let package = [&package[..], &["--max-sequence-length", "64", "-o", name]].concat();
        let dry = run(place.evalkit(&package).args(["--dry-run", "--format", "json"]), 0);
        run(&mut place.evalkit(&package), 0);
        let written = size_of(&place.path(name).join("model.mlpackage"));
        let predicted = String::from_utf8(dry.stdout).unwrap();
        assert!(predicted.contains(&format!(": {written} bytes (predicted)")), "{predicted}");
    }
}
