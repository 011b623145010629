//! Tests of the operations on the CPU.

use candle_core::Device;

use super::*;

/// Bound on the relative error of [`exp`]: two units in the last place.
const EXP_RELATIVE: f64 = 2.4e-7;

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    for i in -870_000..=880_000 {
        let x = i as f32 * 1e-4;
        let truth = f64::from(x).exp();
        let error = (f64::from(exp(x)) - truth).abs() / truth;
        assert!(error < EXP_RELATIVE, "exp({x}) is off by {error:e}");
    }
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(-1000.0), 0.0);
    assert_eq!(exp(f32::NEG_INFINITY), 0.0);
}

fn weights(mask: &AttentionMask) -> Vec<Vec<Vec<f32>>> {
    let scores = Tensor::zeros((2, 3, 5), DType::F32, &Device::Cpu).unwrap();
    masked_softmax(scores, mask).unwrap().to_vec3().unwrap()
}

#[test]
fn a_query_sees_no_later_key_and_none_before_its_window() {
    let mask = AttentionMask { scale: 0.5, first: 2, window: None, sinks: None };
    for head in &weights(&mask) {
        assert_eq!(head[0], [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
        assert_eq!(head[2], [0.2; 5]);
    }
    for head in &weights(&AttentionMask { window: Some(2), ..mask }) {
        assert_eq!(head[0], [0.0, 0.5, 0.5, 0.0, 0.0]);
        assert_eq!(head[2], [0.0, 0.0, 0.0, 0.5, 0.5]);
    }
}

#[test]
fn a_sink_takes_its_share_of_attention() {
    let sinks = Some(vec![0.0, 2f32.ln()]);
    let mask = AttentionMask { scale: 1.0, first: 2, window: Some(1), sinks };
    let weights = weights(&mask);
    assert!((weights[0][1][3] - 0.5).abs() < 1e-6);
    assert!((weights[1][1][3] - 1.0 / 3.0).abs() < 1e-6);
}
