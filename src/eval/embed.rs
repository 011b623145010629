//! Embeds token ids: gives the hidden states before the first block.

use std::sync::Arc;

use super::lane::Lane;
use super::layer::code;
use super::protocol::Window;
use super::setting::Walk;
use super::vocabulary::{Source, Vocabulary, distinct};
use crate::checkpoint::{Role, TensorId};
use crate::error::Result;
use crate::model;

/// One token of the windows and its position.
struct Occurrence {
    id: u32,
    window: usize,
    position: usize,
}

/// Fills every lane's hidden states: per window `[tokens, hidden]`.
///
/// # Errors
/// Input errors of the checkpoint.
pub fn embed(walk: &Walk<'_>, lanes: &mut [Lane]) -> Result<()> {
    let config = &walk.checkpoint.config;
    let (hidden_size, scale) = (config.hidden_size, config.embedding_scale);
    let id = TensorId::model(Role::Embedding);
    let (sources, own) = distinct(lanes.iter().map(|lane| Source {
        recipe: lane.variant.embedding,
        file: lane.file.as_ref().map(|file| (Arc::clone(file), id.name())),
    }));
    let mut vocabulary = Vocabulary::new(walk.checkpoint, id, &sources)?;
    let occurrences = occurrences(walk);
    let mut rows: Vec<Vec<Vec<f32>>> = vec![blank(walk, hidden_size); sources.len()];
    for slice in vocabulary.slices() {
        let decoded = vocabulary.decode(slice.clone())?;
        let of_slice = |o: &&Occurrence| slice.contains(&(o.id as usize));
        let first = occurrences.partition_point(|o| (o.id as usize) < slice.start);
        for occurrence in occurrences[first..].iter().take_while(of_slice) {
            let from = (occurrence.id as usize - slice.start) * hidden_size;
            let to = occurrence.position * hidden_size;
            for (rows, values) in rows.iter_mut().zip(&decoded) {
                if let Some(values) = values {
                    rows[occurrence.window][to..to + hidden_size]
                        .copy_from_slice(&values[from..from + hidden_size]);
                }
            }
        }
    }
    for (lane, coding) in lanes.iter_mut().zip(own) {
        if let Some(cause) = vocabulary.failure(coding) {
            lane.end(cause.clone());
            continue;
        }
        if !lane.variant.is_reference() {
            lane.add_hash(vocabulary.hash(coding));
        }
        let positions = positions(walk, lane)?;
        for (rows, window) in rows[coding].iter().zip(walk.windows_of(&lane.variant)) {
            let shape = [window.ids.len(), hidden_size];
            let mut rows = rows.clone();
            if scale != 1.0 {
                rows.iter_mut().for_each(|value| *value *= scale);
            }
            if let Some(positions) = &positions {
                rows.iter_mut().zip(positions).for_each(|(value, position)| *value += position);
            }
            lane.hidden.push(model::matrix(rows, shape, walk.device)?);
        }
    }
    Ok(())
}

/// The learned embeddings of the positions of the longest window, row-major, as the lane has them.
fn positions(walk: &Walk<'_>, lane: &mut Lane) -> Result<Option<Vec<f32>>> {
    let checkpoint = walk.checkpoint;
    if !checkpoint.config.learned_positions {
        return Ok(None);
    }
    let id = TensorId::model(Role::Positions);
    let values = checkpoint.read(id)?;
    let coded = code(lane, checkpoint, &[(id, values.clone())])?;
    let decoded = coded.and_then(|mut coded| coded.pop()).map(|(_, form)| form.decode());
    Ok(Some(decoded.unwrap_or(values)))
}

fn blank(walk: &Walk<'_>, hidden_size: usize) -> Vec<Vec<f32>> {
    let windows = walk.windows.iter().chain(walk.calibration_windows());
    windows.map(|window| vec![0.0; window.ids.len() * hidden_size]).collect()
}

/// Every token of every window, sorted by id; calibration windows have the last indices.
fn occurrences(walk: &Walk<'_>) -> Vec<Occurrence> {
    let mut all: Vec<Occurrence> = Vec::new();
    let windows = walk.windows.iter().chain(walk.calibration_windows());
    for (window, Window { ids, .. }) in windows.enumerate() {
        let tokens = ids.iter().enumerate();
        all.extend(tokens.map(|(position, &id)| Occurrence { id, window, position }));
    }
    all.sort_by_key(|o| (o.id, o.window, o.position));
    all
}
