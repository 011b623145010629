//! Hidden states after the last block to scores, slice by slice of the vocabulary.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use candle_core::Tensor;
use rayon::prelude::*;

use super::coded_file::head_name;
use super::divergence::{Score, Scorer, VocabularySlice};
use super::lane::{Lane, Outcome};
use super::protocol::Window;
use super::setting::Walk;
use super::timing::{Phase, Timings};
use super::vocabulary::{Source, Vocabulary, distinct};
use crate::error::Result;
use crate::model;

/// One lane at the head: normed hidden states `[scored, hidden]` and a scorer per window.
struct HeadLane {
    lane: Lane,
    coding: usize,
    normed: Vec<Tensor>,
}

/// Scores every lane; the first is the reference.
///
/// # Errors
/// Input errors of the checkpoint, bug-class errors from candle.
pub fn score(
    walk: &Walk<'_>,
    lanes: Vec<Lane>,
    gains: &[Option<Tensor>],
    timings: &mut Timings,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Outcome>> {
    let (sources, own) = distinct(lanes.iter().map(|lane| Source {
        recipe: lane.variant.head,
        file:
            lane.file.as_ref().map(|f| (Arc::clone(f), head_name(walk.checkpoint, &lane.variant))),
    }));
    let mut vocabulary = Vocabulary::new(walk.checkpoint, walk.checkpoint.head(), &sources)?;
    let mut lanes = prepare(walk, lanes, gains, &own)?;
    let mut scorers: Vec<Vec<Scorer>> = walk
        .windows
        .iter()
        .map(|window| vec![Scorer::new(window.scored.len()); lanes.len()])
        .collect();
    for (index, slice) in vocabulary.slices().into_iter().enumerate() {
        progress(index)?;
        let start = Instant::now();
        let decoded = vocabulary.decode(slice.clone())?;
        let shape = [slice.len(), walk.checkpoint.config.hidden_size];
        let heads = decoded
            .into_iter()
            .map(|values| values.map(|v| model::matrix(v, shape, walk.device)).transpose())
            .collect::<Result<Vec<_>>>()?;
        timings.add(Phase::HeadCode, start.elapsed());
        add_slice(walk, &lanes, &heads, slice.start as u32, &mut scorers, timings)?;
    }
    for head in &mut lanes {
        if let Some(error) = vocabulary.failure(head.coding) {
            head.lane.fail(error);
        } else if !walk.checkpoint.config.tied
            || head.lane.variant.stores_tied_head(walk.checkpoint)
        {
            head.lane.note(vocabulary.hash(head.coding));
        }
    }
    Ok(outcomes(lanes, &scorers))
}

/// Applies the final norm to what is scored, and lets go of the rest.
fn prepare(
    walk: &Walk<'_>,
    lanes: Vec<Lane>,
    gains: &[Option<Tensor>],
    own: &[usize],
) -> Result<Vec<HeadLane>> {
    let mut prepared = Vec::with_capacity(lanes.len());
    for ((mut lane, gain), &coding) in lanes.into_iter().zip(gains).zip(own) {
        let mut normed = Vec::new();
        if let (true, Some(gain)) = (lane.is_alive(), gain) {
            for (hidden, window) in std::mem::take(&mut lane.hidden).iter().zip(walk.windows) {
                // Position p predicts the token at p + 1.
                let rows = window.scored.start - 1..window.scored.end - 1;
                normed.push(model::final_norm(hidden, gain, rows, &walk.checkpoint.config)?);
            }
        }
        prepared.push(HeadLane { lane, coding, normed });
    }
    Ok(prepared)
}

/// Adds one slice of logits to every scorer, windows in parallel.
fn add_slice(
    walk: &Walk<'_>,
    lanes: &[HeadLane],
    heads: &[Option<Tensor>],
    first: u32,
    scorers: &mut [Vec<Scorer>],
    timings: &mut Timings,
) -> Result<()> {
    let spent = Mutex::new([0u128; 2]);
    let start = Instant::now();
    scorers.par_iter_mut().zip(walk.windows).enumerate().try_for_each(
        |(index, (scorers, window))| {
            let begin = Instant::now();
            let targets = targets(window);
            let slice = VocabularySlice { first, targets };
            let Some(head) = &heads[lanes[0].coding] else { return Ok(()) };
            let reference = model::logits(&lanes[0].normed[index], head)?;
            let middle = model::with_values(&reference, |base| {
                scorers[0].add(slice, base, None);
                let middle = Instant::now();
                for (lane, scorer) in lanes.iter().zip(scorers.iter_mut()).skip(1) {
                    let (Some(normed), Some(head)) = (lane.normed.get(index), &heads[lane.coding])
                    else {
                        continue;
                    };
                    let logits = model::logits(normed, head)?;
                    model::with_values(&logits, |own| scorer.add(slice, own, Some(base)))?;
                }
                Ok(middle)
            })??;
            if let Ok(mut spent) = spent.lock() {
                spent[0] += (middle - begin).as_nanos();
                spent[1] += middle.elapsed().as_nanos();
            }
            Ok::<(), crate::error::Error>(())
        },
    )?;
    // The wall clock is shared out by the threads' own times.
    let [reference, variants] = spent.into_inner().unwrap_or_default();
    let share = reference as f64 / (reference + variants).max(1) as f64;
    let elapsed = start.elapsed();
    timings.add(Phase::ReferenceHead, elapsed.mul_f64(share));
    timings.add(Phase::Head, elapsed.mul_f64(1.0 - share));
    Ok(())
}

fn targets(window: &Window) -> &[u32] {
    &window.ids[window.scored.clone()]
}

fn outcomes(lanes: Vec<HeadLane>, scorers: &[Vec<Scorer>]) -> Vec<Outcome> {
    let outcome = |(index, head): (usize, HeadLane)| match head.lane.failure {
        Some(cause) => Err(cause),
        None => {
            let mut routing = head.lane.routing.into_iter();
            let score = |window: &Vec<Scorer>| Score {
                routing: routing.next().unwrap_or_default(),
                ..window[index].finish(&window[0])
            };
            let scores = scorers.iter().map(score).collect();
            Ok((scores, head.lane.coded))
        }
    };
    lanes.into_iter().enumerate().map(outcome).collect()
}
