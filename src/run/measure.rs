//! Measures packages on devices, for `bench` and `sweep --device`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::observer::{Observer, Stage};
use crate::compare::on_device::{DeviceRow, DeviceRows, OnDevices};
use crate::device::bench::{Prepared, Question, measure};
use crate::device::client::{Options, Target, Token};
use crate::device::protocol::message::ComputeUnits;
use crate::device::transport::usbmux;
use crate::error::{At, Error, Exit, Result};
use crate::package::bundle::{Bundle, ComputeUnits as Wanted};
use crate::results::Environment;
use crate::results::measurement::{FailedStep, Measurement, Measurements, Method};

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

/// What a run has measured on devices.
#[derive(Debug)]
pub struct Measured {
    /// Everything in the run's folder, including what other invocations measured.
    pub all: Vec<Measurement>,
    /// The exit code of this invocation: *no* if a device that was asked computes another model,
    /// *surroundings* if one was not reached or kept fewer repetitions than asked.
    pub exit: Exit,
}

impl MeasureOptions {
    /// Refuses counts that are too small, and more tokens than a cache of `context_tokens` holds.
    ///
    /// # Errors
    /// An input error that names the counts.
    pub fn check(&self, context_tokens: usize) -> Result<()> {
        if self.prompt_tokens == 0 || self.generate < 2 || self.repetitions == 0 {
            return Err(Error::input(
                "expected at least 1 prompt token, 2 generated tokens and 1 repetition",
            ));
        }
        let needed_tokens = self.prompt_tokens.saturating_add(self.generate);
        if context_tokens < needed_tokens {
            return Err(Error::input(format!(
                "the cache holds {context_tokens} tokens, but prompt and generated tokens need \
                 {needed_tokens}"
            ))
            .hint(
                "measure fewer with --prompt-tokens and --generate, or write packages with a larger \
                 --max-sequence-length",
            ));
        }
        Ok(())
    }

    /// How devices are connected to.
    pub fn connection(&self, observer: &dyn Observer) -> Options {
        Options {
            token: self.token.clone(),
            fallback_token: self.fallback_token.clone(),
            stop: observer.stop_flag().unwrap_or_default(),
            ..Options::default()
        }
    }

