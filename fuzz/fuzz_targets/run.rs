//! Runs: records, measurements, sessions, codings: `cargo fuzz run --sanitizer none run`.
//!
//! The first byte names the file that the rest is.
#![no_main]

mod on_disk;

use evalkit::compare::summary::Summary;
use evalkit::results::{CONDENSED, MEASUREMENTS, RECORDS, RunFolder, read_sessions};
use libfuzzer_sys::fuzz_target;

const FILES: [&str; 5] = [RECORDS, MEASUREMENTS, "sessions.jsonl", "coding.jsonl", CONDENSED];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let name = FILES[usize::from(*first) % FILES.len()];
    on_disk::folder(name, rest, &[], |folder| {
        let _ = read_sessions(folder);
        if let Ok(run) = RunFolder::read(folder) {
            let _ = Summary::from_index(&run.index, 1);
        }
    });
});
