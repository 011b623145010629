//! A model that is fine in f32 and overflows fp16 on a phone is never called fine.
#![allow(clippy::unwrap_used)]

use crate::fixtures::{Place, Tiny, run, told, write_checkpoint};

/// The tiny model with the up projection of block 1 scaled up and its down projection scaled down by
/// the same power of two: every logit is the same in f32, but values between them pass 65504.
fn overflowing() -> Place {
    let tiny = Tiny::default();
    let place = Place::new(&tiny, 100);
    let mut tensors = tiny.tensors();
    for (name, factor) in [("up_proj", 4096.0), ("down_proj", 1.0 / 4096.0)] {
        let name = format!("model.layers.1.mlp.{name}.weight");
        let tensor = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
        for at in 0..tensor.bytes.len() / 4 {
            let bytes = tensor.bytes[4 * at..4 * at + 4].try_into().unwrap();
            // Values of some size, so that the projection's do not depend on the random weights.
            let value = f32::from_le_bytes(bytes) + if name.contains("up") { 4.0 } else { 0.0 };
            tensor.poke(at, value * factor);
        }
    }
    write_checkpoint(&place.model(), &tiny.config(), &tensors);
    place
}

const BEYOND: &str = "layer 1: the up projection reach";

#[test]
fn a_sweep_names_the_layer_that_overflows_and_is_red_if_it_packages() {
    let place = overflowing();
    let scored = run(&mut place.sweep(&["--recipes", "palette4", "--format", "markdown"]), 0);
    let page = String::from_utf8(scored.stdout).unwrap();
    assert!(page.contains("palette4 overflows fp16 on") && page.contains(BEYOND), "{page}");
    let records = place.records();
    assert_eq!(records.matches("fp16_overflow").count(), 2 * 6, "every window of both");
    let again = run(&mut place.sweep(&["--recipes", "palette4", "--package"]), 1);
    let page = String::from_utf8(again.stdout).unwrap();
    assert!(page.contains(BEYOND), "{page}");
}

#[test]
fn packages_of_a_model_that_overflows_are_refused_by_package_and_verify() {
    let place = overflowing();
    let packaged = ["package", "-m", "model", "--recipe", "palette4", "-o", "packages"];
    let said = told(&run(&mut place.evalkit(&packaged), 1));
    assert!(said.contains(BEYOND), "{said}");
    let verified = run(&mut place.evalkit(&["verify", "packages", "-m", "model"]), 1);
    let page = String::from_utf8(verified.stdout).unwrap();
    assert!(page.contains("fp16") && page.contains(BEYOND), "{page}");
}

#[test]
fn a_model_within_the_range_is_recorded_as_before() {
    let place = Place::new(&Tiny::default(), 100);
    let scored = run(&mut place.sweep(&["--recipes", "palette4", "--package"]), 0);
    assert!(!String::from_utf8(scored.stdout).unwrap().contains("fp16 on"));
    assert!(!place.records().contains("fp16_overflow"));
}
