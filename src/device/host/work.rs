//! What jobs do, whichever engine computes: timing, sampling the system's figures, choosing tokens,
//! likelihoods.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::check::bad;
use super::locks::lock;
use super::progress::JobProgress;
use super::shared::{Host, LoadedModel};
use super::store::disk::{self, io_refusal};
use crate::device::protocol::code::{Code, Refusal};
use crate::device::protocol::message::{Ask, ComputeUnits, ModelFunction};
use crate::device::protocol::result::{Figures, Generated, Loaded, Scored};
use crate::error::{Error, Exit};
use crate::files::sync_file;
use crate::package::verify::nll_nats;

/// The most samples of the system's figures that a job keeps.
const MAX_SAMPLES: usize = 10_000;

impl Host {
    /// Does a job, and returns its result as JSON.
    pub(super) fn work(
        &self,
        ask: &Ask,
        arrived: Instant,
        progress: &JobProgress,
    ) -> Result<Value, Refusal> {
        let result = match ask {
            Ask::Load { package, compute_units, functions, sample_ms, .. } => {
                serde_json::to_value(self.load(package, *compute_units, functions, *sample_ms)?)
            }
            Ask::Generate { prompt, tokens, sample_ms, .. } => {
                progress.of.store(*tokens as u64, Relaxed);
                let mut generated = Generated::default();
                self.sampled(*sample_ms, &mut generated, |host, generated| {
                    host.generate(prompt, *tokens, arrived, progress, generated)
                })?;
                serde_json::to_value(generated)
            }
            Ask::Score { job, ids, logits_at } => {
                progress.of.store(ids.len() as u64, Relaxed);
                let path = lock(&self.jobs).journal.logits(&job.job);
                let scored = self.score(ids, logits_at, &path, progress);
                if scored.is_err() {
                    let _ = disk::remove(&path);
                }
                serde_json::to_value(scored?)
            }
            Ask::Plan { package, compute_units, .. } => {
                let folder = lock(&self.store).use_now(package)?;
                let plan = lock(&self.engine).plan(&folder, *compute_units);
                serde_json::to_value(plan.map_err(|e| engine_refusal(&e))?)
            }
            _ => return bad("this request is not a job"),
        };
        result.map_err(|e| {
            Refusal::new(Code::Engine, format!("the result cannot be written as JSON: {e}"))
        })
    }

    /// Loads these functions of a package, all if there are none. The engine reads weights when they
    /// are used, so one that is not called costs nothing.
    fn load(
        &self,
        package: &str,
        units: ComputeUnits,
        functions: &[ModelFunction],
        ms: u32,
    ) -> Result<Loaded, Refusal> {
        let folder = lock(&self.store).use_now(package)?;
        *lock(&self.loaded) = None;
        lock(&self.engine).unload();
        let mut loaded = Loaded::default();
        self.sampled(ms, &mut loaded, |host, loaded| {
            let start = Instant::now();
            let shape = lock(&host.engine).load(&folder, units);
            let mut shape = shape.map_err(|e| engine_refusal(&e))?;
            let is_asked = |name: &String| functions.iter().any(|one| one.name() == name);
            shape.functions.retain(|name| functions.is_empty() || is_asked(name));
            loaded.load_ms = ms_since(start);
            loaded.functions.clone_from(&shape.functions);
            loaded.context_tokens = shape.context_tokens;
            loaded.prefill_tokens = shape.prefill_tokens;
            loaded.vocab_size = shape.vocab_size;
            *lock(&host.loaded) = Some(LoadedModel { package: package.to_owned(), shape });
            Ok(())
        })?;
        let mut key = format!("{package}\n{units:?}\n{}", self.machine.version);
        if !loaded.functions.iter().any(|name| name == ModelFunction::Prefill.name()) {
            key += "\ndecode";
        }
        let first = lock(&self.store).is_first_load(&key);
        loaded.first = first.map_err(|e| io_refusal("write", "loads.jsonl".as_ref(), &e))?;
        Ok(loaded)
    }

    fn generate(
        &self,
        prompt: &[u32],
        tokens: usize,
        arrived: Instant,
        progress: &JobProgress,
        generated: &mut Generated,
    ) -> Result<(), Refusal> {
        let LoadedModel { shape, .. } = self.model()?;
        let mut engine = lock(&self.engine);
        engine.restart().map_err(|e| engine_refusal(&e))?;
        generated.prompt_tokens = prompt.len();
        let mut logits = Vec::new();
        for part in prompt.chunks(shape.tokens_per_call()) {
            logits = last(engine.append(part).map_err(|e| engine_refusal(&e))?)?;
        }
        let mut id = greedy(&logits)?;
        let mut chosen = Instant::now();
        generated.ttft_ms = (chosen - arrived).as_secs_f64() * 1e3;
        generated.ids.push(id);
        progress.done.store(1, Relaxed);
        while generated.ids.len() < tokens {
            let logits = last(engine.append(&[id]).map_err(|e| engine_refusal(&e))?)?;
            id = greedy(&logits)?;
            let now = Instant::now();
            generated.token_ms.push((now - chosen).as_secs_f64() * 1e3);
            chosen = now;
            generated.ids.push(id);
            progress.done.store(generated.ids.len() as u64, Relaxed);
        }
        Ok(())
    }

