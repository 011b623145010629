//! Packages written and proven under a progress bar, and the step of a sweep that does both for
//! every variant.

use std::path::Path;

use super::calibration;
use super::design::DesignArgs;
use super::job::Job;
use super::measure::Finished;
use super::measuring::Folder;
use super::progress::{Interrupt, Progress, Talk};
use crate::error::{Error, Exit, Result};
use crate::eval::{Coder, InputScales, Variant};
use crate::files::Existing;
use crate::package::bundle::{
    self, Bundle, BundleRequest, MANIFEST_NAME, Manifest, predicted_bytes,
};
use crate::package::execute::Precision;
use crate::package::verify::{
    VerificationInput, VerificationLink, WalkPrediction, predict_by_walk, verify,
};
use crate::report::{Column, Table, Unit, Value};
use crate::results::{Cell, Done, Packaged, Record, Store, VerifiedLink, label};

/// The folder in a run's folder that holds the packages.
const PACKAGES: &str = "packages";
/// Tokens of the first window that are predicted by the packages.
const VERIFIED_TOKENS: usize = 48;

/// Writes packages under a progress bar.
///
/// # Errors
/// As [`bundle::write()`], interruption.
pub fn write(
    order: &BundleRequest<'_>,
    folder: &Path,
    talk: Talk,
    interrupt: &Interrupt,
) -> Result<Manifest> {
    let bar = Progress::new("packaging", talk.quiet);
    let written = bundle::write(folder, order, &mut |done, total| {
        bar.set(done as u64, total as u64);
        match interrupt.is_set() {
            true => Err(Error::new(Exit::Interrupted, "interrupted; nothing was written")),
            false => Ok(()),
        }
    });
    bar.finish();
    Ok(written?.manifest)
}

/// Verifies under a progress bar.
///
/// # Errors
/// As [`verify`], interruption.
pub fn check(
    question: &VerificationInput<'_>,
    walked: &WalkPrediction,
    talk: Talk,
    interrupt: &Interrupt,
) -> Result<Vec<VerificationLink>> {
    let bar = Progress::new("verifying", talk.quiet);
    let links = verify(question, walked, &mut |done, total| {
        bar.set(done as u64, total as u64);
        match interrupt.is_set() {
            true => Err(Error::new(Exit::Interrupted, "interrupted")),
            false => Ok(()),
        }
    });
    bar.finish();
    links
}

/// The size of every variant's packages, or why it cannot be packaged, without coding anything.
///
/// # Errors
/// Surroundings errors of reading the checkpoint.
pub fn planned(job: &Job, design: &DesignArgs) -> Result<Table> {
    let mut table = Table {
        title: "Packages, predicted".into(),
        columns: vec![
            Column::text("variant", "variant"),
            Column::number("size", "size", Unit::Bytes),
        ],
        ..Table::default()
    };
    for (cell, variant) in job.cells.iter().filter(|(cell, _)| !cell.is_reference) {
        let file = job.coded.iter().find(|file| file.variant == *variant);
        let config = &job.checkpoint.config;
        let size = calibration::planned(variant, config).and_then(|scales| {
            let scales = Some(&scales);
            let coder = Coder { checkpoint: &job.checkpoint, variant, file, scales };
            predicted_bytes(&design.order(coder, Existing::Replace))
        });
        let size = match size {
            Ok(bytes) => Value::from(bytes),
            Err(error) if error.exit() == Exit::Input => {
                table.notes.push(format!("{} cannot be packaged: {}", cell.label(), error.cause()));
                Value::Empty
            }
            Err(error) => return Err(error),
        };
        table.rows.push(vec![Value::from(cell.label()), size]);
    }
    Ok(table)
}

/// Packages and verifies what is measured and not yet packaged, and records it.
///
/// # Errors
/// Surroundings errors of the disk and the store, interruption. A variant that cannot be packaged
/// is recorded with its cause.
pub fn package_all(
    job: &Job,
    finished: &mut Finished,
    design: &DesignArgs,
    talk: Talk,
    interrupt: &Interrupt,
) -> Result<()> {
    let mut store = Store::open(&finished.folder)?;
    for (cell, variant) in job.cells.iter().filter(|(cell, _)| !cell.is_reference) {
        let file = job.coded.iter().find(|file| file.variant == *variant);
        let Some(done) = store.index().done(&cell.cell_id) else { continue };
        let scales = scales(done)?;
        let coder = Coder { checkpoint: &job.checkpoint, variant, file, scales: Some(&scales) };
        let order = design.order(coder, Existing::Replace);
        let folder = finished.folder.join(PACKAGES).join(folder_name(cell));
        let known = store.index().packaged(&cell.cell_id).into_iter();
        let is_there = folder.join(MANIFEST_NAME).exists();
        if is_there && known.into_iter().any(|packaged| packaged.design == design_name(&order)) {
            continue;
        }
        let one = One { job, cell, order, folder: &folder, talk, interrupt };
        let packaged = match one.run() {
            Ok(packaged) => packaged,
            Err(error) if matches!(error.exit(), Exit::Input | Exit::No) => one.refused(&error),
            Err(error) => return Err(error),
        };
        store.append(&[Record::Packaged(packaged)])?;
        finished.was_done = false;
    }
    finished.records = store.index().records().to_vec();
    Ok(())
}