    /// The method for a prompt of these ids on these compute units.
    fn method(&self, prompt: &[u32], units: ComputeUnits) -> Result<Method> {
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
    /// Measures the packages in `folders` on every device, and appends to the measurements in the folder
    /// `run`.
    ///
    /// # Errors
    /// Input errors of packages and arguments, a runner that takes the place of another one in this run
    /// (input), surroundings errors of the disk, interruption.
    pub fn measure(&self, run: &Path, folders: &[Folder]) -> Result<Measured> {
        self.refuse_for_phones(folders)?;
        let stage = Stage::new("preparing", self.observer);
        let mut prepared = Vec::new();
        for (at, folder) in folders.iter().enumerate() {
            stage.step(at as u64, folders.len() as u64)?;
            let stop = self.observer.stop_flag();
            prepared.push(Prepared::of(&folder.path, folder.cell_id.clone(), self.text, stop)?);
        }
        drop(stage);
        for (one, folder) in prepared.iter().zip(folders) {
            self.options.check(one.context_tokens).at(|| folder.path.display())?;
        }
        let vocabulary = prepared.iter().map(|one| one.vocab_size).min().unwrap_or(0);
        let prompt = (self.text)(self.options.prompt_tokens, vocabulary)?;
        let units = self.units(folders)?;
        let method = self.options.method(&prompt, units)?;
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
        let mut is_complete = !prepared.is_empty();
        for target in self.targets {
            is_complete &= self.on(target, &question, &mut file)?;
        }
        let all = file.all().to_vec();
        let is_asked = |device: &str, package: &str| {
            self.targets.iter().any(|target| target.to_string() == device)
                && prepared.iter().any(|one| one.subject.package == package)
        };
        let (exit, unchecked) = verdict(&all, is_complete, is_asked);
        for (device, package) in unchecked {
            self.observer.not_done(&format!(
                "{device} was not seen to compute {package}{}",
                last_failure(&all, &device, &package)
            ));
        }
        Ok(Measured { all, exit })
    }

    /// Refuses packages that the runner of phones cannot run, if a phone is to be measured.
    fn refuse_for_phones(&self, folders: &[Folder]) -> Result<()> {
        let is_phone = |target: &Target| matches!(target, Target::Usb(_));
        if !self.targets.iter().any(is_phone) {
            return Ok(());
        }
        for folder in folders {
            if Bundle::open(&folder.path)?.manifest.model.conv_tokens.is_some() {
                return Err(Error::input(
                    "the model has short convolutions, whose last inputs the runner on phones does not \
                     keep between calls",
                )
                .at(folder.path.display())
                .hint("measure it with --device host"));
            }
        }
        Ok(())
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

    /// Measures on one device. Returns whether everything that was asked of it is measured now, and
    /// warns if not.
    fn on(
        &self,
        target: &Target,
        question: &Question<'_>,
        file: &mut Measurements,
    ) -> Result<bool> {
        let stage = Stage::new(target.to_string(), self.observer);
        let options = self.options.connection(self.observer);
        let before = file.all().len();
        measure(question, target, &options, file, &mut |done, total| {
            stage.set(done as u64, total as u64);
        })?;
        stage.check_stop()?;
        drop(stage);
        let (device, all) = (target.to_string(), file.all());
        let new = &all[before..];
        let is_measured = |one| question.kept(all, &device, one) >= question.method.repetitions;
        let unreached = new.iter().find_map(unreached);
        let is_complete = unreached.is_none() && question.subjects.iter().all(is_measured);
        if let Some(why) = unreached {
            let why = why.strip_prefix(&format!("{device}: ")).unwrap_or(why);
            self.observer.not_done(&format!("{device} was not reached: {why}"));
        } else if !is_complete {
            let last = new.iter().rev().find_map(failure);
            let last = last.map(|last| format!(": {last}")).unwrap_or_default();
            self.observer.not_done(&format!("{device} kept fewer repetitions than asked{last}"));
        }
        Ok(is_complete)
    }
}

/// Why a device was not reached, if this says so.
fn unreached(one: &Measurement) -> Option<&str> {
    match one {
        Measurement::FailedStep(FailedStep { package: None, reason, .. }) => Some(reason),
        _ => None,
    }
}

/// What failed and why, if something did.
fn failure(one: &Measurement) -> Option<String> {
    let attempt = match one {
        Measurement::Load(load) => &load.attempt,
        Measurement::Repetition(repetition) => &repetition.attempt,
        Measurement::FailedStep(FailedStep { step, reason, .. }) => {
            return Some(format!("{step}: {reason}"));
        }
        _ => return None,
    };
    attempt.outcome.reason().map(|(how, why)| format!("{how}: {why}"))
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

/// Why the last step with a package on a device failed, behind a colon; nothing if it did not.
fn last_failure(all: &[Measurement], device: &str, package: &str) -> String {
    let of = |one: &Measurement| match one {
        Measurement::FailedStep(failed)
            if failed.device == device && failed.package.as_deref() == Some(package) =>
        {
            Some(format!(": {}: {}", failed.step, failed.reason))
        }
        _ => None,
    };
    all.iter().rev().find_map(of).unwrap_or_default()
}

/// The exit code of an invocation: *no* if a device computes another model than a package that is
/// asked, *surroundings* if less was measured than asked, or if a device that was asked was not seen to
/// compute a package. Such devices and packages are the second result.
fn verdict(
    all: &[Measurement],
    is_complete: bool,
    is_asked: impl Fn(&str, &str) -> bool,
) -> (Exit, Vec<(String, String)>) {
    let is_wrong = |DeviceRows { device, rows, .. }: &DeviceRows<'_>| {
        let is_wrong = |row: &DeviceRow<'_>| {
            row.correctness.is_some_and(|check| !check.holds)
                && is_asked(&device.device, &row.subject.package)
        };
        !device.description.simulated && rows.iter().any(is_wrong)
    };
    let known = OnDevices::of(all).map(|known| known.devices).unwrap_or_default();
    let rows = known.iter().flat_map(|of| of.rows.iter().map(|row| (&of.device.device, row)));
    let is_unchecked = |(device, row): &(&String, &DeviceRow<'_>)| {
        row.correctness.is_none() && is_asked(device, &row.subject.package)
    };
    let unchecked: Vec<(String, String)> = rows
        .filter(is_unchecked)
        .map(|(device, row)| (device.clone(), row.subject.package.clone()))
        .collect();
    let exit = if known.iter().any(is_wrong) {
        Exit::No
    } else if is_complete && unchecked.is_empty() {
        Exit::Done
    } else {
        Exit::Surroundings
    };
    (exit, unchecked)
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
