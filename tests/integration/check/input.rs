//! Bad input of checks and baselines, one test per attack: exit code, message, nothing left behind.

use super::night::Nights;
use crate::fixtures::{Place, Tiny, told};

/// What a command that fails says; it must say nothing on stdout.
fn refused(nights: &Nights, args: &[&str], code: i32) -> String {
    let output = nights.run(args, code);
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    told(&output)
}

const CHECK: [&str; 4] = ["check", "bad", "--baseline", "good"];

#[test]
fn records_of_a_newer_schema_are_refused_by_line() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.edited("good", "bad", |lines| {
        lines[5] = lines[5].replace("\"schema\":2,", "\"schema\":3,");
    });
    let said = refused(&nights, &CHECK, 2);
    assert!(
        said.contains("records.jsonl: line 6: schema 3 is newer than this program's 2"),
        "{said}"
    );
    assert!(said.contains("hint: these records were written by a newer evalkit"), "{said}");
}

#[test]
fn half_a_line_at_the_end_is_passed_over_and_in_the_middle_is_named() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.edited("good", "bad", |lines| lines.push("{\"schema\":2,\"kind\":\"wind".into()));
    nights.run(&CHECK, 0);
    nights.edited("good", "bad", |lines| lines[7].truncate(50));
    let said = refused(&nights, &CHECK, 2);
    assert!(said.contains("records.jsonl: line 8: not a record"), "{said}");
}

#[test]
fn two_runs_under_one_id_are_refused() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.edited("good", "bad", |lines| {
        let other = lines[0].replace("\"seed\":0,", "\"seed\":1,");
        lines.push(other);
    });
    let said = refused(&nights, &CHECK, 2);
    assert!(said.contains("two different runs: seed was 0 and is 1"), "{said}");
    assert!(said.contains("hint: give each run a folder of its own"), "{said}");
}

#[test]
fn a_folder_with_several_runs_or_none_is_refused() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    for name in ["nights/a", "nights/b"] {
        nights.edited("good", name, |_| ());
    }
    let said = refused(&nights, &["check", "nights", "--baseline", "good"], 2);
    assert!(said.contains("nights: expected one run, found 2\nhint: name one of them"), "{said}");
    std::fs::create_dir(nights.path("empty")).unwrap();
    let said = refused(&nights, &["check", "empty", "--baseline", "good"], 2);
    assert!(said.contains("empty: expected a run, found neither records.jsonl"), "{said}");
}

#[test]
fn a_missing_baseline_is_refused_with_what_to_do() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    let said = refused(&nights, &["check", "good", "--baseline", "nowhere"], 2);
    assert!(said.contains("nowhere: expected a run or a store of accepted baselines"), "{said}");
    assert!(said.contains("hint: accept one with: evalkit baseline accept"), "{said}");
    nights.run(&["baseline", "accept", "good", "--store", "kept"], 0);
    nights.sweep("other", &["--context", "128"]);
    let said = refused(&nights, &["check", "other", "--baseline", "kept"], 2);
    assert!(
        said.contains("kept: no baseline is accepted for demo-on-generated-stories-full-128"),
        "{said}"
    );
    let said = refused(&nights, &["baseline", "list", "--store", "nowhere"], 2);
    assert!(said.contains("nowhere: expected a store of accepted baselines"), "{said}");
}

#[test]
fn a_tolerance_that_cannot_be_meant_is_refused_before_anything_is_measured() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    for (limit, expected) in [
        ("perplexity=-1%", "perplexity: -1%: expected a tolerance of 0 or more, found -0.01"),
        ("kl=nan", "kl: nan: expected a finite tolerance"),
        ("speed=1%", "speed: unknown tolerance"),
        ("perplexity", "expected a tolerance such as perplexity=0.5%, found \"perplexity\""),
    ] {
        let args = ["check", "good", "--baseline", "good", "--tolerance", limit];
        let said = refused(&nights, &args, 2);
        assert!(said.contains(expected), "{said}");
    }
    let place = Place::new(&Tiny::default(), 100);
    std::fs::write(place.path("plan.toml"), "[check]\ndecode = -0.5\n").unwrap();
    let error = "tolerance: decode: -0.5: expected a tolerance of 0 or more, found -0.5";
    place.refuses(place.sweep(&["--plan", "plan.toml"]), 2, error);
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing_behind() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    // A folder below a file cannot be made, whoever asks.
    std::fs::write(nights.path("file"), "").unwrap();
    let check = ["check", "good", "--baseline", "good"];
    let said = refused(&nights, &[&check[..], &["--out", "file/out"]].concat(), 2);
    assert!(said.contains("file/out: cannot create"), "{said}");
    let said = refused(&nights, &[&check[..], &["--junit", "file/junit.xml"]].concat(), 2);
    assert!(said.contains("file: expected a folder, found a file"), "{said}");
    let said = refused(&nights, &["baseline", "accept", "good", "--store", "file/store"], 2);
    assert!(said.contains("file/store: cannot create"), "{said}");
    // A page that cannot be replaced: none of the others is left either.
    std::fs::create_dir_all(nights.path("out/check.txt/full")).unwrap();
    let said = refused(&nights, &[&check[..], &["--out", "out"]].concat(), 3);
    assert!(said.contains("out/check.txt: expected a file, found a folder"), "{said}");
    assert_eq!(std::fs::read_dir(nights.path("out")).unwrap().count(), 1);
}

#[test]
fn an_unfinished_run_is_not_accepted() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.edited("good", "bad", |lines| lines.retain(|line| !line.contains("\"kind\":\"done\"")));
    let said = refused(&nights, &["baseline", "accept", "bad", "--store", "kept"], 2);
    assert!(said.contains("the run is not finished: reference, palette4-g16-s"), "{said}");
    assert!(!nights.path("kept").exists());
}
