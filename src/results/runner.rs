//! How a runner describes itself and what it measured: sent by the runner protocol
//! (`device-runner/PROTOCOL.md`) and kept unchanged in records.

use serde::{Deserialize, Serialize};

/// What a runner is, and where it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The runner's name and version.
    pub runner: String,
    /// `core-ml`, `evalkit-cpu` or `simulated`.
    pub engine: String,
    /// The software that computes, with its version if known: `Core ML`.
    pub runtime: String,
    /// Whether it only simulates: none of its numbers is a measurement.
    pub simulated: bool,
    /// The device.
    pub device: Device,
    /// Free bytes on its disk.
    pub free_bytes: Option<u64>,
    /// Memory that the process may use, as the system reports it now.
    pub memory_limit_bytes: Option<u64>,
    /// Values of `compute_units` that it accepts.
    pub compute_units: Vec<ComputeUnits>,
    /// Its state now.
    pub figures: Figures,
}

impl Description {
    /// Whether two descriptions are of one kind of runner on one kind of machine, so that their times
    /// can be put together.
    pub fn is_same_origin(&self, other: &Description) -> bool {
        self.simulated == other.simulated
            && self.device.model_identifier == other.device.model_identifier
            && self.engine == other.engine
    }

    /// Whether what one runner computed says what the other computes: neither it nor the system was
    /// replaced.
    pub fn is_same_runner(&self, other: &Description) -> bool {
        let (own, others) = (&self.device, &other.device);
        self.is_same_origin(other)
            && (&self.runner, &self.runtime) == (&other.runner, &other.runtime)
            && (&own.os, &own.os_build, &own.chip) == (&others.os, &others.os_build, &others.chip)
    }
}

/// A device, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `iPhone14,2`, `Mac15,3`, `x86_64`.
    pub model_identifier: String,
    /// Its name, if it reports one.
    pub name: Option<String>,
    /// Its processor, if it reports it.
    pub chip: Option<String>,
    /// Operating system with version.
    pub os: String,
    /// The system's build.
    pub os_build: Option<String>,
    /// Physical memory.
    pub memory_bytes: Option<u64>,
    /// Processor cores.
    pub processors: Option<u32>,
}

/// What the system reports at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Time since the job's start.
    pub at_ms: f64,
    /// `phys_footprint`; on Linux `RssAnon`.
    pub footprint_bytes: Option<u64>,
    /// Its peak since the process started.
    pub footprint_peak_bytes: Option<u64>,
    /// Memory of the Neural Engine that the footprint does not include.
    pub neural_bytes: Option<u64>,
    /// Its peak since the process started; from iOS 26 and macOS 26 on.
    pub neural_peak_bytes: Option<u64>,
    /// Memory that the process may still allocate.
    pub available_bytes: Option<u64>,
    /// The thermal state.
    pub thermal: Option<Thermal>,
    /// Whether low-power mode is on.
    pub low_power: Option<bool>,
    /// Battery charge, in steps of about 5 on a phone.
    pub battery_percent: Option<f64>,
    /// The source of power.
    pub power: Option<Power>,
    /// Whether the app is in the foreground.
    pub foreground: Option<bool>,
}

/// `ProcessInfo.ThermalState`, coolest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thermal {
    /// Within limits.
    Nominal,
    /// Slightly elevated.
    Fair,
    /// High: the system slows things down.
    Serious,
    /// Too high.
    Critical,
}

/// The source of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// A cable.
    Plugged,
    /// The battery.
    Unplugged,
}

/// A model that was loaded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// Time from compiled files to a model that is ready.
    pub load_ms: f64,
    /// Time to compile; `None` if nothing was compiled.
    pub compile_ms: Option<f64>,
    /// Whether this is its first load from this store with these compute units on this system.
    pub first: bool,
    /// Functions of the packages.
    pub functions: Vec<String>,
    /// Tokens that the cache holds.
    pub context_tokens: usize,
    /// Tokens that one call of `prefill` takes.
    pub prefill_tokens: usize,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// The system's figures before.
    pub before: Figures,
    /// The system's figures after.
    pub after: Figures,
    /// The system's figures meanwhile.
    #[serde(default)]
    pub samples: Vec<Figures>,
}

/// A prompt that was continued.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// The tokens that were chosen.
    pub ids: Vec<u32>,
    /// Time from the arrival of the request to the choice of the first token.
    pub ttft_ms: f64,
    /// Times from the choice of each token to that of the next: one fewer than `ids`.
    pub token_ms: Vec<f64>,
    /// The system's figures before.
    pub before: Figures,
    /// The system's figures after.
    pub after: Figures,
    /// The system's figures meanwhile.
    #[serde(default)]
    pub samples: Vec<Figures>,
}

/// A text that was scored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Negative log-likelihood of each token but the first.
    pub nll_nats: Vec<f64>,
    /// Positions whose logits were sent.
    pub positions: Vec<u32>,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
}

/// Where the system expects to run each operation (`MLComputePlan`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ComputePlan {
    /// Every operation of every function.
    pub operations: Vec<Operation>,
}

/// An operation of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// The package's folder.
    pub package: String,
    /// The function.
    pub function: String,
    /// The operator.
    pub operator: String,
    /// Where it is expected to run; `None` if the system does not say.
    pub preferred: Option<ComputeDevice>,
    /// Where it could run.
    pub supported: Vec<ComputeDevice>,
    /// Its share of the cost; `None` if the system estimates none.
    pub cost_weight: Option<f64>,
}

/// A device that computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeDevice {
    /// The processor.
    Cpu,
    /// The GPU.
    Gpu,
    /// The Neural Engine.
    NeuralEngine,
}

/// Where a package may compute, as in `MLComputeUnits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeUnits {
    /// The processor.
    Cpu,
    /// Processor and GPU.
    CpuAndGpu,
    /// Processor and Neural Engine.
    CpuAndNeuralEngine,
    /// Any device; the system chooses.
    All,
}
