//! What a runner says of itself and of what it measured: sent by the runner protocol
//! (`device-runner/PROTOCOL.md`), kept as it came in records.

use serde::{Deserialize, Serialize};

/// What a runner is, and where it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The runner's name and version.
    pub runner: String,
    /// `core-ml`, `evalkit-cpu` or `simulated`.
    pub engine: String,
    /// What computes, with its version where known: `Core ML`.
    pub runtime: String,
    /// Whether nothing that it says is a measurement.
    pub simulated: bool,
    /// The device.
    pub device: Device,
    /// Free bytes of its disk.
    pub free_bytes: Option<u64>,
    /// Memory that the process may use, read live.
    pub memory_limit_bytes: Option<u64>,
    /// Values of `compute_units` that it takes.
    pub compute_units: Vec<ComputeUnits>,
    /// Its state now.
    pub figures: Figures,
}

/// A device, as it names itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `iPhone14,2`, `Mac15,3`, `x86_64`.
    pub model_identifier: String,
    /// Its name, where it tells.
    pub name: Option<String>,
    /// Its processor, where it tells.
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

/// What the system says at a moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Since the job's start.
    pub at_ms: f64,
    /// `phys_footprint`; on Linux RssAnon.
    pub footprint_bytes: Option<u64>,
    /// Its peak in this process's life.
    pub footprint_peak_bytes: Option<u64>,
    /// Memory of the Neural Engine that the footprint leaves out.
    pub neural_bytes: Option<u64>,
    /// What the process may still take.
    pub available_bytes: Option<u64>,
    /// Heat.
    pub thermal: Option<Thermal>,
    /// Whether low-power mode is on.
    pub low_power: Option<bool>,
    /// Charge; steps of about 5 on a phone.
    pub battery_percent: Option<f64>,
    /// Whether it charges.
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

/// Where power comes from.
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
    /// From compiled files to a model that can be asked.
    pub load_ms: f64,
    /// Compilation, where something was compiled.
    pub compile_ms: Option<f64>,
    /// Whether this store never loaded it before with these units under this system.
    pub first: bool,
    /// Functions of the packages.
    pub functions: Vec<String>,
    /// Tokens that the cache holds.
    pub context_tokens: usize,
    /// Tokens that `prefill` takes at a time.
    pub prefill_tokens: usize,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Before it.
    pub before: Figures,
    /// After it.
    pub after: Figures,
    /// During it.
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
    /// From the request's arrival to the first token's choice.
    pub ttft_ms: f64,
    /// From each token's choice to the next: one fewer than `ids`.
    pub token_ms: Vec<f64>,
    /// Before it.
    pub before: Figures,
    /// After it.
    pub after: Figures,
    /// During it.
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

/// What the system expects to compute where.
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
    /// Where it is expected to run; nothing where the system does not say.
    pub preferred: Option<ComputeDevice>,
    /// Where it could.
    pub supported: Vec<ComputeDevice>,
    /// Its share of the cost, where the system estimates one.
    pub cost_weight: Option<f64>,
}

/// A unit that computes.
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

/// Where a package may compute, as `MLComputeUnits` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeUnits {
    /// The processor.
    Cpu,
    /// Processor and GPU.
    CpuAndGpu,
    /// Processor and Neural Engine.
    CpuAndNeuralEngine,
    /// Whatever the system prefers.
    All,
}
