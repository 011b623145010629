//! Files, annotations, summaries, the store of baselines, the history.

use super::night::Nights;
use crate::fixtures::told;

#[test]
fn every_output_says_what_regressed() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.sweep_broken("broken");
    let summary = nights.path("summary.md");
    std::fs::write(&summary, "an earlier step\n").unwrap();
    let args = ["check", "broken", "--baseline", "good", "--out", "a/b", "--junit", "junit.xml"];
    let mut command = nights.evalkit(&args);
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
    let output = crate::fixtures::run(&mut command, 1);
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(stdout.starts_with("demo: regressed (3 regressed, 3 unchanged)"), "{stdout}");
    let said = told(&output);
    let error = "::error title=evalkit check%3A regressed::palette4-g16-s: perplexity +";
    assert!(said.contains(error), "{said}");
    assert!(
        said.contains("::notice title=evalkit check::demo: 3 regressed, 3 unchanged."),
        "{said}"
    );
    let page = std::fs::read_to_string(&summary).unwrap();
    assert!(page.starts_with("an earlier step\n# demo: regressed"), "{page}");
    let xml = std::fs::read_to_string(nights.path("junit.xml")).unwrap();
    let head = "name=\"evalkit check demo\" tests=\"6\" skipped=\"0\" failures=\"3\" errors=\"0\"";
    assert!(xml.contains(head), "{xml}");
    assert_eq!(std::fs::read_to_string(nights.path("a/b/junit.xml")).unwrap(), xml);
    for name in ["check.txt", "check.md", "check.html", "check.csv", "check.json"] {
        let text = std::fs::read_to_string(nights.path("a/b").join(name)).unwrap();
        assert!(text.contains("regressed"), "{name}: {text}");
    }
    assert_eq!(std::fs::read_dir(nights.path("a/b")).unwrap().count(), 6);
}

#[test]
fn a_check_outside_of_github_says_nothing_to_it() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    let output = nights.run(&["check", "good", "--baseline", "good"], 0);
    assert!(!told(&output).contains("::"), "{}", told(&output));
}

#[test]
fn accepted_baselines_are_found_by_their_question_and_replaced() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.sweep_broken("broken");
    nights.run(&["baseline", "accept", "good", "--store", "kept"], 0);
    let list = |code| nights.run(&["baseline", "list", "--store", "kept", "--format", "csv"], code);
    let first = String::from_utf8(list(0).stdout).unwrap();
    assert!(first.contains("\ndemo-on-generated-stories-full-256,"), "{first}");
    nights.run(&["check", "broken", "--baseline", "kept"], 1);
    nights.run(&["check", "good", "--baseline", "kept"], 0);
    nights.run(&["baseline", "accept", "broken", "--store", "kept"], 0);
    nights.run(&["check", "broken", "--baseline", "kept"], 0);
    let second = String::from_utf8(list(0).stdout).unwrap();
    assert_eq!(second.lines().count(), 2, "{second}");
    assert_ne!(first, second);
    let log = std::fs::read_to_string(nights.path("kept/accepted.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 2, "{log}");
    // A store kept among the reports is no night.
    nights.run(&["baseline", "accept", "good", "--store", "reports/baselines"], 0);
    let said = told(&nights.run(&["check"], 2));
    assert!(said.contains("reports: no run was found"), "{said}");
}

#[test]
fn tolerances_come_from_the_runs_plan_the_plan_and_flags() {
    let nights = Nights::new();
    let plan = "model = \"demo\"\n[check]\nperplexity = \"900%\"\nkl = 50\ntop1 = 1.0\n";
    std::fs::write(nights.path("lax.toml"), plan).unwrap();
    nights.sweep("good", &[]);
    nights.sweep_broken("broken");
    nights.run(&["check", "broken", "--baseline", "good", "--plan", "lax.toml"], 0);
    let strict = ["--plan", "lax.toml", "--tolerance", "perplexity=1%"];
    nights.run(&[&["check", "broken", "--baseline", "good"], &strict[..]].concat(), 1);
    // The plan that a run was made by is kept with it.
    std::fs::copy(nights.path("lax.toml"), nights.only("broken").join("plan.toml")).unwrap();
    nights.run(&["check", "broken", "--baseline", "good"], 0);
}

#[test]
fn the_history_marks_where_a_metric_changed() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.sweep_broken("broken");
    for night in 10..26 {
        let from = nights.only(if night < 18 { "good" } else { "broken" });
        let to = nights.path(&format!("nightly/2026-11-{night}/run-{night}"));
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(from.join("records.jsonl"), to.join("records.jsonl")).unwrap();
    }
    let args = ["check", "--history", "--reports", "nightly"];
    let text = String::from_utf8(nights.run(&args, 0).stdout).unwrap();
    assert!(text.starts_with("demo: 16 runs\n"), "{text}");
    assert!(text.contains("palette4-g16-s  ▁▁▁▁▁▁▁▁│████████"), "{text}");
    assert!(text.contains("New levels\n"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("run-18  palette4-g16-s")), "{text}");
    let last = String::from_utf8(nights.run(&[&args[..], &["--last", "4"]].concat(), 0).stdout);
    assert!(last.unwrap().starts_with("demo: 4 runs\n"));
}
