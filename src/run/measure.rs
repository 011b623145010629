//! Measures packages on devices, for `bench` and `sweep --device`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::observer::{Observer, Stage};
use crate::device::bench::{Prepared, Question, measure};
use crate::device::client::{Options, Target, Token};
use crate::device::protocol::message::ComputeUnits;
use crate::device::transport::usbmux;
use crate::error::{Error, Exit, Result};
use crate::package::bundle::{Bundle, ComputeUnits as Wanted};
use crate::results::Environment;
use crate::results::measurement::{Measurement, Measurements, Method};

/// How packages are measured.
#[derive(Debug, Clone)]
pub struct MeasureOptions {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens that are generated per repetition.
    pub generate: usize,
    /// Undisturbed repetitions to record per package and device.
    pub repetitions: usize,
    /// Time of continuous decoding afterwards, which shows how speed declines.
    pub sustained: Option<Duration>,
    /// Longest wait for a device to cool down, come to the foreground and leave low-power mode.
    pub wait: Duration,
    /// The compute units that packages may use; `None` leaves that to the packages.
    pub compute_units: Option<ComputeUnits>,
    /// Token that the runner was started with; by default the one saved when the app was installed.
    pub token: Option<Token>,
    /// Token for a runner of which none is saved.
    pub fallback_token: Option<Token>,
}

/// A folder of packages to be measured, and the cell of a sweep that it was written for.
#[derive(Debug)]
pub struct Folder {
    pub path: PathBuf,
    pub cell_id: Option<String>,
}

/// Everything that a measurement needs besides the packages.
pub struct Setting<'a> {
    pub options: &'a MeasureOptions,
    pub targets: &'a [Target],
    /// Gives token ids for a number of tokens and a vocabulary size.
    pub text: &'a dyn Fn(usize, usize) -> Result<Vec<u32>>,
    pub observer: &'a dyn Observer,
}

impl MeasureOptions {
    /// The method for a prompt of these ids on these compute units.
    fn method(&self, prompt: &[u32], units: ComputeUnits) -> Result<Method> {
        if self.prompt_tokens == 0 || self.generate < 2 || self.repetitions == 0 {
            return Err(Error::input(
                "expected at least 1 prompt token, 2 generated tokens and 1 repetition",
            ));
        }
        let bytes: Vec<u8> = prompt.iter().flat_map(|id| id.to_le_bytes()).collect();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let method = Method {
            method_id: String::new(),
            prompt_tokens: prompt.len(),
            prompt_hash: blake3::hash(&bytes).to_hex().to_string(),
            tokens: self.generate,
            repetitions: self.repetitions,
            sustained_ms: self.sustained.map_or(0, millis),
            wait_ms: millis(self.wait),
            compute_units: units_name(units).into(),
            evalkit_version: env!("CARGO_PKG_VERSION").into(),
            binary_hash: Environment::probe("cpu").binary_hash,
        };
        // A run with more repetitions or a longer wait continues the same measurement.
        let identity = Method { repetitions: 0, wait_ms: 0, ..method.clone() };
        let bytes = serde_json::to_vec(&identity)
            .map_err(|e| Error::bug("cannot write the method as JSON").because(e))?;
        Ok(Method { method_id: blake3::hash(&bytes).to_hex()[..16].to_string(), ..method })
    }
}

