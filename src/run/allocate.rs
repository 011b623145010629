//! Allocates bits to tensors before a run: measures sensitivities or reads saved ones, chooses a
//! recipe per tensor within the budget, and writes the choice to a file that can be edited.

use std::path::Path;

use super::allocation_file::{self, Line};
use super::candidates::{candidates, windows};
use super::device_fit;
use super::job::Opened;
use super::observer::{Observer, Stage};
use super::options::RunOptions;
use super::plan::Plan;
use super::sensitivity_file::SensitivityFile;
use crate::NUMERIC_VERSION;
use crate::allocate::{
    Chosen, Item, Probe, Sensitivities, anchors, choose, predicted_kl_nats, sizes_bytes,
};
use crate::checkpoint::Checkpoint;
use crate::error::{At, Error, Result};
use crate::eval::mixed::{Blocks, ROLES, filled, place_of};
use crate::eval::{Host, MemorySum, Origin, Variant, Walk, Window};
use crate::files::write_atomic;
use crate::model::{self, Backend};
use crate::quantize::Recipe;
use crate::results::BLOCK_PARTS;
use crate::units::{BitsPerWeight, Bytes};

/// Allocates bits if `plan` asks for it. A dry run measures nothing, so it returns `None` unless an
/// earlier run saved the sensitivities.
///
/// # Errors
/// Input errors: invalid candidates, a budget below the smallest possible size, windows that are also
/// scored, too little memory. Surroundings errors of the disk, interruption.
pub fn allocate(
    plan: &Plan,
    opened: &Opened,
    options: &RunOptions,
    is_dry: bool,
    observer: &dyn Observer,
) -> Result<Option<Allocation>> {
    if !plan.target.is_set() {
        return Ok(None);
    }
    let problem = Problem::of(plan, opened)?;
    let budget_bytes = problem.budget_bytes(plan, observer)?;
    let folder = opened.folder(plan, &options.reports);
    let kept = problem.file(&folder);
    let measured = match (kept.measured(), is_dry) {
        (Some(measured), _) => measured,
        (None, true) => {
            observer.message(
                "bits are allocated after the tensors' sensitivities are measured; a dry run does \
                 not measure them",
            );
            return Ok(None);
        }
        (None, false) => {
            let measured = problem.measure(&kept, options.memory_bytes, observer)?;
            kept.keep(&measured)?;
            measured
        }
    };
    let allocated = problem.solve(&measured, budget_bytes)?;
    if !is_dry {
        allocated.write(&folder, observer)?;
    }
    Ok(Some(allocated))
}

/// A solved allocation.
pub struct Allocation {
    /// The model's name.
    pub model: String,
    /// Hash of its weights.
    pub model_hash: String,
    /// The chosen variant.
    pub variant: Variant,
    /// Its short form, which tables show.
    pub label: String,
    /// The choice for each tensor, by layer and role; `None` for what a layer does not have.
    pub lines: Vec<Vec<Option<Line>>>,
    /// The solver's result.
    pub chosen: Chosen,
    /// The budget of the blocks' linear layers, in bytes.
    pub budget_bytes: u64,
    /// Hash of everything that the sensitivities depend on.
    pub question: String,
}

impl Allocation {
    /// Writes the allocation file, unless there is one that was edited.
    ///
    /// # Errors
    /// Surroundings errors of the disk.
    pub fn write(&self, folder: &Path, observer: &dyn Observer) -> Result<()> {
        let chosen = &self.chosen;
        let head = [
            ("label", format!("{:?}", self.label)),
            ("model", format!("{:?}", self.model)),
            ("model_hash", format!("{:?}", self.model_hash)),
            ("sensitivities", format!("{:?}", self.question)),
            ("budget_bytes", self.budget_bytes.to_string()),
            ("size_bytes", chosen.size_bytes.to_string()),
            ("predicted_kl_nats", format!("{:.6e}", chosen.cost)),
            ("proven_gap", format!("{:.3e}", chosen.gap())),
        ];
        let name = self.label.replace(['+', ':'], "_");
        let path = folder.join(format!("allocation-{name}.toml"));
        let text = allocation_file::text(&head, &self.variant, &self.lines);
        let existing = allocation_file::variant(&format!("@{}", path.display())).ok();
        if path.is_file() && existing.as_ref() != Some(&self.variant) {
            observer.message(&format!(
                "{} was edited, so it is kept; replay it with --recipes @FILE",
                path.display()
            ));
            return Ok(());
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io("make", folder, e))?;
        write_atomic(&path, text.as_bytes())?;
        observer.message(&format!("allocation: {}", path.display()));
        Ok(())
    }
}

