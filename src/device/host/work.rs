//! What jobs do, whatever the engine: checks before, times, figures and likelihoods.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::engine::Shape;
use super::jobs::Progress;
use super::store::disk::{self, fault};
use super::{Host, LoadedModel, lock};
use crate::device::protocol::content::{Refused, is_hash};
use crate::device::protocol::message::{Ask, Code, ComputeUnits, Job};
use crate::device::protocol::result::{Figures, Generated, Loaded, Scored};
use crate::error::{Error, Exit};

/// Vocabularies whose logits fit into a frame.
const MAX_VOCABULARY: usize = 1_048_574;
/// The shortest interval of figures.
const MIN_SAMPLE_MS: u32 = 50;
/// The most figures of a job.
const MAX_SAMPLES: usize = 10_000;

fn bad<T>(what: impl Into<String>) -> Result<T, Refused> {
    Err((Code::BadRequest, what.into()))
}

/// Checks what can be checked of a job by itself.
pub(super) fn check(ask: &Ask, job: &Job) -> Result<(), Refused> {
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if job.job.len() != 32 || !job.job.bytes().all(is_digit) {
        return bad("job: expected 32 lower-case hexadecimal digits");
    }
    if job.attempt == 0 {
        return bad("attempt: expected 1 or more, found 0");
    }
    match ask {
        Ask::Load { package, .. } | Ask::Plan { package, .. } if !is_hash(package) => {
            return bad("package: expected 64 lower-case hexadecimal digits");
        }
        Ask::Generate { prompt, tokens, .. } if prompt.is_empty() || *tokens == 0 => {
            return bad("prompt and tokens: expected 1 or more");
        }
        Ask::Score { ids, logits_at, .. } => {
            if ids.is_empty() {
                return bad("ids: expected 1 or more");
            }
            let last = logits_at.last().map_or(0, |last| *last as usize);
            if !logits_at.is_sorted_by(|a, b| a < b) || last >= ids.len() {
                let len = ids.len();
                return bad(format!("logits_at: expected ascending positions below {len}"));
            }
        }
        _ => {}
    }
    match ask {
        Ask::Load { sample_ms, .. } | Ask::Generate { sample_ms, .. }
            if (1..MIN_SAMPLE_MS).contains(sample_ms) =>
        {
            bad(format!("sample_ms: expected 0 or at least {MIN_SAMPLE_MS}, found {sample_ms}"))
        }
        _ => Ok(()),
    }
}

