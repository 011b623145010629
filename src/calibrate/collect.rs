//! Second moments of what the reference's linear layers are given, collected once for recipes of any
//! width: one walk over the calibration windows, a part file per layer, and a file of all at the end.

use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::correlation::Tokens;
use super::experts::{given, pooled};
use super::moments_file::{Facts, MomentsFile, name_of, packed, write};
use super::part_file::{beside, sweep_up};
use super::stages::Stages;
use super::unit::Unit;
use crate::checkpoint::Checkpoint;
use crate::error::{At, Result};
use crate::eval::embed;
use crate::eval::lane::Lane;
use crate::eval::layer::{Layer, finish};
use crate::eval::origin::Origin;
use crate::eval::setting::Walk;
use crate::eval::timing::{Phase, Timings};
use crate::eval::variant::Variant;
use crate::eval::walk::{WalkObserver, stop_if_asked};
use crate::eval::windows::each;
use crate::eval::windows::route;
use crate::model::{self, Block, Input, Mlp, RopeTables};

/// What is collected, and where to.
pub struct Collection<'a> {
    /// The walk: its windows are those of calibration, and it has no variants.
    pub walk: Walk<'a>,
    /// The file that is to be written.
    pub path: &'a Path,
    /// What the windows are.
    pub origin: &'a Origin,
}

/// Moments of a layer by name, packed, and in a mixture the tokens of its experts.
#[derive(Default)]
struct Collected {
    entries: Vec<(String, Vec<u8>)>,
    tokens: Option<Vec<u64>>,
}

/// Collects the second moments of every layer. Layers that were kept before an interruption are only
/// walked through.
///
/// # Errors
/// Input errors of the checkpoint and states that overflow, surroundings errors of the disk,
/// interruption: layers that were collected by then are kept.
pub fn collect(
    collection: &Collection<'_>,
    timings: &mut Timings,
    observer: &mut dyn WalkObserver,
) -> Result<()> {
    let Walk { checkpoint, windows, device, .. } = collection.walk;
    let layers = checkpoint.config.layers;
    let mut lanes = [Lane::new(Variant::reference())];
    timings.measure(Phase::Embedding, || embed::embed(&collection.walk, &mut lanes))?;
    let tokens = windows.iter().map(|window| window.ids.len()).max().unwrap_or(0);
    let rope = RopeTables::new(&checkpoint.config, tokens, device)?;
    for layer in 0..layers {
        observer.progress(layer, layers + 1);
        checkpoint.check_unchanged()?;
        match collection.kept(layer) {
            Some(_) => {
                Layer { walk: &collection.walk, layer, rope: &rope }.run(&mut lanes, timings)?;
            }
            None => {
                let [lane] = &mut lanes;
                let collected = collection.layer(layer, &rope, lane, timings);
                collection.keep(layer, collected.at(|| format!("layer {layer}"))?)?;
            }
        }
        stop_if_asked(observer)?;
    }
    collection.join(layers)?;
    observer.progress(layers + 1, layers + 1);
    Ok(())
}

