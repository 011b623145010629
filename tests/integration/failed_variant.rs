//! A variant that cannot be measured is a row with its cause, and no reason to stop.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use crate::fixtures::{Place, Tiny, run, told, write_checkpoint};

#[test]
fn a_variant_that_cannot_be_coded_is_a_row_and_the_others_are_complete() {
    let place = Place::new(&Tiny::default(), 100);
    let args = ["--recipes", "palette4,palette1-unique,palette1", "--format", "json"];
    let first = run(&mut place.sweep(&args), 1);
    let table = String::from_utf8(first.stdout).unwrap();
    let cause = "tensor model.layers.0.self_attn.q_proj.weight: ";
    assert!(table.contains("palette1-unique") && table.contains(cause), "{table}");
    let records = place.records();
    let count = |kind: &str| records.matches(&format!("\"kind\":\"{kind}\"")).count();
    assert_eq!((count("cell"), count("done"), count("failure"), count("window")), (4, 3, 1, 18));
    let second = run(&mut place.sweep(&args), 1);
    let said = told(&second);
    assert!(said.starts_with("everything was already measured, in reports/"), "{said}");
    assert_eq!(String::from_utf8(second.stdout).unwrap(), table);
    assert!(place.records() == records);
}

/// Weights that are finite, but too large for any product of them to be.
fn overflowing() -> Place {
    let place = Place::new(&Tiny::default(), 100);
    let mut tensors = Tiny::default().tensors();
    let name = "model.layers.1.mlp.down_proj.weight";
    let down = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
    (0..6144).for_each(|at| down.poke(at, if at % 3 == 0 { 3e38 } else { -3e38 }));
    write_checkpoint(&place.model(), &Tiny::default().config(), &tensors);
    place
}

#[test]
fn a_model_whose_numbers_overflow_is_a_failure_and_not_a_number() {
    let args = ["--recipes", "palette4", "--format", "json"];
    let mut found = Vec::new();
    for windows in [1, 3, 6] {
        let place = overflowing();
        let budget = place.budget(windows, &["--recipes", "palette4"]);
        let output = run(place.sweep(&args).args(["--memory", &budget]), 1);
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(table.contains("window 0: the negative log-likelihood is NaN"), "{table}");
        assert!(table.contains("beyond fp16"), "{table}");
        assert!(!place.records().contains("\"kind\":\"done\""));
        found.push((place.records(), table));
    }
    assert!(found[0] == found[1] && found[1] == found[2], "batches differ");
}

#[cfg(target_os = "linux")]
#[test]
fn a_reader_of_stderr_that_has_gone_stops_nothing() {
    let place = Place::new(&Tiny::default(), 40);
    let mut command = place.sweep(&["--recipes", "palette4"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stderr(full).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("palette4"));
}