/// An allocation to be solved.
struct Problem<'a> {
    checkpoint: &'a Checkpoint,
    /// Per candidate recipe, the variant that codes all blocks with it.
    candidates: Vec<Variant>,
    /// Stored bytes by tensor and candidate; `None` if the candidate cannot code the tensor.
    sizes: Vec<Vec<Option<u64>>>,
    /// Indices of the candidates whose KL divergence is measured.
    anchors: Vec<usize>,
    /// The windows that sensitivities are measured on.
    windows: Vec<Window>,
    /// What measures them.
    backend: Backend,
}

impl<'a> Problem<'a> {
    fn of(plan: &Plan, opened: &'a Opened) -> Result<Self> {
        let checkpoint = &opened.checkpoint;
        let candidates = candidates(plan)?;
        let sizes = sizes_bytes(checkpoint, &candidates)?;
        let anchors = anchors(&sizes);
        if anchors.is_empty() {
            return Err(Error::input(
                "expected a candidate that can code every tensor of the model, found none",
            )
            .at("--candidates")
            .hint("add a palette or an integer recipe; they can code any shape"));
        }
        let windows = windows(plan, opened)?;
        Ok(Problem { checkpoint, candidates, sizes, anchors, windows, backend: plan.backend })
    }

    /// The bytes that the linear layers may take. Refuses a budget below the smallest possible size.
    fn budget_bytes(&self, plan: &Plan, observer: &dyn Observer) -> Result<u64> {
        let base = &self.candidates[self.anchors[0]];
        let parts = base.parts(self.checkpoint)?;
        let blocks = parts.iter().filter(|part| BLOCK_PARTS.contains(&part.part.as_str()));
        let (bytes, weights) =
            blocks.fold((0, 0), |(b, w), part| (b + part.size_bytes, w + part.weights));
        let tensor_bytes: u64 =
            self.sizes.iter().filter_map(|tensor| tensor[self.anchors[0]]).sum();
        // The scales of int8 inputs take the same bytes under every recipe.
        let fixed_bytes = bytes - tensor_bytes;
        let (budget_bytes, flag) = match (&plan.target.fit, plan.target.target_bits) {
            (Some(name), _) => {
                let device = device_fit::device(name).at(|| "--fit")?;
                let (entitled, context) = (plan.target.entitled, plan.context);
                let room = device_fit::room_bytes(device, entitled, self.checkpoint, base, context);
                (room.at(|| "--fit")?, format!("--fit {}", device.name))
            }
            (None, bits) => {
                let bits = bits.unwrap_or_default();
                if !(bits.is_finite() && bits > 0.0) {
                    return Err(Error::input(format!("expected bits above 0, found {bits}"))
                        .at("--target-bits"));
                }
                ((bits * weights as f64 / 8.0) as u64, format!("--target-bits {bits}"))
            }
        };
        let mean = |bytes: u64| BitsPerWeight::of(bytes, weights).0;
        let sum = |of: fn(&[Option<u64>]) -> u64| {
            self.sizes.iter().map(|tensor| of(tensor)).sum::<u64>() + fixed_bytes
        };
        let least = sum(|tensor| tensor.iter().flatten().copied().min().unwrap_or(0));
        let most = sum(|tensor| tensor.iter().flatten().copied().max().unwrap_or(0));
        if budget_bytes < least {
            let bits = (mean(least) * 100.0).ceil() / 100.0;
            return Err(Error::input(format!(
                "the budget of the blocks' linear layers is {}, but the smallest candidates take {} \
                 ({bits:.2} bits per weight)",
                Bytes(budget_bytes),
                Bytes(least)
            ))
            .at(flag)
            .hint(format!("allow {bits:.2} bits, or name narrower recipes with --candidates")));
        }
        if budget_bytes >= most {
            observer.message(&format!(
                "{flag}: the widest candidates take {} ({:.2} bits per weight), which is within \
                 the budget of {}",
                Bytes(most),
                mean(most),
                Bytes(budget_bytes)
            ));
        }
        Ok(budget_bytes - fixed_bytes)
    }

