//! What was measured on devices, one JSON object per line in `measurements.jsonl`: raw times and
//! figures as runners sent them, and what became of every attempt. Unlike records they never repeat,
//! so they have a file of their own. Medians and rates are derived when a report is made.

mod check;
mod file;

use serde::{Deserialize, Serialize};

pub(crate) use self::check::{check_generated, check_loaded, check_measurement};
pub(super) use self::file::read_into;
pub use self::file::{MEASUREMENTS, Measurements};
use super::finite;
use super::runner::{Description, Generated, Loaded};

/// One line of the file; in JSON, `kind` says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Measurement {
    /// How is measured. Later lines belong to the last method before them.
    Method(Method),
    /// A package that is measured.
    Subject(Subject),
    /// A device as it described itself when a session began.
    Device(SeenDevice),
    /// A package that was sent.
    Sent(Sent),
    /// An attempt to load a package.
    Load(Load),
    /// An attempt to continue a prompt.
    Repetition(Repetition),
    /// Whether a device computes what this machine computes from the same bytes.
    #[serde(alias = "truth")]
    CorrectnessCheck(CorrectnessCheck),
    /// Where the system expects operations to run.
    Plan(PlanShare),
    /// The memory of a package whose `decode` alone is loaded.
    DecodeAlone(Box<DecodeAlone>),
    /// A step before any measurement that failed.
    #[serde(alias = "trouble")]
    FailedStep(FailedStep),
}

/// How packages are measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Method {
    /// Hash of the other fields, in hexadecimal; measurements of equal methods can be combined.
    pub method_id: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Hash of the prompt's ids, in hexadecimal.
    pub prompt_hash: String,
    /// Tokens that are generated.
    pub tokens: usize,
    /// Repetitions that must be kept per package and device.
    pub repetitions: usize,
    /// Length of the sustained measurement; 0 for none.
    pub sustained_ms: u64,
    /// The longest wait for a device to cool down.
    pub wait_ms: u64,
    /// Where packages may compute.
    pub compute_units: String,
    /// The program's version.
    pub evalkit_version: String,
    /// Hash of the running program, in hexadecimal.
    pub binary_hash: String,
}

/// A package that is measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The package's name: the hash of its files (`device-runner/PROTOCOL.md`).
    pub package: String,
    /// The variant, as its `model.json` names it.
    pub variant: String,
    /// The cell of a sweep that it was written for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_id: Option<String>,
    /// The model's name.
    pub model: String,
    /// Hash of the checkpoint.
    pub model_hash: String,
    /// What it is made for: `ios18 gpu`.
    pub design: String,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// The least bytes of weights that decoding a token reads.
    pub weight_bytes_per_token: f64,
    /// Function calls that decoding a token takes.
    pub calls_per_token: usize,
}

/// A device that answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenDevice {
    /// How it was reached, which is also its name here: `host`, `usb:<udid>`.
    pub device: String,
    /// When (RFC 3339).
    pub seen: String,
    /// Its own description.
    pub description: Description,
    /// Its name in the table of devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marketing_name: Option<String>,
    /// Memory bandwidth from the table of devices, in GB/s; predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_gb_per_s: Option<f64>,
    /// How reliable that number is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_confidence: Option<String>,
}

/// A transfer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// The device.
    pub device: String,
    /// The package.
    pub package: String,
    /// Bytes that went over the connection.
    pub sent_bytes: u64,
    /// Bytes that the device already had.
    pub held_bytes: u64,
    /// How often the connection was lost meanwhile.
    pub cuts: u32,
    /// From the first request until the package was stored.
    pub elapsed_ms: f64,
}

/// What became of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// It counts.
    #[default]
    Kept,
    /// It was made to warm up and does not count.
    WarmUp,
    /// It ended, but its conditions disturbed it; another attempt replaces it.
    Rejected {
        /// What disturbed it.
        reason: String,
    },
    /// It did not begin.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// The runner's process ended during it.
    Killed {
        /// What is known.
        reason: String,
    },
    /// The device could not be reached any more.
    Gone {
        /// What is known.
        reason: String,
    },
    /// The runner refused, or failed.
    Failed {
        /// Its own words.
        reason: String,
    },
}

impl AttemptOutcome {
    /// How it ended and why, if it was meant to count and does not.
    pub fn reason(&self) -> Option<(&'static str, &str)> {
        match self {
            AttemptOutcome::Kept | AttemptOutcome::WarmUp => None,
            AttemptOutcome::Rejected { reason } => Some(("rejected", reason)),
            AttemptOutcome::NotStarted { reason } => Some(("not started", reason)),
            AttemptOutcome::Killed { reason } => Some(("killed", reason)),
            AttemptOutcome::Gone { reason } => Some(("gone", reason)),
            AttemptOutcome::Failed { reason } => Some(("failed", reason)),
        }
    }
}

