//! Kept states of an interrupted walk: `cargo fuzz run --sanitizer none state`.
//!
//! The hash at the end of the file is made to hold, so that the rest is read.
#![no_main]

mod on_disk;

use std::sync::LazyLock;

use evalkit::checkpoint::Checkpoint;
use evalkit::eval::{Variant, Walk, read_state};
use libfuzzer_sys::fuzz_target;

static DEMO: LazyLock<Checkpoint> =
    LazyLock::new(|| Checkpoint::open_embedded(&evalkit::demo::MODEL).expect("the demo opens"));

fuzz_target!(|bytes: &[u8]| {
    let variants: [Variant; 1] = ["int8".parse().expect("a recipe")];
    let walk = Walk {
        checkpoint: &DEMO,
        variants: &variants,
        windows: &[],
        coded: &[],
        calibration: None,
        device: &candle_core::Device::Cpu,
    };
    let mut whole = bytes.to_vec();
    whole.extend_from_slice(blake3::hash(bytes).as_bytes());
    on_disk::file("walk.state", &whole, |path| {
        let _ = read_state(path, &[0; 32], &walk);
    });
});
