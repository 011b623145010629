//! Files of weights, GGUF and safetensors: `cargo fuzz run --sanitizer none weights`.
//!
//! What opens is read: the smallest tensors, and the tokenizer of a GGUF file.
#![no_main]

mod on_disk;

use evalkit::checkpoint::Checkpoint;
use evalkit::demo::MODEL;
use libfuzzer_sys::fuzz_target;

/// Tensors with more weights than this are not read.
const MAX_WEIGHTS: usize = 1 << 16;

fn read(checkpoint: &Checkpoint) {
    let small = checkpoint.tensors().filter(|(_, tensor)| {
        let weights =
            tensor.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        weights.is_some_and(|weights| weights <= MAX_WEIGHTS)
    });
    for (id, _) in small {
        let _ = checkpoint.read(id);
    }
    let _ = checkpoint.tokenizer();
}

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"GGUF") {
        on_disk::file("model.gguf", bytes, |path| {
            let _ = Checkpoint::open(path).as_ref().map(read);
        });
        return;
    }
    let others = [("config.json", MODEL.config), ("tokenizer.json", MODEL.tokenizer)];
    on_disk::folder("model.safetensors", bytes, &others, |folder| {
        let _ = Checkpoint::open(folder).as_ref().map(read);
    });
});
