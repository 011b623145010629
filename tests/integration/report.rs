//! `evalkit report`: pages, tables for other files, claims and comparisons, from records alone.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixtures::{Place, Tiny, run, told};
use serde_json::Value;

/// A place with a run of six windows.
fn measured() -> Place {
    let place = Place::new(&Tiny::default(), 6 * 15 + 1);
    run(&mut place.sweep(&["--bits", "4,2"]), 0);
    place
}

/// The name of the place's run among its reports.
fn name(place: &Place) -> String {
    place.run_folder().file_name().unwrap().to_string_lossy().into_owned()
}

fn report(place: &Place, more: &[&str]) -> Command {
    place.evalkit(&[&["report"], more].concat())
}

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

const CLOSE: &str = "<!-- /evalkit -->";

/// A changelog with a place for the table of `runs`.
fn changelog(place: &Place, runs: &str) -> (PathBuf, String) {
    let text = format!("# 1.0\n\n<!-- evalkit: {runs} ladder -->\n{CLOSE}\n\nThe end.\n");
    let path = place.path("CHANGELOG.md");
    std::fs::write(&path, &text).unwrap();
    (path, text)
}

#[test]
fn the_same_records_give_the_same_bytes_in_every_format() {
    let place = measured();
    for format in ["terminal", "markdown", "html", "csv", "json"] {
        let bytes =
            |run_name: &str| run(&mut report(&place, &[run_name, "--format", format]), 0).stdout;
        let once = bytes(&name(&place));
        assert_eq!(once, bytes(&place.run_folder().to_string_lossy()), "{format}");
        assert!(!once.is_empty());
    }
    let last = run(&mut report(&place, &["--format", "json"]), 0);
    assert!(told(&last).contains("reporting"), "{}", told(&last));
    run(&mut report(&place, &[&name(&place), "--output", "pages"]), 0);
    for page in ["report.txt", "report.md", "report.html", "report.csv", "report.json"] {
        let of_sweep = std::fs::read(place.run_folder().join(page)).unwrap();
        assert_eq!(std::fs::read(place.path("pages").join(page)).unwrap(), of_sweep, "{page}");
    }
}

#[test]
fn a_spliced_table_holds_until_it_or_its_records_change() {
    let place = measured();
    let (path, text) = changelog(&place, &format!("reports/{}", name(&place)));
    let verify = |code| told(&run(&mut report(&place, &["--verify", "CHANGELOG.md"]), code));
    assert!(verify(1).contains("it differs from the table of its records"));
    run(&mut report(&place, &["--splice", "CHANGELOG.md"]), 0);
    let spliced = std::fs::read_to_string(&path).unwrap();
    assert!(spliced.contains("| palette4-g16-s |") && spliced.contains(", hash "), "{spliced}");
    assert!(spliced.starts_with("# 1.0\n") && spliced.ends_with("\n\nThe end.\n"));
    verify(0);
    run(&mut report(&place, &["--splice", "CHANGELOG.md"]), 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), spliced);
    let edited = spliced.replacen("| palette4-g16-s |", "| palette5-g16-s |", 1);
    std::fs::write(&path, edited).unwrap();
    verify(1);
    std::fs::write(&path, &spliced).unwrap();
    let records = place.run_folder().join("records.jsonl");
    let fewer: Vec<String> = place
        .records()
        .lines()
        .filter(|line| !line.contains("\"window\":5,"))
        .map(Into::into)
        .collect();
    std::fs::write(records, fewer.join("\n") + "\n").unwrap();
    verify(1);
    assert_ne!(text, spliced);
}

#[test]
fn a_condensed_run_has_the_same_tables_and_cannot_be_continued() {
    let place = measured();
    let (full, run_name) = (place.run_folder(), name(&place));
    let short = place.path("short").join(&run_name);
    let condense = [&run_name, "--condense", &short.to_string_lossy()];
    run(&mut report(&place, &condense), 0);
    let json = |folder: &Path| {
        let output = run(&mut report(&place, &[&folder.to_string_lossy(), "--format", "json"]), 0);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["tables"].clone()
    };
    assert_eq!(json(&short), json(&full));
    let (path, _) = changelog(&place, &format!("reports/{run_name}"));
    run(&mut report(&place, &["--splice", "CHANGELOG.md"]), 0);
    let spliced = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_dir_all(&full).unwrap();
    std::fs::rename(&short, &full).unwrap();
    run(&mut report(&place, &["--verify", "CHANGELOG.md"]), 0);
    let refused = told(&run(&mut place.sweep(&["--bits", "4,2"]), 2));
    assert!(refused.contains("a condensed run cannot be continued"), "{refused}");
    let chosen = spliced.replace(" ladder -->", " ladder columns=variant,size,perplexity -->");
    std::fs::write(&path, chosen).unwrap();
    run(&mut report(&place, &["--splice", "CHANGELOG.md"]), 0);
    let table = std::fs::read_to_string(&path).unwrap();
    assert!(table.contains("\n| variant | size | perplexity |\n"), "{table}");
    std::fs::write(&path, table.replace("perplexity -->", "speed -->")).unwrap();
    let refused = told(&run(&mut report(&place, &["--verify", "CHANGELOG.md"]), 2));
    assert!(refused.contains("line 3: unknown column \"speed\""), "{refused}");
    assert!(refused.contains("hint: the columns are variant, blocks, file, size"), "{refused}");
}

