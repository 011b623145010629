//! Weight files: `cargo +nightly fuzz run blob`.
#![no_main]

use evalkit::package::blob::read::BlobFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = BlobFile::new("weight.bin", &bytes.to_vec().into()) {
        for offset in file.offsets() {
            let blob = file.blob(offset).expect("a listed blob is there");
            assert!(blob.bytes.len() <= bytes.len());
        }
    }
});
