//! A run that its surroundings stop is tried again: no variant is called failed for it.
#![allow(clippy::unwrap_used)]

use crate::fixtures::{Place, Tiny, run, told};

#[test]
fn a_file_of_codes_that_cannot_be_written_ends_the_run_and_not_the_variant() {
    let place = Place::new(&Tiny::default(), 100);
    let args = [
        "--recipes",
        "palette4-cal,palette2",
        "--calibrate",
        "other.txt",
        "--calibration-windows",
        "3",
    ];
    run(&mut place.sweep(&args), 0);
    let (folder, records) = (place.run_folder(), place.records());
    let mut files = std::fs::read_dir(folder.join("coded")).unwrap();
    let coded = files.next().unwrap().unwrap().path();
    // The run starts anew, and a folder stands where the file of codes must go.
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir_all(coded.join("in the way")).unwrap();
    let said = told(&run(&mut place.sweep(&args), 3));
    assert!(said.contains("cannot write") && said.contains("run the same command again"), "{said}");
    let kept = std::fs::read_to_string(folder.join("records.jsonl")).unwrap_or_default();
    assert!(!kept.contains("\"kind\":\"failure\""), "{kept}");
    std::fs::remove_dir_all(&coded).unwrap();
    run(&mut place.sweep(&args), 0);
    assert!(place.records() == records, "the second try measures what the first would have");
}
