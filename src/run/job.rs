//! Prepares a run: opens what its plan names, and lists the cells to measure with their identities.
//!
//! A run's folder is found by the question it answers (model, text, protocol), not by its date, so
//! that the same command continues where it stopped and measures nothing twice. Before anything is
//! measured, the model, text and program that the folder records are compared with the current ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;

use super::bit_widths;
use super::calibration_data::{CalibrationData, JobVariants};
use super::calibration_text::Cutter;
use super::folder::run_folder;
use super::inputs;
use super::observer::Observer;
use super::options::RunOptions;
use super::plan::Plan;
use super::text::{Text, read_text};
use crate::NUMERIC_VERSION;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::tokenizer::TextTokenizer;
use crate::error::{Error, Result};
use crate::eval::{BosMode, CodedFile, Cut, Host, MemorySum, Variant, Window};
use crate::model;
use crate::results::{self, Cell, Run, Store};

/// The opened inputs of a plan.
pub struct Opened {
    /// The weights.
    pub checkpoint: Checkpoint,
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// The text that is scored.
    pub text: Text,
    /// How the text is cut into windows.
    pub cut: Cut,
    /// The text's windows.
    pub windows: Vec<Window>,
}

impl Opened {
    /// Opens everything that `plan` names.
    ///
    /// # Errors
    /// Input errors of checkpoint, tokenizer and text.
    pub fn open(plan: &Plan, observer: &dyn Observer) -> Result<Opened> {
        let checkpoint =
            inputs::open_checkpoint(&plan.model, plan.pretokenizer.as_deref(), observer)?;
        let tokenizer = checkpoint.tokenizer()?;
        let text = read_text(&plan.text, observer)?;
        text.warnings.iter().for_each(|line| observer.warning(line));
        let cut = inputs::cut(plan, &checkpoint, &tokenizer)?;
        let windows = text.windows(&cut, &tokenizer, plan.parse_special)?;
        Ok(Opened { checkpoint, tokenizer, text, cut, windows })
    }

    /// The run's folder, `<reports>/<date>-<model>-<question>`, whatever its date.
    pub fn folder(&self, plan: &Plan, reports: &Path) -> PathBuf {
        run_folder(reports, &self.checkpoint.name, &plan.question_hash())
    }

    /// The record of the question that `plan` asks.
    fn run(&self, plan: &Plan) -> Run {
        let Opened { checkpoint, tokenizer, text, cut, windows } = self;
        let bos = cut.bos.map_or(BosMode::None, |(mode, _)| mode);
        Run {
            model: checkpoint.name.clone(),
            architecture: checkpoint.config.family.into(),
            model_hash: checkpoint.content_hash(),
            tokenizer_hash: tokenizer.hash.clone(),
            text_name: text.name.clone(),
            text_hash: text.hash.clone(),
            text_bytes: text.size_bytes,
            protocol: plan.protocol.clone(),
            bos: bos.to_string(),
            window_tokens: plan.context,
            stride_tokens: plan.context - usize::from(bos == BosMode::Prepend),
            windows: windows.len(),
            scored_tokens: windows.iter().map(|window| window.scored.len()).sum(),
            seed: plan.seed,
            numeric_version: NUMERIC_VERSION,
            backend: plan.backend.recorded(),
            evalkit_version: env!("CARGO_PKG_VERSION").into(),
            layers: checkpoint.config.layers,
            parameters: checkpoint.parameters(),
            vocabulary: checkpoint.config.vocab_size,
            entropy_floor_nats_per_byte: text.entropy_nats_per_byte,
            warnings: warnings(plan, checkpoint, text),
        }
    }
}

