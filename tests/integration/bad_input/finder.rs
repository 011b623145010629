//! What the Finder leaves in folders changes nothing: it is not read, hashed, sent or complained of.

use std::path::Path;

use serde_json::Value;

use crate::fixtures::{Place, Tiny, run, told};

/// Puts the Finder's files into a folder and into all folders below it.
fn open_in_finder(folder: &Path) {
    let below: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap()).collect();
    for entry in &below {
        let name = entry.file_name().into_string().unwrap();
        std::fs::write(folder.join(format!("._{name}")), "\0\u{5}\u{16}\u{7}").unwrap();
        if entry.file_type().unwrap().is_dir() {
            open_in_finder(&entry.path());
        }
    }
    for name in [".DS_Store", ".localized", "Icon\r"] {
        std::fs::write(folder.join(name), "\0\0\0\u{1}Bud1").unwrap();
    }
}

#[test]
fn a_checkpoint_and_reports_that_were_looked_at_are_what_they_were() {
    let place = Place::new(&Tiny::default(), 60);
    let recipes = ["--recipes", "palette4"];
    run(&mut place.sweep(&recipes), 0);
    let folder = place.run_folder();
    let records = || std::fs::read_to_string(folder.join("records.jsonl")).unwrap();
    let whole = records();
    open_in_finder(&place.model());
    open_in_finder(&place.path("reports"));
    let told = told(&run(&mut place.sweep(&recipes), 0));
    assert!(told.starts_with("everything was already measured, in reports/"), "{told}");
    assert!(records() == whole);
    for args in [["report", "--reports"], ["check", "--reports"]] {
        let output = place.evalkit(&args).arg("reports").output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!told.contains("DS_Store") && !told.contains("._"), "{told}");
    }
    let report = run(&mut place.evalkit(&["report", "--format", "json"]), 0);
    assert!(String::from_utf8(report.stdout).unwrap().contains("palette4"));
}

#[test]
fn a_condensed_run_that_was_looked_at_can_be_written_again() {
    let place = Place::new(&Tiny::default(), 60);
    run(&mut place.sweep(&["--recipes", "palette4"]), 0);
    let condense = || {
        let mut command = place.evalkit(&["report", "--condense", "small"]);
        command.arg(place.run_folder());
        command
    };
    run(&mut condense(), 0);
    open_in_finder(&place.path("small"));
    run(&mut condense(), 0);
    std::fs::write(place.path("small/thesis"), "").unwrap();
    let told = told(&run(&mut condense(), 2));
    assert!(told.contains("this folder also holds thesis"), "{told}");
}

#[test]
fn packages_that_were_looked_at_are_verified_measured_and_sent_without_the_finders_files() {
    let place = Place::new(&Tiny::default(), 60);
    run(&mut place.evalkit(&["package", "--recipe", "palette4-g16-s", "--output", "small"]), 0);
    let bench = || {
        let mut command = place.evalkit(&["bench", "small", "--device", "host"]);
        command.args(["--prompt-tokens", "4", "--generate", "4", "--repetitions", "1"]);
        command.args(["--format", "json"]).env("XDG_CACHE_HOME", place.path("cache"));
        run(&mut command, 0)
    };
    bench();
    open_in_finder(&place.path("small"));
    run(&mut place.evalkit(&["verify", "small"]), 0);
    let page: Value = serde_json::from_slice(&bench().stdout).unwrap();
    assert_eq!(page["tables"][0]["rows"][0]["correctness"], "correct", "{page}");
    let sent = place.listing().into_iter().filter(|path| path.starts_with(place.path("cache")));
    let stored: Vec<_> = sent.filter(|path| path.is_dir()).collect();
    let packages = stored.iter().filter(|path| path.parent().unwrap().ends_with("packages"));
    assert_eq!(packages.count(), 1, "the package has two names: {stored:?}");
    let looked_at = place.listing().into_iter().filter(|path| path.ends_with(".DS_Store"));
    assert!(looked_at.into_iter().all(|path| path.starts_with(place.path("small"))));
}
