//! The range of every number in a measurement.

use super::{CorrectnessCheck, Measurement};
use crate::error::Result;
use crate::results::ranges::{
    MOST, MOST_GB_PER_S, MOST_MS, MOST_TOKENS, count, distance, millis, number,
};
use crate::results::runner::{Figures, Generated, Loaded};

/// Refuses (input) a measurement with an impossible number.
pub fn check_measurement(measurement: &Measurement) -> Result<()> {
    match measurement {
        Measurement::Subject(subject) => {
            count("size_bytes", subject.size_bytes, MOST)?;
            let read = subject.weight_bytes_per_token;
            number("weight_bytes_per_token", read, 0.0, MOST as f64)
        }
        Measurement::Device(seen) => {
            let speed = seen.bandwidth_gb_per_s.unwrap_or(0.0);
            number("bandwidth_gb_per_s", speed, 0.0, MOST_GB_PER_S)?;
            check_figures(&seen.description.figures)
        }
        Measurement::Sent(sent) => {
            count("sent_bytes", sent.sent_bytes, MOST)?;
            count("held_bytes", sent.held_bytes, MOST)?;
            millis("elapsed_ms", sent.elapsed_ms)
        }
        Measurement::Load(load) => load.loaded.iter().try_for_each(check_loaded),
        Measurement::Repetition(one) => {
            millis("sustained_at_ms", one.sustained_at_ms.unwrap_or(0.0))?;
            one.generated.iter().try_for_each(check_generated)
        }
        Measurement::CorrectnessCheck(check) => {
            let CorrectnessCheck { tokens, kl_nats, worst_kl_nats, top1_agree, .. } = check;
            distance(*tokens, *kl_nats, *worst_kl_nats, *top1_agree)
        }
        Measurement::Plan(plan) => {
            let shares = [plan.neural_engine, plan.gpu, plan.cpu];
            // Costs are added up in some order, so that shares may exceed 1 by rounding.
            shares.into_iter().flatten().try_for_each(|share| number("a share", share, 0.0, 1.001))
        }
        Measurement::DecodeAlone(alone) => {
            check_loaded(&alone.loaded).and(check_generated(&alone.generated))
        }
        Measurement::Method(_) | Measurement::FailedStep(_) => Ok(()),
    }
}

/// Refuses (input) a load with an impossible number.
pub fn check_loaded(loaded: &Loaded) -> Result<()> {
    millis("load_ms", loaded.load_ms)?;
    millis("compile_ms", loaded.compile_ms.unwrap_or(0.0))?;
    let all = loaded.samples.iter().chain([&loaded.before, &loaded.after]);
    all.into_iter().try_for_each(check_figures)
}

/// Refuses (input) a generation with an impossible number.
pub fn check_generated(generated: &Generated) -> Result<()> {
    count("prompt_tokens", generated.prompt_tokens as u64, MOST_TOKENS)?;
    millis("ttft_ms", generated.ttft_ms)?;
    generated.token_ms.iter().try_for_each(|time| millis("a value of token_ms", *time))?;
    let all = generated.samples.iter().chain([&generated.before, &generated.after]);
    all.into_iter().try_for_each(check_figures)
}

fn check_figures(figures: &Figures) -> Result<()> {
    number("at_ms", figures.at_ms, -MOST_MS, MOST_MS)?;
    let bytes = [
        ("footprint_bytes", figures.footprint_bytes),
        ("footprint_peak_bytes", figures.footprint_peak_bytes),
        ("neural_bytes", figures.neural_bytes),
        ("neural_peak_bytes", figures.neural_peak_bytes),
    ];
    bytes.into_iter().try_for_each(|(name, bytes)| count(name, bytes.unwrap_or(0), MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::RunFolder;
    use crate::results::head::to_line;
    use crate::results::measurement::{MEASUREMENTS, Measurements};

    #[test]
    fn a_measurement_with_an_impossible_number_is_neither_written_nor_read() {
        use crate::results::measurement::Repetition;
        let folder = tempfile::tempdir().unwrap();
        let repetition = |ttft_ms: f64, token_ms: Vec<f64>| {
            let generated = Some(Generated { ttft_ms, token_ms, ..Generated::default() });
            Measurement::Repetition(Repetition { generated, ..Repetition::default() })
        };
        let wrong = [
            repetition(-1.0, vec![]),
            repetition(1e200, vec![]),
            repetition(f64::NAN, vec![]),
            repetition(1.0, vec![1.0, -5.0]),
            Measurement::CorrectnessCheck(CorrectnessCheck { top1_agree: 1, ..Default::default() }),
        ];
        for one in wrong {
            let mut file = Measurements::open(folder.path()).unwrap();
            assert_eq!(file.append(one.clone()).unwrap_err().exit().code(), 2, "{one:?}");
            drop(file);
            let line = to_line(&one, "a measurement").unwrap();
            std::fs::write(folder.path().join(MEASUREMENTS), format!("{line}\n{line}\n")).unwrap();
            let error = RunFolder::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("measurements.jsonl: line 1: "), "{error}");
            std::fs::remove_file(folder.path().join(MEASUREMENTS)).unwrap();
        }
    }
}