/// Which attempt this is, and of what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The method.
    pub method_id: String,
    /// The device.
    pub device: String,
    /// The package.
    pub package: String,
    /// Which visit of the device to the package; a visit loads the package anew, and packages take
    /// turns.
    pub visit: usize,
    /// The runner's job.
    pub job: String,
    /// How often the job was started.
    pub attempts: u32,
    /// Whether the answer came from the runner's journal after a lost connection.
    pub replayed: bool,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: AttemptOutcome,
}

/// An attempt to load a package.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The attempt.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// Whether the runner's process was started for it.
    pub fresh_process: bool,
    /// What the runner measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Loaded>,
}

/// An attempt to continue a prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Repetition {
    /// The attempt.
    #[serde(flatten)]
    pub attempt: Attempt,
    /// Time since the start of a sustained measurement; `None` outside one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sustained_at_ms: Option<f64>,
    /// What the runner measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
}

/// A device's predictions compared with this machine's, from the same bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CorrectnessCheck {
    /// The device.
    pub device: String,
    /// The package.
    pub package: String,
    /// Whether the device computes the model.
    pub holds: bool,
    /// What is wrong; empty if it does.
    #[serde(default)]
    pub what: String,
    /// Predictions that were compared.
    pub tokens: usize,
    /// Sum over them of the KL divergence from this machine's; `None` if it is not finite.
    #[serde(default, deserialize_with = "finite::option")]
    pub kl_nats: Option<f64>,
    /// The largest KL divergence of a prediction; `None` if it is not finite.
    #[serde(default, deserialize_with = "finite::option")]
    pub worst_kl_nats: Option<f64>,
    /// Predictions whose most likely token is the same.
    pub top1_agree: usize,
    /// Largest difference between two logits; `None` if it is not finite.
    #[serde(default, deserialize_with = "finite::option")]
    pub max_logit_difference: Option<f64>,
    /// Sum of the negative log-likelihoods on the device; `None` if it is not finite.
    #[serde(default, deserialize_with = "finite::option")]
    pub device_nll_nats: Option<f64>,
    /// Sum of the negative log-likelihoods on this machine; `None` if it is not finite.
    #[serde(default, deserialize_with = "finite::option")]
    pub host_nll_nats: Option<f64>,
}

/// Where the system expects operations to run: shares of the estimated cost; predicted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanShare {
    /// The device.
    pub device: String,
    /// The package.
    pub package: String,
    /// Share of the Neural Engine; `None` if the system estimates no cost.
    pub neural_engine: Option<f64>,
    /// Share of the GPU.
    pub gpu: Option<f64>,
    /// Share of the CPU.
    pub cpu: Option<f64>,
    /// Operations for which the system names a compute device.
    pub operations: usize,
    /// Operations for which it names none, mostly constants.
    pub unassigned: usize,
}

/// A package whose `decode` alone is loaded, and a few tokens that it generated. Its figures beside
/// those of both functions show whether a system holds shared weights twice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DecodeAlone {
    /// The method.
    pub method_id: String,
    /// The device.
    pub device: String,
    /// The package.
    pub package: String,
    /// Whether the runner's process was started for it; if not, peaks include what was loaded before.
    pub fresh_process: bool,
    /// The load.
    pub loaded: Loaded,
    /// The generation.
    pub generated: Generated,
}

impl DecodeAlone {
    /// The largest footprint; without earlier packages only in a fresh process.
    pub fn footprint_peak_bytes(&self) -> Option<u64> {
        let load = self.loaded.samples.iter().chain([&self.loaded.after]);
        let all = load.chain(&self.generated.samples).chain([&self.generated.after]);
        all.map(|now| now.footprint_peak_bytes.max(now.footprint_bytes)).max().flatten()
    }
}

/// A step before any measurement that failed: reaching a device, sending, scoring, planning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedStep {
    /// The device.
    pub device: String,
    /// The package; `None` if the step concerns the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// `reach`, `send`, `score`, `plan` or `decode alone`.
    pub step: String,
    /// What is known, and what to do about it.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_of_an_earlier_version_is_read_and_its_sentinel_is_none() {
        let line = r#"{"kind":"truth","device":"host","package":"p","holds":false,"what":"wrong",
            "tokens":1,"kl_nats":1.7976931348623157e308,"worst_kl_nats":0.5,"top1_agree":0,
            "max_logit_difference":1.0,"device_nll_nats":2.0,"host_nll_nats":3.0}"#;
        let read: Measurement = serde_json::from_str(line).unwrap();
        let Measurement::CorrectnessCheck(check) = &read else { panic!("{read:?}") };
        assert_eq!((check.kl_nats, check.worst_kl_nats), (None, Some(0.5)));
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(
            (&written["kind"], &written["kl_nats"]),
            (&"correctness_check".into(), &().into())
        );
        assert_eq!(serde_json::from_value::<Measurement>(written).unwrap(), read);
    }
}
