//! Collects the second moments of the inputs of the reference's linear layers, once for recipes of any
//! width. One walk over the calibration windows writes a part file per layer, then joins them to one.

use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::correlation::Tokens;
use super::experts::{expert_inputs, pooled};
use super::moments_file::{Facts, MomentsFile, name_of, packed, write};
use super::part_file::{part_path, remove_part_files};
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

/// The inputs of a collection, and the file to write.
pub struct Collection<'a> {
    /// The walk, over calibration windows and without variants.
    pub walk: Walk<'a>,
    /// The file to write.
    pub path: &'a Path,
    /// The text and windows.
    pub origin: &'a Origin,
}

/// The packed moments of a layer by name, and in a mixture, the number of tokens of each expert.
#[derive(Default)]
struct Collected {
    entries: Vec<(String, Vec<u8>)>,
    tokens: Option<Vec<u64>>,
}

/// Collects the second moments of every layer. Layers that an interrupted collection saved are walked
/// but not collected again.
///
/// # Errors
/// Input errors of the checkpoint and states that overflow, surroundings errors of the disk,
/// interruption. Layers that were collected before an interruption are saved.
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
        match collection.saved(layer) {
            Some(_) => {
                Layer { walk: &collection.walk, layer, rope: &rope }.run(&mut lanes, timings)?;
            }
            None => {
                let [lane] = &mut lanes;
                let collected = collection.layer(layer, &rope, lane, timings);
                collection.save(layer, collected.at(|| format!("layer {layer}"))?)?;
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
        part_path(self.path, &format!("layer{layer}"))
    }

    /// A layer's part file, if it exists and belongs to this collection.
    fn saved(&self, layer: usize) -> Option<MomentsFile> {
        let checkpoint = self.walk.checkpoint;
        let file = MomentsFile::open(&self.part(layer)).ok()?;
        let Facts { model_hash, origin, .. } = file.facts();
        let is_ours = *model_hash == checkpoint.content_hash() && origin == self.origin;
        (is_ours && file.check_layer(checkpoint, layer).is_ok()).then_some(file)
    }

    /// Takes the reference through a layer and collects the moments of its linear layers' inputs.
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
        let stages = timings.measure(Phase::ReferenceForward, || {
            Stages::of(config, layer, &block, &lane.hidden, rope)
        })?;
        let tokens = Tokens::by_output(&stages.output)?;
        let of_normed = |states: &Option<Vec<Tensor>>| match states {
            Some(states) => tokens.over(states),
            None => Ok(tokens.slice(0..stages.output.len())),
        };
        let mut collected = Collected::default();
        let mut add = |input: Input, tokens: &Tokens, rows: &[Tensor]| {
            collected.add(name_of(layer, None, input), tokens, rows)
        };
        add(Input::Attention, &tokens, &stages.attention)?;
        for (input, states) in &stages.latents {
            add(*input, &tokens, states)?;
        }
        let of_output = of_normed(&stages.projected)?;
        add(Input::Output, &of_output, &each(&stages.attention, |x| block.attended(x, rope))?)?;
        if let Some(dense) = block.mlp() {
            add(Input::Mlp, &tokens, &stages.mlp)?;
            let inner = each(&stages.mlp, |x| dense.inner(x))?;
            add(Input::Down, &of_normed(&stages.down)?, &inner)?;
        }
        if let Some(shared) = block.shared() {
            add(Input::SharedDown, &tokens, &each(&stages.mlp, |x| shared.inner(x))?)?;
        }
        lane.routed = route(&block, &stages.mlp)?;
        lane.hidden.clone_from(&stages.output);
        drop((stages, block));
        if let Some(experts) = config.mixture(layer) {
            self.experts(layer, experts.count, lane, &mut collected, timings)?;
        }
        finish(lane, config)?;
        Ok(collected)
    }

    /// Takes the reference through the experts of a layer and collects the moments of their inputs.
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
            let (rows, is_pooled) = expert_inputs(&lane.routed, expert, hidden_size)?;
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
    fn save(&self, layer: usize, mut collected: Collected) -> Result<()> {
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

    /// Joins the part files to one file and removes them.
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
        remove_part_files(self.path)
    }
}

impl Collected {
    /// Adds the mean of `x xᵀ` over the tokens of the windows `rows`, each `[tokens, in]`.
    fn add(&mut self, name: String, tokens: &Tokens, rows: &[Tensor]) -> Result<()> {
        let inputs = rows.first().map_or(0, |rows| rows.dim(1).unwrap_or(0));
        let moments = packed(&tokens.mean_product(rows, rows)?, inputs).at(|| name.clone())?;
        self.entries.push((name, moments));
        Ok(())
    }
}