#[test]
fn a_table_that_should_not_be_published_is_not_written() {
    let place = Place::new(&Tiny::default(), 6 * 15 + 1);
    run(&mut place.sweep(&["--bits", "4", "--limit", "1"]), 0);
    let one_window = name(&place);
    let (path, text) = changelog(&place, &format!("reports/{one_window}"));
    let refused = told(&run(&mut report(&place, &["--splice", "CHANGELOG.md"]), 1));
    assert!(refused.contains("line 3: ") && refused.contains("has no interval for"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    run(&mut place.sweep(&["--bits", "4", "--reports", "full"]), 0);
    let mut other = place.sweep(&["--bits", "4", "--reports", "gptq", "--protocol", "llama.cpp"]);
    run(&mut other, 0);
    let only = |reports: &str| {
        let mut entries = std::fs::read_dir(place.path(reports)).unwrap();
        format!("{reports}/{}", entries.next().unwrap().unwrap().file_name().to_string_lossy())
    };
    let (path, text) = changelog(&place, &format!("{} {}", only("full"), only("gptq")));
    for flag in ["--splice", "--verify"] {
        let mixed = told(&run(&mut report(&place, &[flag, "CHANGELOG.md"]), 1));
        assert!(mixed.contains("protocols are mixed: full and llama.cpp"), "{mixed}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn windows_that_were_lost_are_no_results_until_the_same_sweep_scores_them_again() {
    let place = measured();
    let (path, whole) = (place.run_folder().join("records.jsonl"), place.records());
    let run_name = name(&place);
    let last = whole.lines().rfind(|line| line.contains("\"kind\":\"window\"")).unwrap();
    let lost: String =
        whole.lines().filter(|line| *line != last).map(|l| format!("{l}\n")).collect();
    std::fs::write(&path, &lost).unwrap();
    let page = run(&mut report(&place, &[&run_name, "--format", "markdown"]), 1);
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("INVALID: ") && page.contains("its records lost windows"), "{page}");
    changelog(&place, &format!("reports/{run_name}"));
    for flag in ["--splice", "--verify"] {
        let refused = told(&run(&mut report(&place, &[flag, "CHANGELOG.md"]), 1));
        assert!(refused.contains("this run is invalid"), "{refused}");
    }
    let again = told(&run(&mut place.sweep(&["--bits", "4,2"]), 0));
    assert!(again.contains("what is missing is scored again"), "{again}");
    run(&mut report(&place, &[&run_name]), 0);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&place.records()), sorted(&whole));
}

#[test]
fn markers_amiss_leave_the_file_alone() {
    let place = measured();
    let open = format!("<!-- evalkit: reports/{} ladder -->", name(&place));
    let cases = [
        ("nothing\n".to_owned(), "no marker for a table was found"),
        (format!("{open}\nold\n"), "line 1: the table that begins here has no"),
        (format!("{open}\n{CLOSE}\n{open}\n{CLOSE}\n"), "line 3: "),
        (format!("{open}\n{open}\n{CLOSE}\n{CLOSE}\n"), "line 2: a table begins inside"),
        (format!("<!-- evalkit: reports/none ladder -->\n{CLOSE}\n"), "line 1: "),
    ];
    for (text, said) in cases {
        std::fs::write(place.path("C.md"), &text).unwrap();
        for flag in ["--splice", "--verify"] {
            let refused = told(&run(&mut report(&place, &[flag, "C.md"]), 2));
            assert!(refused.starts_with("error: C.md: ") && refused.contains(said), "{refused}");
        }
        assert_eq!(std::fs::read_to_string(place.path("C.md")).unwrap(), text);
    }
}

#[test]
fn lines_that_are_no_records_are_named_and_a_torn_end_is_passed_over() {
    let place = measured();
    let path = place.run_folder().join("records.jsonl");
    let (whole, run_name) = (place.records(), name(&place));
    let json = || run(&mut report(&place, &[&run_name, "--format", "json"]), 0).stdout;
    let before = json();
    std::fs::write(&path, format!("{whole}{{\"schema\":2,\"kind\":\"win")).unwrap();
    assert_eq!(json(), before);
    let mut lines: Vec<&str> = whole.lines().collect();
    let half = &lines[3][..lines[3].len() / 2];
    lines[3] = half;
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let refused = told(&run(&mut report(&place, &[&run_name]), 2));
    assert!(refused.contains("records.jsonl: line 4: not a record"), "{refused}");
    std::fs::write(&path, whole.replacen("\"schema\":2", "\"schema\":7", 1)).unwrap();
    let refused = told(&run(&mut report(&place, &[&run_name]), 2));
    assert!(refused.contains("line 1: schema 7 is newer than this program's 2"), "{refused}");
    assert!(refused.contains("hint: "), "{refused}");
}

#[test]
fn one_folder_holds_one_run_and_a_shard_counts_once() {
    let place = measured();
    let path = place.run_folder().join("records.jsonl");
    let (whole, run_name) = (place.records(), name(&place));
    let first = whole.lines().next().unwrap().replace("\"seed\":0", "\"seed\":1");
    let twice = report(&place, &["--shards", &run_name, &run_name]);
    let folder = format!("reports/{run_name}");
    place.refuses(twice, 2, &format!("{folder}: this shard is given twice"));
    std::fs::write(&path, format!("{whole}{first}\n")).unwrap();
    let refused = told(&run(&mut report(&place, &[&run_name]), 2));
    assert!(refused.contains("two different runs: seed was 0 and is 1"), "{refused}");
    assert!(refused.contains(&format!("line {}", whole.lines().count() + 1)), "{refused}");
    let missing = report(&place, &["nowhere"]);
    place.refuses(
        missing,
        2,
        "nowhere: expected records.jsonl or measurements.jsonl, found neither\n\
         hint: give the folder of a run, as sweep and bench name it",
    );
}

#[test]
fn a_folder_that_cannot_be_written_gets_nothing() {
    let place = measured();
    let run_name = name(&place);
    std::fs::write(place.path("file"), "mine").unwrap();
    let before = place.listing();
    for folder in ["file", "file/below"] {
        run(&mut report(&place, &[&run_name, "--output", folder]), 2);
        assert_eq!(place.listing(), before);
    }
    std::fs::create_dir_all(place.path("pages/report.json")).unwrap();
    let before = place.listing();
    run(&mut report(&place, &[&run_name, "--output", "pages"]), 3);
    assert_eq!(place.listing(), before);
    assert_eq!(std::fs::read_to_string(place.path("file")).unwrap(), "mine");
}

#[test]
fn two_runs_are_told_apart_before_they_are_compared() {
    let place = measured();
    let first = place.run_folder();
    run(&mut place.sweep(&["--bits", "4,2", "--limit", "4", "--reports", "less"]), 0);
    let other = std::fs::read_dir(place.path("less")).unwrap().next().unwrap().unwrap().path();
    let folders = [first, other].map(|folder| folder.to_string_lossy().into_owned());
    let args = [folders[0].as_str(), folders[1].as_str(), "--format", "json"];
    let output = run(&mut report(&place, &args), 0);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tables = document["tables"].as_array().unwrap();
    let differing = tables[0]["rows"].as_array().unwrap();
    assert_eq!((tables[0]["title"].as_str(), differing.len()), (Some("What differs"), 1));
    assert_eq!(differing[0]["what"], "windows");
    let perplexity = &tables.iter().find(|table| table["title"] == "Perplexity").unwrap()["rows"];
    assert_eq!(perplexity[1]["perplexity_change_ratio"]["n"], 4);
    assert_eq!(perplexity[1]["reading"], "the same");
    let three = [folders[0].as_str(), folders[1].as_str(), folders[1].as_str()];
    let refused = told(&run(&mut report(&place, &three), 2));
    assert!(refused.contains("expected one run or two, found 3"), "{refused}");
}

#[test]
fn the_shipped_claims_are_held_against_the_configuration_and_no_phone() {
    let place = measured();
    let seed = root("datasets/claims/seed.toml").to_string_lossy().into_owned();
    for runs in [vec![], vec![name(&place)]] {
        let mut args: Vec<&str> = runs.iter().map(String::as_str).collect();
        args.extend(["--claims", &seed, "--format", "json"]);
        let output = run(&mut report(&place, &args), 1);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = document["tables"][0]["rows"].as_array().unwrap();
        let verdict = |says: &str| {
            let row = rows.iter().find(|row| row["claim"].as_str().unwrap().starts_with(says));
            row.unwrap()["verdict"].as_str().unwrap().to_owned()
        };
        assert_eq!(verdict("Original FP32"), "refuted");
        assert_eq!(verdict("FP16"), "refuted");
        assert_eq!(verdict("2-bit"), "confirmed");
        assert_eq!(verdict("fits in 8GB iPhone RAM (an app as it is)"), "refuted");
        assert_eq!(verdict("fits in 8GB iPhone RAM (an app with"), "confirmed");
        assert_eq!(verdict("Inference Speed"), "not measured");
        assert_eq!(verdict("Battery Life"), "not measured");
        let predicted = rows[0]["evidence"].as_str().unwrap();
        assert!(predicted.contains("predicted from the configuration"), "{predicted}");
    }
    std::fs::write(place.path("claims.toml"), "source = \"x\"\nclaims = []\n").unwrap();
    let refused = told(&run(&mut report(&place, &["--claims", "claims.toml"]), 2));
    assert!(refused.starts_with("error: claims.toml: not a file of claims: "), "{refused}");
}

#[test]
fn the_tables_of_the_readme_are_those_of_their_records() {
    let readme = root("README.md");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("evalkit"));
    run(command.args(["report", "--verify"]).arg(readme), 0);
}
