//! Condensed runs are read back as they were written, and refused if they are damaged.

use super::*;
use crate::results::PLAN;
use crate::results::{Cell, Run, RunFolder, Store, Window};

fn condensed() -> Condensed {
    let cell = CondensedCell {
        cell_id: "a".into(),
        windows: vec![0, 2],
        scored_tokens: vec![3, 4],
        scored_bytes: vec![9, 8],
        nll_nats: vec![0.1 + 0.2, 1.0 / 3.0],
        kl_nats: vec![1e-300, 2.0],
        top1_agree: vec![1, 2],
        router_agree: vec![vec![3, 4], vec![5, 6]],
        routed_tokens: vec![5, 6],
        totals: Totals {
            kl_quantiles: Some(KlQuantiles {
                tokens: 7,
                median_nats: 0.1_f32.into(),
                p99_nats: 0.7,
            }),
            expert_load: vec![vec![1, 2, 3]; 2],
            coding_ms: Some(12.5),
        },
    };
    let records = vec![
        Record::Run(Run { model: "m".into(), ..Run::default() }),
        Record::Cell(Cell { cell_id: "a".into(), ..Cell::default() }),
    ];
    Condensed { records, cells: vec![cell] }
}

/// A folder with a run in `run`, condensed into `condensed`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    Store::open(&run).unwrap().append(&condensed().records).unwrap();
    std::fs::write(run.join(PLAN), "plan").unwrap();
    condensed().write(&run, &folder.path().join("condensed")).unwrap();
    folder
}

#[test]
fn windows_and_totals_are_read_back_bit_for_bit_under_the_runs_hash() {
    let folder = folder();
    let path = folder.path().join("condensed");
    let read = RunFolder::read(&path).unwrap();
    assert_eq!(read.hash, RunFolder::read(&folder.path().join("run")).unwrap().hash);
    assert!(read.is_condensed && read.index.run().is_some_and(|run| run.model == "m"));
    let expected = &condensed().cells[0];
    let window = Window {
        cell_id: "a".into(),
        window: 2,
        scored_tokens: 4,
        scored_bytes: 8,
        nll_nats: 1.0 / 3.0,
        kl_nats: 2.0,
        top1_agree: 2,
        router_agree: vec![5, 6],
        routed_tokens: 6,
        ..Window::default()
    };
    assert_eq!(read.index.windows_of("a")[1], &window);
    assert_eq!(read.index.totals("a"), Some(&expected.totals));
    assert_eq!(read.coding_ms.get("a"), Some(&12.5));
    assert_eq!(std::fs::read_to_string(path.join(PLAN)).unwrap(), "plan");
}

#[test]
fn nothing_can_be_appended_to_a_condensed_run() {
    let folder = folder();
    let error = Store::open(&folder.path().join("condensed")).unwrap_err();
    assert_eq!(error.exit().code(), 2);
    assert!(error.to_string().contains("a condensed run cannot be continued"), "{error}");
}

#[test]
fn condensing_again_replaces_a_condensed_run_and_deletes_nothing_else() {
    let folder = folder();
    let (run, target) = (folder.path().join("run"), folder.path().join("condensed"));
    condensed().write(&run, &target).unwrap();
    std::fs::write(target.join("notes.txt"), "mine").unwrap();
    for target in [&target, &run] {
        let error = condensed().write(&run, target).unwrap_err();
        assert_eq!(error.exit().code(), 2);
        assert!(error.to_string().contains("this folder also holds "), "{error}");
    }
    assert_eq!(std::fs::read_to_string(target.join("notes.txt")).unwrap(), "mine");
    assert!(run.join("records.jsonl").exists());
}

#[test]
fn a_condensed_run_that_was_cut_or_edited_is_refused() {
    let folder = folder();
    let path = folder.path().join("condensed").join(CONDENSED);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let cases = [
        (lines[..3].join("\n") + "\n", "expected 3 lines after the first, found 2"),
        (text.trim_end().to_owned(), "expected 3 lines after the first, found 2"),
        (lines[1..].join("\n") + "\n", "line 1: expected the header line of a condensed run"),
        (text.replace("[3,4],\"scored_bytes\"", "[3],\"scored_bytes\""), "found 1"),
        (text.replace("\"records_hash\":\"", "\"records_hash\":\"x"), "is not a hash"),
        (String::new(), "expected the header line of a condensed run"),
    ];
    for (text, expected) in cases {
        std::fs::write(&path, text).unwrap();
        let error = RunFolder::read(path.parent().unwrap()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit().code(), 2);
    }
}