/// Everything that is known before the first weight is read.
pub struct Job {
    /// The plan.
    pub plan: Plan,
    /// The weights.
    pub checkpoint: Checkpoint,
    /// Where forward passes run.
    pub device: Device,
    /// The windows of the text that is scored.
    pub windows: Vec<Window>,
    /// The cells to measure with their variants, the reference first.
    pub cells: Vec<(Cell, Variant)>,
    /// The record of the run, with the hashes of everything that its numbers depend on.
    pub run: Run,
    /// Files of weights that are coded already.
    pub coded: Vec<Arc<CodedFile>>,
    /// What codes and the ranges of int8 activations are calibrated on, if a variant needs that.
    pub calibration: CalibrationData,
    /// Windows per pass over the layers.
    pub batch: usize,
    /// The memory budget in bytes, if there is one.
    pub budget_bytes: Option<u64>,
    /// The machine that memory is predicted for.
    pub host: Host,
    /// Peak memory of a pass.
    pub memory: MemorySum,
    /// Peak memory of calibrating codes; `None` if every variant is coded already.
    pub calibrating: Option<MemorySum>,
}

impl Job {
    /// Prepares the job of `plan` and checks that its inputs fit together; `allocated` is measured in
    /// addition to the plan's recipes.
    ///
    /// # Errors
    /// Input errors of coded files and calibration; a memory budget that one window exceeds.
    pub fn prepare(
        mut plan: Plan,
        opened: Opened,
        allocated: Option<Variant>,
        options: &RunOptions,
        observer: &dyn Observer,
    ) -> Result<Job> {
        bit_widths::settle(&mut plan, &opened.checkpoint)?;
        let run = opened.run(&plan);
        let Opened { checkpoint, tokenizer, text, cut, windows } = opened;
        let mut variants = plan.variants()?;
        let coded = open_coded(&options.coded, &run.model_hash)?;
        for variant in allocated.into_iter().chain(coded.iter().map(|file| file.variant.clone())) {
            if !variants.contains(&variant) {
                variants.push(variant);
            }
        }
        let job_variants = JobVariants { variants: &variants, coded: &coded };
        let cutter = Cutter { cut: &cut, tokenizer: &tokenizer, observer };
        let calibration = CalibrationData::of(&plan, &checkpoint, job_variants, cutter, &windows)?;
        let provenance = |variant: &Variant| {
            calibration.provenance(variant, coded.iter().find(|file| file.variant == *variant))
        };
        let cells = std::iter::once(Variant::reference())
            .chain(variants.iter().cloned())
            .map(|variant| Ok((cell(&run, &checkpoint, &variant, provenance(&variant))?, variant)))
            .collect::<Result<Vec<_>>>()?;
        drop((tokenizer, text));
        let host = Host::now();
        let unscored = calibration.windows.as_ref().map_or(&[][..], |c| &c.windows);
        let batch = MemorySum::batch_within(
            options.memory_bytes,
            &checkpoint,
            &variants,
            &windows,
            unscored,
            host,
        )?;
        let memory = MemorySum::of(&checkpoint, &variants, &windows[..batch], unscored, host)?;
        let calibrating = calibration.memory(&checkpoint, job_variants, host)?;
        let device = model::device(plan.backend)?;
        Ok(Job {
            plan,
            checkpoint,
            device,
            windows,
            cells,
            run,
            coded,
            calibration,
            batch,
            budget_bytes: options.memory_bytes,
            host,
            memory,
            calibrating,
        })
    }

    /// The run's folder, `<reports>/<date>-<model>-<question>`, whatever its date.
    pub fn folder(&self, reports: &Path) -> PathBuf {
        run_folder(reports, &self.run.model, &self.plan.question_hash())
    }

    /// Refuses a folder whose records were measured with another model, tokenizer, text or program.
    pub fn check_question(&self, store: &Store) -> Result<()> {
        let Some(then) = store.index().run() else { return Ok(()) };
        let now = &self.run;
        let differing = [
            ("model", &then.model_hash, &now.model_hash),
            ("tokenizer", &then.tokenizer_hash, &now.tokenizer_hash),
            ("text", &then.text_hash, &now.text_hash),
        ];
        for (what, then, now) in differing {
            if then != now {
                return Err(Error::input(format!(
                    "the {what} has changed since this run began: its hash was {then:.12} and is now {now:.12}"
                ))
                .at(store.folder().display())
                .hint("its records are kept; to measure again, move the folder away or name another with --reports"));
            }
        }
        if then.backend != now.backend {
            let (then, now) = (then.backend(), now.backend());
            return Err(Error::input(format!("the run was started with --backend {then}, not {now}"))
                .at(store.folder().display())
                .hint(format!("numbers of two backends are never mixed: use --backend {then}, or name another folder with --reports")));
        }
        if then != now {
            return Err(Error::input("the run was started by another version of evalkit")
                .at(store.folder().display())
                .hint("its records are kept; to measure again, move the folder away or name another with --reports"));
        }
        Ok(())
    }

