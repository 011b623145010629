//! Weight files: `cargo +nightly fuzz run blob`.
#![no_main]

use evalkit::package::blob::read::BlobFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = BlobFile::new("weight.bin", &bytes.to_vec().into()) {
        // Blobs are aligned to 64 bytes.
        for offset in (0..bytes.len() as u64).step_by(64) {
            if let Ok(blob) = file.blob(offset) {
                assert!(blob.bytes.len() <= bytes.len());
            }
        }
    }
});
