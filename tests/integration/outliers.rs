//! Weights with an outlier, which no calibration may make worse than none.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use half::bf16;
use serde_json::Value;

use crate::fixtures::{Place, Tiny, run};

/// Sets one weight of a copy of the demo.
fn demo_with(place: &Place, tensor: &str, at: usize, value: f32) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo/model");
    let folder = place.path("outlier");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    assert_eq!(tensors[tensor]["dtype"], "BF16");
    let start = tensors[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    let place = 8 + header + start + 2 * at;
    bytes[place..place + 2].copy_from_slice(&bf16::from_f32(value).to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn calibration_is_not_worse_than_none_beside_an_outlier() {
    let place = Place::new(&Tiny::default(), 1);
    demo_with(&place, "model.layers.0.mlp.gate_proj.weight", 123, 60_000.0);
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/demo/text.txt");
    let text = std::fs::read(text).unwrap();
    std::fs::write(place.path("scored.txt"), &text[..20_000]).unwrap();
    std::fs::write(place.path("calibration.txt"), &text[text.len() - 20_000..]).unwrap();
    let files = ["-m", "outlier", "-t", "scored.txt", "--calibrate", "calibration.txt"];
    let size = ["--context", "64", "--limit", "4", "--calibration-windows", "8", "--reports", "r"];
    let recipes = ["--recipes", "palette8-c-free,palette8-c-cal", "--format", "json", "-q"];
    let output = run(place.evalkit(&["sweep"]).args(files).args(size).args(recipes), 0);
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = page["tables"][0]["rows"].as_array().unwrap();
    let kl_nats = |variant: &str| {
        let row = rows.iter().find(|row| row["variant"] == variant).unwrap();
        row["kl_mean_nats"]["point"].as_f64().unwrap()
    };
    let (free, calibrated) = (kl_nats("palette8-c-free"), kl_nats("palette8-c-cal"));
    assert!(calibrated <= free * 1.1 + 1e-9, "{calibrated} nats, {free} without calibration");
}