    /// The number of windows that are recorded for the job's cells.
    pub fn recorded_windows(&self, store: &Store) -> usize {
        self.cells.iter().map(|(cell, _)| store.index().windows_of(&cell.cell_id).len()).sum()
    }

    /// Cells that have neither a `Done` nor a `Failure` record yet.
    pub fn pending(&self, store: &Store) -> Vec<(Cell, Variant)> {
        let is_open = |cell: &Cell| {
            !store.index().is_done(&cell.cell_id)
                && store.index().failure_of(&cell.cell_id).is_none()
        };
        self.cells.iter().filter(|(cell, _)| is_open(cell)).cloned().collect()
    }
}

/// Warnings that a reader must see before trusting the numbers.
fn warnings(plan: &Plan, checkpoint: &Checkpoint, text: &Text) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(types) = stored_as(checkpoint) {
        warnings.push(format!(
            "the reference is itself quantized (stored as {types}): all differences are from these \
             weights, not from those of the original model"
        ));
    }
    let is_chat = plan.parse_special && text.is_chat;
    if checkpoint.config.family == "gpt_oss" && !is_chat {
        warnings.push(
            "gpt-oss is tuned for its chat format, on plain text its perplexity means nothing (about 196 \
             for the original): let KL lead, or score formatted text with --parse-special"
                .into(),
        );
    }
    warnings.extend(checkpoint.passed_over.iter().map(ToString::to_string));
    warnings.extend(text.warnings.iter().cloned());
    warnings
}

/// The quantized types that the checkpoint stores; `None` if it is not quantized.
fn stored_as(checkpoint: &Checkpoint) -> Option<String> {
    Some(checkpoint.quantized_types().join(", ")).filter(|types| !types.is_empty())
}

/// Opens files of coded weights, which must come from the checkpoint with this hash.
fn open_coded(paths: &[PathBuf], model_hash: &str) -> Result<Vec<Arc<CodedFile>>> {
    paths.iter().map(|path| inputs::open_coded(path, model_hash).map(Arc::new)).collect()
}

/// A variant's cell; its id is the hash of everything that its numbers depend on.
fn cell(
    run: &Run,
    checkpoint: &Checkpoint,
    variant: &Variant,
    calibration: Option<results::Calibration>,
) -> Result<Cell> {
    let depends_on = [
        &run.model_hash,
        &run.tokenizer_hash,
        &run.text_hash,
        &run.protocol,
        &run.bos,
        &format!("{} {} {}", run.window_tokens, run.windows, run.seed),
        &format!("{NUMERIC_VERSION}"),
        &variant.to_string(),
    ];
    let mut hasher = blake3::Hasher::new();
    for part in depends_on {
        hasher.update(part.as_bytes()).update(b"\n");
    }
    if let Some(backend) = &run.backend {
        hasher.update(format!("{backend}\n").as_bytes());
    }
    if let Some(results::Calibration { method, windows_hash, moments_hash, backend, .. }) =
        &calibration
    {
        hasher.update(format!("{method} {windows_hash}\n").as_bytes());
        if let Some(moments_hash) = moments_hash {
            hasher.update(format!("moments {moments_hash}\n").as_bytes());
        }
        if let Some(backend) = backend {
            hasher.update(format!("calibrated on {backend}\n").as_bytes());
        }
    }
    Ok(Cell {
        cell_id: hasher.finalize().to_hex()[..16].to_owned(),
        variant: variant.to_string(),
        parts: variant.parts(checkpoint)?,
        is_reference: variant.is_reference(),
        backend: run.backend.clone(),
        calibration,
        stored_as: stored_as(checkpoint).filter(|_| variant.is_reference()),
    })
}
