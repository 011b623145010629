//! Computes scores from the hidden states after the last block, one slice of the vocabulary at a time.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use candle_core::Tensor;
use rayon::prelude::*;

use super::calibration::InputHistograms;
use super::coded_file::head_name;
use super::divergence::{Score, Scorer, VocabularySlice};
use super::final_weights::FinalWeights;
use super::fp16_range::Fp16Overflow;
use super::lane::{Lane, Outcome, Scored};
use super::protocol::Window;
use super::setting::Walk;
use super::timing::{Phase, Timings};
use super::vocabulary::{Source, Vocabulary, distinct};
use crate::error::Result;
use crate::model::{self, Activation, FP16_OVERFLOW, HeadSlice, Input, NormLayer, Watch};

/// One lane at the head, with its normed hidden states per window, `[scored, hidden]`.
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
    last: &[Option<FinalWeights>],
    timings: &mut Timings,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Outcome>> {
    let (sources, own) = distinct(lanes.iter().map(|lane| Source {
        recipe: lane.variant.head.weights,
        file:
            lane.file.as_ref().map(|f| (Arc::clone(f), head_name(walk.checkpoint, &lane.variant))),
    }));
    let mut vocabulary = Vocabulary::new(walk.checkpoint, walk.checkpoint.head(), &sources)?;
    let mut lanes = prepare(walk, lanes, last, &own)?;
    let mut scorers: Vec<Vec<Scorer>> = walk
        .windows
        .iter()
        .map(|window| vec![Scorer::new(window.scored.len()); lanes.len()])
        .collect();
    // A walk without windows is only run to choose ranges.
    let slices = if walk.windows.is_empty() { Vec::new() } else { vocabulary.slices() };
    for (index, slice) in slices.into_iter().enumerate() {
        progress(index)?;
        let start = Instant::now();
        let decoded = vocabulary.decode(slice.clone())?;
        let (slice_rows, shape) =
            (slice.clone(), [slice.len(), walk.checkpoint.config.hidden_size]);
        let heads = decoded
            .into_iter()
            .map(|values| values.map(|v| model::matrix(v, shape, walk.device)).transpose())
            .collect::<Result<Vec<_>>>()?;
        // Lanes that share a matrix may have biases of their own.
        let of_lane = |(head, last): (&HeadLane, &Option<FinalWeights>)| {
            let slice = heads[head.coding].clone().zip(last.as_ref());
            slice.map(|(weight, last)| last.slice(weight, slice_rows.clone())).transpose()
        };
        let heads = lanes.iter().zip(last).map(of_lane).collect::<Result<Vec<_>>>()?;
        timings.add(Phase::HeadCode, start.elapsed());
        add_slice(walk, &lanes, &heads, slice.start as u32, &mut scorers, timings)?;
    }
    for head in &mut lanes {
        if let Some(cause) = vocabulary.failure(head.coding) {
            head.lane.end(cause.clone());
        } else if !walk.checkpoint.config.tied
            || head.lane.variant.stores_tied_head(walk.checkpoint)
        {
            head.lane.add_hash(vocabulary.hash(head.coding));
        }
    }
    Ok(outcomes(lanes, &scorers))
}

/// Applies the final norm to the scored positions and drops all other states.
fn prepare(
    walk: &Walk<'_>,
    lanes: Vec<Lane>,
    last: &[Option<FinalWeights>],
    own: &[usize],
) -> Result<Vec<HeadLane>> {
    let mut prepared = Vec::with_capacity(lanes.len());
    for ((mut lane, last), &coding) in lanes.into_iter().zip(last).zip(own) {
        let mut normed = Vec::new();
        if let (true, Some(last)) = (lane.is_alive(), last) {
            if lane.variant.has_int8(Input::Head) {
                choose_scale(walk, &mut lane, &last.norm)?;
            }
            let scale = lane.scales.get(None, Input::Head);
            lane.overflows.resize(lane.hidden.len(), None);
            let hidden = std::mem::take(&mut lane.hidden);
            let windows = hidden.iter().zip(walk.windows).zip(&mut lane.overflows);
            for ((hidden, window), overflow) in windows {
                // Position p predicts the token at p + 1.
                let rows = window.scored.start - 1..window.scored.end - 1;
                let states = model::final_norm(hidden, &last.norm, rows)?;
                let watch = Watch::default();
                watch.see(Activation::HeadInput, &states).map_err(model::failed)?;
                Fp16Overflow::note(overflow, None, &watch);
                normed.push(match scale {
                    Some(scale) => model::in_int8(&states, scale)?,
                    None => states,
                });
            }
        }
        prepared.push(HeadLane { lane, coding, normed });
    }
    Ok(prepared)
}

/// Chooses the scale of the head's input on the calibration windows. The lane fails if it has no range.
fn choose_scale(walk: &Walk<'_>, lane: &mut Lane, norm: &NormLayer) -> Result<()> {
    let Some(calibration) = walk.calibration else { return Ok(()) };
    let histograms = InputHistograms::default();
    for (hidden, window) in walk.calibration_states(lane).iter().zip(&calibration.windows) {
        let normed = model::final_norm(hidden, norm, 0..window.ids.len())?;
        model::with_values(&normed, |values| histograms.count(Input::Head, values))?;
    }
    if let Err(error) =
        histograms.choose(calibration.method, None, &[Input::Head], &mut lane.scales)
    {
        lane.fail(error)?;
    }
    Ok(())
}

/// Adds one slice of logits to every scorer, windows in parallel.
fn add_slice(
    walk: &Walk<'_>,
    lanes: &[HeadLane],
    heads: &[Option<HeadSlice>],
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
            let Some(head) = &heads[0] else { return Ok(()) };
            let config = &walk.checkpoint.config;
            let reference = model::logits(&lanes[0].normed[index], head, config)?;
            let middle = model::with_values(&reference, |base| {
                scorers[0].add(slice, base, None);
                let middle = Instant::now();
                let others = lanes.iter().zip(heads).zip(scorers.iter_mut());
                for ((lane, head), scorer) in others.skip(1) {
                    let (Some(normed), Some(head)) = (lane.normed.get(index), head) else {
                        continue;
                    };
                    let logits = model::logits(normed, head, config)?;
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
    // Wall time is divided in proportion to the threads' own times.
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

/// The overflow of a window's logits, if there is one. A large negative logit does no harm.
fn of_logits(scorer: &Scorer) -> Option<Fp16Overflow> {
    let (of, magnitude) = (Activation::Logits, scorer.largest_logit());
    (magnitude >= FP16_OVERFLOW).then_some(Fp16Overflow { layer: None, of, magnitude })
}

fn outcomes(lanes: Vec<HeadLane>, scorers: &[Vec<Scorer>]) -> Vec<Outcome> {
    let outcome = |(index, head): (usize, HeadLane)| match head.lane.failure {
        Some(cause) => Err(cause),
        None => {
            let mut routing = head.lane.routing.into_iter();
            let mut overflows = head.lane.overflows.into_iter();
            let score = |window: &Vec<Scorer>| Score {
                routing: routing.next().unwrap_or_default(),
                fp16_overflow: overflows.next().flatten().or_else(|| of_logits(&window[index])),
                ..window[index].finish(&window[0])
            };
            let scores = scorers.iter().map(score).collect();
            Ok(Scored { scores, coded: head.lane.coded, scales: head.lane.scales })
        }
    };
    lanes.into_iter().enumerate().map(outcome).collect()
}
