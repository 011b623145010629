//! Stores of accepted baselines: `cargo fuzz run --sanitizer none baselines`.
#![no_main]

mod on_disk;

use evalkit::results::{RunFolder, baselines};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    on_disk::folder(baselines::STORE, bytes, &[], |store| {
        let _ = baselines::list(store);
        if let Ok(found) = baselines::find(store, &RunFolder::default()) {
            assert!(found.starts_with(store));
        }
    });
});
