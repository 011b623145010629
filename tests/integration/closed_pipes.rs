//! Every command with nobody reading what it writes, as in `evalkit sweep 2>&1 | head -1`.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

use crate::fixtures::{Place, Tiny, run, told};

/// The write end of a pipe whose read end is closed.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Runs a command with its outputs open and closed: the code is the same, and it is `code`.
fn ends_with(code: i32, command: impl Fn() -> Command) {
    run(&mut command(), code);
    for (closes_stdout, closes_stderr) in [(true, false), (false, true), (true, true)] {
        let mut command = command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if closes_stdout {
            command.stdout(closed());
        }
        if closes_stderr {
            command.stderr(closed());
        }
        let found = command.status().unwrap().code();
        assert_eq!(found, Some(code), "{command:?}: {closes_stdout} {closes_stderr}");
    }
}

#[test]
fn help_and_refusals_end_as_with_a_reader() {
    let place = Place::new(&Tiny::default(), 16);
    for args in [&["--help"][..], &["sweep", "-h"], &["--version"], &["completions", "bash"]] {
        ends_with(0, || place.evalkit(args));
    }
    for args in [&["nothing"][..], &["sweep", "--bits", "x"], &["report", "nothere"], &["runner"]] {
        ends_with(2, || place.evalkit(args));
    }
}

#[test]
fn every_command_ends_as_with_a_reader() {
    let place = Place::new(&Tiny::default(), 6 * 15 + 1);
    let sweep = ["--recipes", "palette4", "--package", "--device", "host", "--repetitions", "1"];
    let short = ["--prompt-tokens", "4", "--generate", "2"];
    ends_with(0, || place.sweep(&[&sweep[..], &short[..]].concat()));
    let name = place.run_folder().to_string_lossy().into_owned();
    ends_with(0, || place.sweep(&["--dry-run"]));
    let coding = ["--model", "model", "--recipe", "palette4", "--output"];
    ends_with(0, || place.evalkit(&[&["quantize"], &coding[..], &["coded"]].concat()));
    ends_with(0, || place.evalkit(&[&["package", "--force"], &coding[..], &["packages"]].concat()));
    let moments = ["--calibrate", "other.txt", "--context", "16", "--output", "moments"];
    ends_with(0, || place.evalkit(&[&["calibrate", "--model", "model"], &moments[..]].concat()));
    ends_with(0, || place.evalkit(&["verify", "packages", "--model", "model", "--tokens", "4"]));
    let bench = ["bench", "packages", "--repetitions", "1"];
    ends_with(0, || place.evalkit(&[&bench[..], &short[..]].concat()));
    ends_with(0, || place.evalkit(&["inspect", "model", "--tensors"]));
    ends_with(0, || place.evalkit(&["devices", "--device", "host"]));
    ends_with(0, || place.evalkit(&["report", &name, "--format", "html"]));
    ends_with(0, || place.evalkit(&["baseline", "accept", &name]));
    ends_with(0, || place.evalkit(&["baseline", "list"]));
    ends_with(0, || place.evalkit(&["check", &name, "--history"]));
}

#[test]
fn names_from_strangers_command_no_terminal() {
    let place = Place::new(&Tiny::default(), 16);
    let name = "no\u{1b}[2J\u{202e}\n::error::model";
    let output = run(&mut place.evalkit(&["inspect", name]), 2);
    let told = told(&output);
    assert!(told.contains("no\\u{1b}[2J\\u{202e}\\n::error::model"), "{told}");
    assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told:?}");
    assert!(!told.lines().any(|line| line.starts_with("::")), "{told}");
    let output = run(&mut place.evalkit(&["inspect", "--context", name]), 2);
    assert!(!self::told(&output).contains(['\u{1b}', '\u{202e}']), "{output:?}");
}

#[test]
fn flags_without_an_effect_and_impossible_numbers_are_refused() {
    let place = Place::new(&Tiny::default(), 6 * 15 + 1);
    let refused = |args: &[&str], words: &str| {
        let output = run(&mut place.sweep(args), 2);
        assert!(told(&output).contains(words), "{args:?}: {}", told(&output));
    };
    refused(&["--compute", "ane"], "--package");
    refused(&["--cache", "inputs"], "--package");
    refused(&["--prompt-tokens", "8"], "--device");
    refused(&["--limit", "-1"], "invalid value '-1' for '--limit");
    refused(&["--threads", "0"], "--threads: expected 1 to 1024, found 0");
    run(&mut place.sweep(&["--dry-run", "--package", "--compute", "ane"]), 0);
    let nowhere = run(&mut place.evalkit(&["sweep", "--model", "nothere"]), 2);
    assert!(told(&nowhere).contains("nothere: there is no such file"), "{}", told(&nowhere));
    let coding = ["quantize", "--model", "model", "--recipe", "palette4", "--output", "coded"];
    let ranges = [&coding[..], &["--activation-range", "minmax"]].concat();
    let output = run(&mut place.evalkit(&ranges), 2);
    assert!(told(&output).contains("--activation-range: "), "{}", told(&output));
}
