//! What is broken is caught, what is the same passes, and too little is said to be too little.

use super::night::{Nights, rows, verdict};

#[test]
fn a_variant_with_its_scales_halved_is_caught() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.sweep_broken("broken");
    let json = nights.check_json(&["broken", "--baseline", "good"], 1);
    let rows = rows(&json);
    for metric in ["perplexity", "KL mean", "top-1 agreement"] {
        assert_eq!(verdict(&rows, "palette4-g16-s", metric), "regressed", "{metric}");
    }
    assert_eq!(verdict(&rows, "palette4-g16-s", "size"), "unchanged");
    assert_eq!(verdict(&rows, "reference", "perplexity"), "unchanged");
    assert_eq!(json["facts"]["outcome"], "regressed");
    // Seen from the other side it is an improvement, which is no reason to stop.
    let json = nights.check_json(&["good", "--baseline", "broken"], 0);
    assert_eq!(verdict(&self::rows(&json), "palette4-g16-s", "perplexity"), "improved");
}

#[test]
fn a_run_against_itself_and_against_its_repetition_is_unchanged() {
    let nights = Nights::new();
    nights.sweep("first", &[]);
    nights.sweep("second", &["--threads", "1"]);
    for run in ["first", "second"] {
        let json = nights.check_json(&[run, "--baseline", "first"], 0);
        let rows = rows(&json);
        assert_eq!(rows.len(), 6, "{json}");
        assert!(rows.iter().all(|row| row["verdict"] == "unchanged"), "{json}");
    }
}

#[test]
fn one_window_is_too_little_to_say_anything() {
    let nights = Nights::new();
    nights.sweep("whole", &[]);
    let one = ["sweep", "--limit", "1", "--recipes", "palette4-g16-s", "--reports", "one"];
    nights.run(&one, 0);
    for baseline in ["one", "whole"] {
        let json = nights.check_json(&["one", "--baseline", baseline], 4);
        let rows = rows(&json);
        assert_eq!(verdict(&rows, "palette4-g16-s", "perplexity"), "inconclusive", "{json}");
        assert_eq!(verdict(&rows, "palette4-g16-s", "size"), "unchanged", "{json}");
        let notes = json["notes"].to_string();
        assert!(notes.contains("none in perplexity"), "{notes}");
    }
}

#[test]
fn what_is_missing_unfinished_or_failed_is_never_green() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    let cell = |line: &String| line.contains("\"variant\":\"palette4-g16-s\"");
    let id_of = |lines: &[String]| {
        let line: serde_json::Value =
            serde_json::from_str(lines.iter().find(|line| cell(line)).unwrap()).unwrap();
        line["cell_id"].as_str().unwrap().to_owned()
    };
    nights.edited("good", "missing", |lines| {
        let id = id_of(lines);
        lines.retain(|line| !line.contains(&id));
    });
    nights.edited("good", "unfinished", |lines| {
        let id = id_of(lines);
        lines.retain(|line| !(line.contains("\"kind\":\"done\"") && line.contains(&id)));
    });
    nights.edited("good", "failed", |lines| {
        let id = id_of(lines);
        lines.retain(|line| !line.contains(&id) || cell(line));
        lines.push(format!(
            "{{\"schema\":2,\"kind\":\"failure\",\"cell_id\":\"{id}\",\"variant\":\"palette4-g16-s\",\"cause\":\"too hot\",\"hint\":\"\"}}\n"
        ));
    });
    let cases = [
        ("missing", "invalid", "it is not in this run"),
        ("unfinished", "invalid", "it is not finished: 16 of 16 windows were scored"),
        ("failed", "regressed", "it failed: too hot"),
    ];
    for (night, expected, why) in cases {
        let json = nights.check_json(&[night, "--baseline", "good"], 1);
        let rows = rows(&json);
        let row = rows.iter().find(|row| row["metric"] == "result").unwrap();
        assert_eq!(row["verdict"], expected, "{json}");
        assert_eq!(row["reason"], why, "{json}");
    }
    // A failure that was accepted is no regression, and still not green.
    let json = nights.check_json(&["failed", "--baseline", "failed"], 1);
    assert!(
        rows(&json)[0]["reason"].as_str().unwrap().starts_with("it failed, as in the baseline")
    );
}

#[test]
fn another_text_makes_scores_incomparable_and_is_said_before_any_number() {
    let nights = Nights::new();
    nights.sweep("good", &[]);
    nights.edited("good", "other", |lines| {
        let run: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        let hash = run["text_hash"].as_str().unwrap();
        lines[0] = lines[0].replace(hash, &"0".repeat(64));
    });
    let output = nights.run(&["check", "other", "--baseline", "good"], 1);
    let text = String::from_utf8(output.stdout).unwrap();
    let difference = text.find("the runs differ: text: ").unwrap();
    assert!(difference < text.find("tolerance").unwrap(), "{text}");
    assert!(!text.contains("perplexity (tolerance"), "{text}");
    assert!(text.contains("reference, palette4-g16-s: different text"), "{text}");
}
