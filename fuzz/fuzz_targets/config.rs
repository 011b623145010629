//! Configurations of models: `cargo fuzz run --sanitizer none config`.
#![no_main]

mod on_disk;

use evalkit::checkpoint::Outline;
use evalkit::demo::MODEL;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let weights = [("model.safetensors", MODEL.weights)];
    on_disk::folder("config.json", bytes, &weights, |folder| {
        let _ = Outline::open(folder);
    });
});