    /// Hash of everything that sensitivities depend on.
    fn question(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let windows = Origin::of(String::new(), &self.windows, self.backend);
        let hashes = [self.checkpoint.content_hash(), windows.windows_hash];
        for part in
            hashes.into_iter().chain(windows.backend).chain(self.candidates.iter().map(recipe_name))
        {
            hasher.update(part.as_bytes()).update(b"\n");
        }
        hasher.update(&NUMERIC_VERSION.to_le_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// The file that sensitivities are saved in.
    fn file(&self, folder: &Path) -> SensitivityFile {
        SensitivityFile {
            folder: folder.to_owned(),
            question: self.question(),
            candidates: self.candidates.iter().map(recipe_name).collect(),
            windows: self.windows.len(),
            layers: self.checkpoint.config.layers,
        }
    }

    fn measure(
        &self,
        kept: &SensitivityFile,
        memory: Option<u64>,
        observer: &dyn Observer,
    ) -> Result<Sensitivities> {
        let Problem { checkpoint, windows, anchors, .. } = self;
        let need = MemorySum::of_probe(checkpoint, windows, anchors.len(), Host::now())?;
        if let Some(budget) = memory.filter(|budget| *budget < need.total_bytes()) {
            return Err(Error::input(format!(
                "--memory {}: measuring sensitivities takes {}",
                Bytes(budget),
                Bytes(need.total_bytes())
            ))
            .hint("allow more memory, or give --sensitivity-windows 1 or a shorter --context"));
        }
        observer.message(&format!("measuring sensitivities on {} windows", windows.len()));
        let device = model::device(self.backend)?;
        let walk = Walk {
            checkpoint,
            variants: &[],
            windows,
            coded: &[],
            calibration: None,
            device: &device,
        };
        let probe = Probe { walk, candidates: &self.candidates, anchors };
        let mut stage = Stage::new("measuring sensitivities", observer);
        probe.measure(kept.layers(), &mut |layers| kept.keep_layers(layers), &mut stage)
    }

    /// Chooses the recipes with the lowest predicted cost within the budget.
    fn solve(&self, measured: &Sensitivities, budget_bytes: u64) -> Result<Allocation> {
        let costs = predicted_kl_nats(measured);
        // Per tensor, the candidates that can code it. The solver's picks are indices into these.
        let mut codable: Vec<Vec<usize>> = Vec::new();
        let mut groups: Vec<Vec<Item>> = Vec::new();
        let mut tensors: Vec<usize> = Vec::new();
        for (tensor, (sizes, costs)) in self.sizes.iter().zip(&costs).enumerate() {
            if self.weights(tensor) == 0 {
                continue;
            }
            let item = |(at, (size, cost)): (usize, (&Option<u64>, &Option<f64>))| {
                Some((at, Item { size_bytes: (*size)?, cost: (*cost)? }))
            };
            let items = sizes.iter().zip(costs).enumerate().filter_map(item);
            let (at, items): (Vec<usize>, Vec<Item>) = items.unzip();
            codable.push(at);
            groups.push(items);
            tensors.push(tensor);
        }
        let chosen = choose(&groups, budget_bytes)
            .ok_or_else(|| Error::bug("no choice fits a budget that was checked"))?;
        let mut lines = vec![vec![None; ROLES.len()]; self.checkpoint.config.layers];
        for (at, tensor) in tensors.into_iter().enumerate() {
            let item = groups[at][chosen.picks[at]];
            let candidate = codable[at][chosen.picks[at]];
            lines[tensor / ROLES.len()][tensor % ROLES.len()] = Some(Line {
                recipe: self.candidates[candidate].mlp.weights,
                bits: BitsPerWeight::of(item.size_bytes, self.weights(tensor)).0,
                size_bytes: item.size_bytes,
                predicted_kl_nats: item.cost,
            });
        }
        let variant = self.variant(&lines)?;
        let label = variant.label(&variant.parts(self.checkpoint)?);
        let (checkpoint, question) = (self.checkpoint, self.question());
        Ok(Allocation {
            model: checkpoint.name.clone(),
            model_hash: checkpoint.content_hash(),
            variant,
            label,
            lines,
            chosen,
            budget_bytes,
            question,
        })
    }

    /// The number of weights of a tensor, summed over all that stand in its place; 0 if the layer has none.
    fn weights(&self, tensor: usize) -> u64 {
        let (layer, place) = (tensor / ROLES.len(), tensor % ROLES.len());
        let is_it = |id: &crate::checkpoint::TensorId| {
            id.layer == Some(layer) && place_of(id.role) == Some(place) && !id.bias
        };
        let tensors = self.checkpoint.tensors().filter(|(id, _)| is_it(id));
        tensors.map(|(_, stored)| stored.weights()).sum()
    }

    fn variant(&self, lines: &[Vec<Option<Line>>]) -> Result<Variant> {
        let recipes = |layer: &Vec<Option<Line>>| {
            let known: [Option<Recipe>; ROLES.len()] = std::array::from_fn(|place| {
                layer.get(place).and_then(|line| line.as_ref().map(|line| line.recipe))
            });
            filled(known).ok_or_else(|| Error::bug("a layer without linear layers"))
        };
        let layers = lines.iter().map(recipes).collect::<Result<Vec<_>>>()?;
        let base = &self.candidates[self.anchors[0]];
        let name = format!("{}{}", Blocks::new(&layers)?, base.mlp.options());
        let variant: Variant = name.parse()?;
        Ok(Variant { embedding: base.embedding, head: base.head, ..variant })
    }
}

/// The recipe of a candidate's blocks.
fn recipe_name(candidate: &Variant) -> String {
    candidate.mlp.weights.to_string()
}
