//! Stores of accepted baselines: `cargo fuzz run --sanitizer none baselines`.
#![no_main]

mod on_disk;

use evalkit::results::baselines;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    on_disk::folder(baselines::STORE, bytes, &[], |store| {
        if let Ok(accepted) = baselines::list(store) {
            for one in accepted {
                assert!(
                    baselines::find(store, &one.question).is_ok_and(|at| at.starts_with(store))
                );
            }
        }
    });
});
