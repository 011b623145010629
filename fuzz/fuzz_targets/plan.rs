//! Plans of a sweep: `cargo fuzz run --sanitizer none plan`.
#![no_main]

mod on_disk;

use evalkit::compare::claims::Claims;
use evalkit::run::plan_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    on_disk::file("plan.toml", bytes, |path| {
        let _ = plan_file::read(path);
        let _ = plan_file::kept_limits(path);
    });
    let _ = std::str::from_utf8(bytes).map(Claims::parse);
});
