//! Files of coded weights: `cargo fuzz run --sanitizer none coded`.
#![no_main]

mod on_disk;

use evalkit::eval::CodedFile;
use libfuzzer_sys::fuzz_target;

/// Tensors larger than this are not decoded.
const MAX_WEIGHTS: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    on_disk::file("coded.safetensors", bytes, |path| {
        let Ok(file) = CodedFile::open(path) else { return };
        for (name, tensor) in &file.tensors {
            let [rows, columns] = tensor.shape;
            let small = rows.checked_mul(columns).is_some_and(|weights| weights < MAX_WEIGHTS);
            let Ok(recipe) = tensor.recipe.parse() else { continue };
            if let (true, Ok(coded)) = (small, file.tensor(name, recipe, tensor.shape)) {
                assert_eq!(coded.decode().len(), rows * columns);
            }
        }
    });
});