/// The folders of packages of every variant that hold the model that was scored.
pub fn proven(job: &Job, finished: &Finished) -> Vec<Folder> {
    let is_proven = |cell: &Cell| {
        let own = finished.records.iter().rev().find_map(|record| match record {
            Record::Packaged(packaged) if packaged.cell_id == cell.cell_id => Some(packaged),
            _ => None,
        });
        own.is_some_and(|packaged| packaged.broken().is_none())
    };
    let proven = job.cells.iter().filter(|(cell, _)| !cell.is_reference && is_proven(cell));
    let folder = |(cell, _): &(Cell, Variant)| Folder {
        path: finished.folder.join(PACKAGES).join(folder_name(cell)),
        cell_id: Some(cell.cell_id.clone()),
    };
    proven.map(folder).collect()
}

/// The scales of a variant's int8 inputs, as they were when it was scored.
fn scales(done: &Done) -> Result<InputScales> {
    InputScales::named(done.input_scales.iter().map(|of| (of.layer, of.input.as_str(), of.scale)))
}

/// One variant to be packaged.
struct One<'a> {
    job: &'a Job,
    cell: &'a Cell,
    order: BundleRequest<'a>,
    folder: &'a Path,
    talk: Talk,
    interrupt: &'a Interrupt,
}

impl One<'_> {
    fn run(&self) -> Result<Packaged> {
        let predicted_bytes = predicted_bytes(&self.order)?;
        if let Some(parent) = self.folder.parent() {
            std::fs::create_dir_all(parent).map_err(|e| Error::io("make the folder", parent, e))?;
        }
        let manifest = write(&self.order, self.folder, self.talk, self.interrupt)?;
        let bundle = Bundle::open(self.folder)?;
        let window = self.job.windows.first().map_or(&[][..], |window| &window.ids);
        let tokens = window.len().min(VERIFIED_TOKENS).min(self.order.design.context_tokens);
        let question = VerificationInput {
            bundle: &bundle,
            coder: self.order.coder,
            ids: &window[..tokens],
            precision: Precision::Single,
        };
        let walked = predict_by_walk(question.coder, question.ids, &self.job.device)?;
        let links = check(&question, &walked, self.talk, self.interrupt)?;
        Ok(Packaged {
            packages: manifest.packages.len(),
            size_bytes: manifest.model.size_bytes,
            predicted_bytes,
            links: links.iter().map(recorded).collect(),
            ..self.named()
        })
    }

    /// The record of a variant that could not be packaged.
    fn refused(&self, error: &Error) -> Packaged {
        let (link, what) = ("files".to_owned(), error.cause());
        let link = VerifiedLink { link, what, ..VerifiedLink::default() };
        Packaged { links: vec![link], ..self.named() }
    }

    fn named(&self) -> Packaged {
        let (cell_id, design) = (self.cell.cell_id.clone(), design_name(&self.order));
        Packaged { cell_id, design, ..Packaged::default() }
    }
}

fn recorded(link: &VerificationLink) -> VerifiedLink {
    let distance = link.distance.unwrap_or_default();
    VerifiedLink {
        link: link.name.to_owned(),
        holds: link.holds,
        what: link.what.clone(),
        tokens: distance.tokens,
        kl_nats: recordable(distance.kl_nats * distance.tokens as f64),
        worst_kl_nats: recordable(distance.worst_kl_nats),
        top1_agree: distance.top1_agree,
    }
}

/// What is no number cannot be recorded; the link is broken then, and says so.
fn recordable(kl_nats: f64) -> f64 {
    if kl_nats.is_finite() { kl_nats } else { f64::MAX }
}

fn design_name(order: &BundleRequest<'_>) -> String {
    let design = &order.design;
    format!(
        "{} {}, cache {}, prefill {}",
        design.target.id(),
        design.compute,
        design.context_tokens,
        design.prefill_tokens
    )
}

/// A variant's label as that of a folder.
fn folder_name(cell: &Cell) -> String {
    label(&cell.variant, &cell.parts).replace(':', "=")
}