    /// Scores a text, and writes the logits after the positions `logits_at` to the file `path`.
    fn score(
        &self,
        ids: &[u32],
        logits_at: &[u32],
        path: &Path,
        progress: &JobProgress,
    ) -> Result<Scored, Refusal> {
        let LoadedModel { shape, .. } = self.model()?;
        let failed = |e: std::io::Error| io_refusal("write", path, &e);
        let file = match logits_at {
            [] => None,
            _ => Some(logits_file(path).map_err(failed)?),
        };
        let mut out = file.map(BufWriter::new);
        let mut wanted = logits_at.iter().map(|at| *at as usize).peekable();
        let mut engine = lock(&self.engine);
        engine.restart().map_err(|e| engine_refusal(&e))?;
        let mut scores = Vec::with_capacity(ids.len());
        let mut position = 0;
        for part in ids.chunks(shape.tokens_per_call()) {
            for logits in engine.append(part).map_err(|e| engine_refusal(&e))? {
                if let Some(next) = ids.get(position + 1) {
                    scores.push(finite_nll_nats(&logits, *next)?);
                }
                if let (Some(out), true) = (&mut out, wanted.next_if_eq(&position).is_some()) {
                    let bytes = logits.iter().flat_map(|value| value.to_le_bytes());
                    out.write_all(&bytes.collect::<Vec<u8>>()).map_err(failed)?;
                }
                position += 1;
            }
            progress.done.store(position as u64, Relaxed);
        }
        if let Some(out) = out {
            let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
            sync_file(&file).map_err(failed)?;
        }
        let positions = logits_at.to_vec();
        Ok(Scored { nll_nats: scores, positions, vocab_size: shape.vocab_size })
    }

    /// Runs `work`, and samples the system's figures before it, after it and, if `sample_ms` is not
    /// 0, during it.
    fn sampled<T: Sampled>(
        &self,
        sample_ms: u32,
        result: &mut T,
        work: impl FnOnce(&Self, &mut T) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let start = Instant::now();
        let figures = || self.machine.figures(ms_since(start));
        let before = self.machine.figures(0.0);
        let (stop, stopped) = channel::<()>();
        let pause = Duration::from_millis(sample_ms.into());
        let (samples, worked) = std::thread::scope(|scope| {
            let sampler = (sample_ms > 0).then(|| {
                scope.spawn(move || {
                    let mut samples = Vec::new();
                    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                        if samples.len() < MAX_SAMPLES {
                            samples.push(figures());
                        }
                    }
                    samples
                })
            });
            let worked = work(self, result);
            drop(stop);
            (sampler.map(|thread| thread.join().unwrap_or_default()), worked)
        });
        worked?;
        result.keep(before, figures(), samples.unwrap_or_default());
        Ok(())
    }
}

/// A result that carries the system's figures.
trait Sampled {
    fn keep(&mut self, before: Figures, after: Figures, samples: Vec<Figures>);
}

impl Sampled for Loaded {
    fn keep(&mut self, before: Figures, after: Figures, samples: Vec<Figures>) {
        (self.before, self.after, self.samples) = (before, after, samples);
    }
}

impl Sampled for Generated {
    fn keep(&mut self, before: Figures, after: Figures, samples: Vec<Figures>) {
        (self.before, self.after, self.samples) = (before, after, samples);
    }
}

/// The refusal for an error of the engine or of the package that it was given.
fn engine_refusal(error: &Error) -> Refusal {
    let is_io = error.exit() == Exit::Surroundings;
    Refusal::new(if is_io { Code::Io } else { Code::Engine }, error.cause())
}

fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn logits_file(path: &Path) -> std::io::Result<File> {
    disk::remove(path)?;
    disk::open(path, File::options().write(true).create_new(true))
}

fn last(mut logits: Vec<Vec<f32>>) -> Result<Vec<f32>, Refusal> {
    logits.pop().ok_or_else(|| Refusal::new(Code::Engine, "the model gave no logits"))
}

/// The token with the largest logit; of equal ones, the one with the lowest id.
fn greedy(logits: &[f32]) -> Result<u32, Refusal> {
    check_numbers(logits)?;
    let first = logits.first().ok_or_else(|| Refusal::new(Code::Engine, "there are no logits"))?;
    let mut best = (0, first);
    for (id, logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (id, logit);
        }
    }
    Ok(best.0)
}

/// The negative log-likelihood of `id`.
fn finite_nll_nats(logits: &[f32], id: u32) -> Result<f64, Refusal> {
    check_numbers(logits)?;
    let nll = nll_nats(logits, id);
    if nll.is_finite() {
        return Ok(nll);
    }
    let what = format!("the negative log-likelihood of token {id} is not finite");
    Err(Refusal::new(Code::Engine, what))
}

fn check_numbers(logits: &[f32]) -> Result<(), Refusal> {
    if logits.iter().any(|logit| logit.is_nan()) {
        return Err(Refusal::new(Code::Engine, "a logit is not a number"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_logits_the_lowest_id_wins() {
        assert_eq!(greedy(&[0.0, 2.0, -1.0, 2.0]), Ok(1));
        assert_eq!(greedy(&[-0.0, 0.0]), Ok(0));
        assert!(greedy(&[0.0, f32::NAN]).is_err() && greedy(&[]).is_err());
    }

    #[test]
    fn a_likelihood_that_is_not_finite_is_refused() {
        assert!(finite_nll_nats(&[0.0, 0.0, 1.0], 1).is_ok());
        for logits in
            [[f32::NAN, 0.0, 1.0], [0.0, f32::NEG_INFINITY, 1.0], [f32::INFINITY, 0.0, 1.0]]
        {
            assert!(finite_nll_nats(&logits, 1).is_err(), "{logits:?}");
        }
        assert!(finite_nll_nats(&[0.0], 1).is_err(), "there is no logit of token 1");
    }
}