impl Collection<'_> {
    fn part(&self, layer: usize) -> PathBuf {
        beside(self.path, &format!("layer{layer}"))
    }

    /// A layer's part file, where it is there and belongs to this collection.
    fn kept(&self, layer: usize) -> Option<MomentsFile> {
        let checkpoint = self.walk.checkpoint;
        let file = MomentsFile::open(&self.part(layer)).ok()?;
        let Facts { model_hash, origin, .. } = file.facts();
        let is_ours = *model_hash == checkpoint.content_hash() && origin == self.origin;
        (is_ours && file.check_layer(checkpoint, layer).is_ok()).then_some(file)
    }

    /// Takes the reference through a layer and collects what its linear layers are given.
    fn layer(
        &self,
        layer: usize,
        rope: &RopeTables,
        lane: &mut Lane,
        timings: &mut Timings,
    ) -> Result<Collected> {
        let Walk { checkpoint, device, .. } = self.walk;
        let config = &checkpoint.config;
        let unit = timings
            .measure(Phase::Read, || Unit::read(checkpoint, &config.block_tensors(layer)))?;
        let block = Block::new(config, layer, unit.weights(checkpoint, device)?)?;
        drop(unit);
        let stages =
            timings.measure(Phase::ReferenceForward, || Stages::of(&block, &lane.hidden, rope))?;
        let outputs = if block.mlp().is_some() { &stages.output } else { &stages.attended };
        let tokens = Tokens::by_output(outputs)?;
        let mut collected = Collected::default();
        let mut add = |input: Input, rows: &[Tensor]| {
            collected.add(name_of(layer, None, input), &tokens, rows)
        };
        add(Input::Attention, &stages.attention)?;
        add(Input::Output, &each(&stages.attention, |x| block.attended(x, rope))?)?;
        if let Some(dense) = block.mlp() {
            add(Input::Mlp, &stages.mlp)?;
            add(Input::Down, &each(&stages.mlp, |x| dense.inner(x))?)?;
        }
        lane.routed = route(&block, &stages.attended)?;
        lane.hidden.clone_from(outputs);
        drop((stages, block));
        if let Some(experts) = &config.experts {
            self.experts(layer, experts.count, lane, &mut collected, timings)?;
        }
        finish(lane)?;
        Ok(collected)
    }

    /// Takes the reference through the experts of a layer.
    fn experts(
        &self,
        layer: usize,
        count: usize,
        lane: &mut Lane,
        collected: &mut Collected,
        timings: &mut Timings,
    ) -> Result<()> {
        let Walk { checkpoint, device, .. } = self.walk;
        let hidden_size = checkpoint.config.hidden_size;
        let mut tokens = vec![0u64; count];
        for routed in &lane.routed {
            tokens.iter_mut().zip(routed.load(count)).for_each(|(sum, own)| *sum += u64::from(own));
        }
        collected.tokens = Some(tokens);
        let all = pooled(&lane.routed);
        collected.add(name_of(layer, None, Input::Mlp), &Tokens::alike(&all)?, &all)?;
        drop(all);
        for expert in 0..count {
            let ids = checkpoint.config.expert_tensors(layer, expert);
            let unit = timings.measure(Phase::Read, || Unit::read(checkpoint, &ids))?;
            let mlp = Mlp::new(&checkpoint.config, unit.weights(checkpoint, device)?)?;
            drop(unit);
            let (rows, is_pooled) = given(&lane.routed, expert, hidden_size)?;
            let alike = Tokens::alike(&rows)?;
            if !is_pooled {
                collected.add(name_of(layer, Some(expert), Input::Mlp), &alike, &rows)?;
            }
            let inner = rows.iter().map(|x| mlp.inner(x).map_err(model::failed));
            let inner = inner.collect::<Result<Vec<_>>>()?;
            collected.add(name_of(layer, Some(expert), Input::Down), &alike, &inner)?;
            timings.measure(Phase::ReferenceForward, || {
                let routed = lane.routed.iter_mut();
                routed.into_iter().try_for_each(|r| r.apply(expert, |x| mlp.forward(x)))
            })?;
        }
        Ok(())
    }

    /// Writes a layer's part file.
    fn keep(&self, layer: usize, mut collected: Collected) -> Result<()> {
        collected.entries.sort();
        let facts = Facts {
            model_hash: self.walk.checkpoint.content_hash(),
            origin: self.origin.clone(),
            tokens: collected.tokens.into_iter().map(|tokens| (layer, tokens)).collect(),
        };
        let sizes: Vec<(String, usize)> =
            collected.entries.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect();
        write(&self.part(layer), &facts, &sizes, |at| &collected.entries[at].1)
    }

    /// Joins the parts to one file, and removes them.
    fn join(&self, layers: usize) -> Result<()> {
        let checkpoint: &Checkpoint = self.walk.checkpoint;
        let parts = (0..layers).map(|layer| MomentsFile::open(&self.part(layer)));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let mut entries: Vec<(&str, &[u8])> = parts.iter().flat_map(MomentsFile::entries).collect();
        entries.sort_by_key(|(name, _)| *name);
        let facts = Facts {
            model_hash: checkpoint.content_hash(),
            origin: self.origin.clone(),
            tokens: parts.iter().flat_map(|part| part.facts().tokens.clone()).collect(),
        };
        let sizes: Vec<(String, usize)> =
            entries.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.len())).collect();
        write(self.path, &facts, &sizes, |at| entries[at].1)?;
        drop(entries);
        drop(parts);
        sweep_up(self.path)
    }
}

impl Collected {
    /// Adds the mean of `x xᵀ` over tokens, from windows `rows` `[tokens, in]`.
    fn add(&mut self, name: String, tokens: &Tokens, rows: &[Tensor]) -> Result<()> {
        let inputs = rows.first().map_or(0, |rows| rows.dim(1).unwrap_or(0));
        let moments = packed(&tokens.mean_product(rows, rows)?, inputs).at(|| name.clone())?;
        self.entries.push((name, moments));
        Ok(())
    }
}
