//! Files of second moments: `cargo fuzz run --sanitizer none moments`.
#![no_main]

mod on_disk;

use std::sync::LazyLock;

use evalkit::calibrate::MomentsFile;
use evalkit::checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;

static DEMO: LazyLock<Checkpoint> =
    LazyLock::new(|| Checkpoint::open_embedded(&evalkit::demo::MODEL).expect("the demo opens"));

fuzz_target!(|bytes: &[u8]| {
    on_disk::file("demo.moments", bytes, |path| {
        let Ok(file) = MomentsFile::open(path) else { return };
        let _ = file.check(&DEMO);
        for layer in 0..DEMO.config.layers {
            let _ = file.check_layer(&DEMO, layer);
        }
        assert!(file.entries().all(|(_, entry)| entry.len() <= bytes.len()));
    });
});