impl Host {
    /// Checks what must be so before an attempt starts.
    pub(super) fn check_start(&self, ask: &Ask) -> Result<(), Refused> {
        match ask {
            Ask::Load { package, compute_units, .. } | Ask::Plan { package, compute_units, .. } => {
                lock(&self.store).find(package)?;
                if !self.kind.compute_units.contains(compute_units) {
                    let takes = &self.kind.compute_units;
                    let what = format!("{compute_units:?}: this runner takes {takes:?}");
                    return Err((Code::Unsupported, what));
                }
                Ok(())
            }
            Ask::Generate { prompt, tokens, .. } => {
                let LoadedModel { shape, .. } = self.model()?;
                check_ids(prompt, &shape)?;
                fits(prompt.len().saturating_add(*tokens), &shape)
            }
            Ask::Score { ids, logits_at, .. } => {
                let LoadedModel { shape, .. } = self.model()?;
                check_ids(ids, &shape)?;
                fits(ids.len(), &shape)?;
                if !logits_at.is_empty() && shape.vocab_size > MAX_VOCABULARY {
                    let what = "tokens do not fit into a frame of logits";
                    return Err((Code::TooLarge, format!("{} {what}", shape.vocab_size)));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn model(&self) -> Result<LoadedModel, Refused> {
        let nothing = || (Code::NotLoaded, "no package is loaded".to_owned());
        lock(&self.loaded).clone().ok_or_else(nothing)
    }

    /// Does a job.
    pub(super) fn work(
        &self,
        ask: &Ask,
        arrived: Instant,
        progress: &Progress,
    ) -> Result<Value, Refused> {
        let result = match ask {
            Ask::Load { package, compute_units, sample_ms, .. } => {
                serde_json::to_value(self.load(package, *compute_units, *sample_ms)?)
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
                let path = lock(&self.jobs).journal().logits(&job.job);
                let scored = self.score(ids, logits_at, &path, progress);
                if scored.is_err() {
                    let _ = disk::remove(&path);
                }
                serde_json::to_value(scored?)
            }
            Ask::Plan { package, compute_units, .. } => {
                let folder = lock(&self.store).use_now(package)?;
                let plan = lock(&self.engine).plan(&folder, *compute_units);
                serde_json::to_value(plan.map_err(|e| broken(&e))?)
            }
            _ => return bad("not a job"),
        };
        result.map_err(|e| (Code::Engine, format!("a result without JSON: {e}")))
    }

    fn load(&self, package: &str, units: ComputeUnits, ms: u32) -> Result<Loaded, Refused> {
        let folder = lock(&self.store).use_now(package)?;
        *lock(&self.loaded) = None;
        lock(&self.engine).unload();
        let mut loaded = Loaded::default();
        self.sampled(ms, &mut loaded, |host, loaded| {
            let start = Instant::now();
            let shape = lock(&host.engine).load(&folder, units).map_err(|e| broken(&e))?;
            loaded.load_ms = ms_since(start);
            loaded.functions.clone_from(&shape.functions);
            loaded.context_tokens = shape.context_tokens;
            loaded.prefill_tokens = shape.prefill_tokens;
            loaded.vocab_size = shape.vocab_size;
            *lock(&host.loaded) = Some(LoadedModel { package: package.to_owned(), shape });
            Ok(())
        })?;
        let key = format!("{package}\n{units:?}\n{}", self.machine.version);
        let first = lock(&self.store).first_load(&key);
        loaded.first = first.map_err(|e| fault("write", "loads.jsonl".as_ref(), &e))?;
        Ok(loaded)
    }

    fn generate(
        &self,
        prompt: &[u32],
        tokens: usize,
        arrived: Instant,
        progress: &Progress,
        generated: &mut Generated,
    ) -> Result<(), Refused> {
        let LoadedModel { shape, .. } = self.model()?;
        let mut engine = lock(&self.engine);
        engine.restart().map_err(|e| broken(&e))?;
        generated.prompt_tokens = prompt.len();
        let mut logits = Vec::new();
        for part in prompt.chunks(shape.prefill_tokens) {
            logits = last(engine.append(part).map_err(|e| broken(&e))?)?;
        }
        let mut id = greedy(&logits)?;
        let mut chosen = Instant::now();
        generated.ttft_ms = (chosen - arrived).as_secs_f64() * 1e3;
        generated.ids.push(id);
        progress.done.store(1, Relaxed);
        while generated.ids.len() < tokens {
            let logits = last(engine.append(&[id]).map_err(|e| broken(&e))?)?;
            id = greedy(&logits)?;
            let now = Instant::now();
            generated.token_ms.push((now - chosen).as_secs_f64() * 1e3);
            chosen = now;
            generated.ids.push(id);
            progress.done.store(generated.ids.len() as u64, Relaxed);
        }
        Ok(())
    }

    fn score(
        &self,
        ids: &[u32],
        logits_at: &[u32],
        path: &Path,
        progress: &Progress,
    ) -> Result<Scored, Refused> {
        let LoadedModel { shape, .. } = self.model()?;
        let failed = |e: std::io::Error| fault("write", path, &e);
        let file = match logits_at {
            [] => None,
            _ => Some(logits_file(path).map_err(failed)?),
        };
        let mut out = file.map(BufWriter::new);
        let mut wanted = logits_at.iter().map(|at| *at as usize).peekable();
        let mut engine = lock(&self.engine);
        engine.restart().map_err(|e| broken(&e))?;
        let mut nll_nats = Vec::with_capacity(ids.len());
        let mut position = 0;
        for part in ids.chunks(shape.prefill_tokens) {
            for logits in engine.append(part).map_err(|e| broken(&e))? {
                if let Some(next) = ids.get(position + 1) {
                    nll_nats.push(nll(&logits, *next)?);
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
            file.sync_all().map_err(failed)?;
        }
        Ok(Scored { nll_nats, positions: logits_at.to_vec(), vocab_size: shape.vocab_size })
    }

    /// Runs `work` with figures before, after and, where wanted, during it.
    fn sampled<T: Sampled>(
        &self,
        sample_ms: u32,
        result: &mut T,
        work: impl FnOnce(&Self, &mut T) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
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

/// Results that carry figures.
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

/// A failure of the engine or of the package that it was given.
fn broken(error: &Error) -> Refused {
    let code = match error.exit() {
        Exit::Surroundings => Code::Io,
        _ => Code::Engine,
    };
    (code, error.cause())
}

fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn logits_file(path: &Path) -> std::io::Result<File> {
    disk::remove(path)?;
    disk::open(path, File::options().write(true).create_new(true))
}

fn check_ids(ids: &[u32], shape: &Shape) -> Result<(), Refused> {
    match ids.iter().find(|id| **id as usize >= shape.vocab_size) {
        Some(id) => bad(format!("expected token ids below {}, found {id}", shape.vocab_size)),
        None => Ok(()),
    }
}

fn fits(tokens: usize, shape: &Shape) -> Result<(), Refused> {
    if tokens <= shape.context_tokens {
        return Ok(());
    }
    let most = shape.context_tokens;
    Err((Code::TooLarge, format!("{tokens} tokens: the cache holds {most}")))
}

fn last(mut logits: Vec<Vec<f32>>) -> Result<Vec<f32>, Refused> {
    logits.pop().ok_or_else(|| (Code::Engine, "the model gave no logits".to_owned()))
}

/// The token with the largest logit; of equal ones the lowest.
fn greedy(logits: &[f32]) -> Result<u32, Refused> {
    if logits.iter().any(|logit| logit.is_nan()) {
        return Err((Code::Engine, "a logit is not a number".to_owned()));
    }
    let mut best = (0, logits.first().ok_or((Code::Engine, "no logits".to_owned()))?);
    for (id, logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (id, logit);
        }
    }
    Ok(best.0)
}

/// Negative log-likelihood of `id`, summed in f64.
fn nll(logits: &[f32], id: u32) -> Result<f64, Refused> {
    let logit = logits.get(id as usize).copied();
    let logit = logit.ok_or_else(|| (Code::Engine, format!("no logit of token {id}")))?;
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - f64::from(most)).exp()).sum();
    let nll = f64::from(most) + sum.ln() - f64::from(logit);
    match nll.is_finite() {
        true => Ok(nll),
        false => Err((Code::Engine, format!("the likelihood of token {id} is not a number"))),
    }
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
    fn uniform_logits_give_the_logarithm_of_the_vocabulary() {
        let nll = nll(&[1000.0; 8], 3).unwrap();
        assert!((nll - 8_f64.ln()).abs() < 1e-12, "{nll}");
    }
}
