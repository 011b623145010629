//! Models with a weight file: `cargo +nightly fuzz run program`.
//!
//! The first four bytes are the length of the model, little endian; the weight file follows it.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use evalkit::package::blob::FILE_NAME;
use evalkit::package::blob::read::BlobFile;
use evalkit::package::constexpr;
use evalkit::package::execute::{Executable, Precision};
use evalkit::package::read::Package;
use libfuzzer_sys::fuzz_target;

/// Weights larger than this are not decoded.
const MAX_WEIGHTS: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((len, rest)) = bytes.split_first_chunk() else { return };
    let len = rest.len().min(u32::from_le_bytes(*len) as usize);
    let (model, weights) = rest.split_at(len);
    let files = match BlobFile::new("weight.bin", &weights.to_vec().into()) {
        Ok(file) => BTreeMap::from([(FILE_NAME.to_owned(), file)]),
        Err(_) => BTreeMap::new(),
    };
    let Ok(package) = Package::from_parts(Path::new("x.mlpackage"), model, files) else { return };
    for name in package.functions().keys() {
        if let Ok(weights) = constexpr::weights(&package, name) {
            for weight in weights.values().filter(|weight| weight.elements() < MAX_WEIGHTS) {
                assert_eq!(weight.decode().len(), weight.elements());
            }
        }
        let _ = Executable::new(&package, name, Precision::Half);
    }
});
