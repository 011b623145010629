//! Descriptions of packages, `model.json`: `cargo fuzz run --sanitizer none manifest`.
#![no_main]

mod on_disk;

use evalkit::package::bundle::{Bundle, FileCheck, MANIFEST_NAME};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    on_disk::folder(MANIFEST_NAME, bytes, &[], |folder| {
        let Ok(bundle) = Bundle::open(folder) else { return };
        assert!(bundle.manifest.model.context_tokens > 0);
        assert!(bundle.manifest.model.prefill_tokens > 0);
        let _ = bundle.check_files(FileCheck::Sizes);
        let _ = bundle.manifest.model.design();
    });
});