impl Setting<'_> {
    /// Measures the packages in `folders` on every device, appends to the measurements in the folder
    /// `run`, and returns all of them.
    ///
    /// # Errors
    /// Input errors of packages and arguments, surroundings errors of the disk, interruption.
    pub fn measure(&self, run: &Path, folders: &[Folder]) -> Result<Vec<Measurement>> {
        let stage = Stage::new("preparing", self.observer);
        let mut prepared = Vec::new();
        for (at, folder) in folders.iter().enumerate() {
            stage.step(at as u64, folders.len() as u64)?;
            prepared.push(Prepared::of(&folder.path, folder.cell_id.clone(), self.text)?);
        }
        drop(stage);
        let vocabulary = prepared.iter().map(|one| one.vocab_size).min().unwrap_or(0);
        let prompt = (self.text)(self.options.prompt_tokens, vocabulary)?;
        let units = self.units(folders)?;
        let method = self.options.method(&prompt, units)?;
        let needed_tokens = method.prompt_tokens + method.tokens;
        for (one, folder) in prepared.iter().zip(folders) {
            if one.context_tokens < needed_tokens {
                return Err(Error::input(format!(
                    "the cache holds {} tokens, but prompt and generated tokens need {needed_tokens}",
                    one.context_tokens
                ))
                .at(folder.path.display())
                .hint("measure fewer with --prompt-tokens and --generate"));
            }
        }
        let mut file = Measurements::open(run)?;
        self.begin(&mut file, &method, &prepared)?;
        let question = Question {
            method: &method,
            units,
            may_narrow: self.options.compute_units.is_none(),
            prompt: &prompt,
            subjects: &prepared,
            now: &crate::results::now,
        };
        for target in self.targets {
            self.on(target, &question, &mut file)?;
        }
        Ok(file.all().to_vec())
    }

    /// The compute units that were asked for, or those that all packages are to be run on: the same for
    /// all, so that they can be compared.
    fn units(&self, folders: &[Folder]) -> Result<ComputeUnits> {
        if let Some(units) = self.options.compute_units {
            return Ok(units);
        }
        for folder in folders {
            let model = Bundle::open(&folder.path)?.manifest.model;
            if model.compute_units == Wanted::CpuAndGpu {
                self.observer.message(&format!(
                    "{} is reported to fail on the Neural Engine: measuring with --compute-units \
                     cpu-and-gpu",
                    folder.path.display()
                ));
                return Ok(ComputeUnits::CpuAndGpu);
            }
        }
        Ok(ComputeUnits::All)
    }

    /// Records method and packages if they are new.
    fn begin(&self, file: &mut Measurements, method: &Method, all: &[Prepared]) -> Result<()> {
        let last = file.all().iter().rev().find_map(|one| match one {
            Measurement::Method(method) => Some(method.clone()),
            _ => None,
        });
        if last.as_ref() != Some(method) {
            file.append(Measurement::Method(method.clone()))?;
        }
        for one in all {
            let subject = Measurement::Subject(one.subject.clone());
            if !file.all().contains(&subject) {
                file.append(subject)?;
            }
        }
        Ok(())
    }

    fn on(&self, target: &Target, question: &Question<'_>, file: &mut Measurements) -> Result<()> {
        let stage = Stage::new(target.to_string(), self.observer);
        let options = Options {
            token: self.options.token.clone(),
            fallback_token: self.options.fallback_token.clone(),
            stop: self.observer.stop_flag().unwrap_or_default(),
            ..Options::default()
        };
        measure(question, target, &options, file, &mut |done, total| {
            stage.set(done as u64, total as u64);
        })?;
        stage.check_stop()
    }
}

/// The single targets that `devices` stand for.
///
/// # Errors
/// Surroundings errors: a phone that is not connected.
pub fn targets(devices: &[Target]) -> Result<Vec<Target>> {
    let wants_phones = devices.iter().any(|one| matches!(one, Target::Usb(_) | Target::All));
    let udids = if wants_phones { usbmux::phones() } else { Ok(Vec::new()) };
    let udids: Vec<String> = match udids {
        Ok(attached) => attached.into_iter().map(|one| one.udid).collect(),
        // Without usbmuxd no phone can be found, and `all` means this machine.
        Err(_) if !devices.iter().any(|one| matches!(one, Target::Usb(_))) => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for device in devices {
        for target in device.expand(&udids)? {
            if !found.contains(&target) {
                found.push(target);
            }
        }
    }
    Ok(found)
}

/// The exit code of a run's measurements: *no* if a device computes another model, *surroundings* if
/// no repetition was recorded.
pub fn verdict(all: &[Measurement]) -> Exit {
    let mut reached = false;
    let mut wrong = false;
    for one in all {
        match one {
            Measurement::Repetition(_) => reached = true,
            Measurement::CorrectnessCheck(check) => {
                wrong |= !check.holds && !is_simulated(all, &check.device)
            }
            _ => {}
        }
    }
    match (reached, wrong) {
        (_, true) => Exit::No,
        (false, false) => Exit::Surroundings,
        (true, false) => Exit::Done,
    }
}

fn is_simulated(all: &[Measurement], device: &str) -> bool {
    all.iter().any(|one| match one {
        Measurement::Device(seen) => seen.device == device && seen.description.simulated,
        _ => false,
    })
}

/// The names of compute units.
pub const UNITS: [(&str, ComputeUnits); 4] = [
    ("cpu", ComputeUnits::Cpu),
    ("cpu-and-gpu", ComputeUnits::CpuAndGpu),
    ("cpu-and-neural-engine", ComputeUnits::CpuAndNeuralEngine),
    ("all", ComputeUnits::All),
];

fn units_name(units: ComputeUnits) -> &'static str {
    UNITS.iter().find(|(_, own)| *own == units).map_or("all", |(name, _)| name)
}
