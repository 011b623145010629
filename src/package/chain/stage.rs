//! One stage of a chain: a package, or a block of a mixture together with its experts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inputs::TokenBatch;
use crate::error::{At, Error, Result};
use crate::package::budget::{Budget, Charge};
use crate::package::bundle::{Bundle, PackageEntry, PackageRole};
use crate::package::execute::{Executable, Precision, States, Tensor, element_count};
use crate::package::program::{FUNCTIONS, HIDDEN_OUTPUT};
use crate::package::read::Package;

/// A loaded package with its cache.
#[derive(Debug)]
pub(super) struct ChainStage {
    role: PackageRole,
    /// The functions `decode` and `prefill`.
    functions: [Executable; 2],
    states: States,
    /// Keys and values by the name of their input, if the cache is passed as inputs.
    cache: BTreeMap<&'static str, Tensor>,
    budget: Arc<Budget>,
    /// The memory of `cache`.
    _charge: Charge,
    /// The experts of the layer, if this stage is a router.
    experts: Option<LoadedExperts>,
    /// Whether hidden states are `[1, channels, 1, tokens]` instead of `[1, tokens, channels]`.
    channels_first: bool,
    window_tokens: Option<usize>,
    /// For each function the names of the hidden states after its blocks, if they are recorded.
    recorded: [Vec<String>; 2],
}

/// Returns the names of the hidden states after each block, for a function of a package. `None`
/// records nothing.
pub(super) type BlockValueNames<'a> =
    Option<&'a dyn Fn(&PackageEntry, &str) -> Result<Vec<String>>>;

/// The experts of a layer. The functions of an expert are loaded when a token is first sent to it.
#[derive(Debug)]
struct LoadedExperts {
    package: Package,
    precision: Precision,
    loaded: BTreeMap<String, Executable>,
}

/// The inputs that hold the cache, and the outputs with the rows to append to them.
const CACHES: [(&str, &str); 2] = [("key_cache", "new_keys"), ("value_cache", "new_values")];
/// The input that holds the last inputs of short convolutions, and the output that replaces it.
const CONV_CACHE: (&str, &str) = ("conv_cache", "new_conv_cache");

/// The names of all inputs that stay between calls.
fn kept_inputs() -> impl Iterator<Item = &'static str> {
    CACHES.into_iter().chain([CONV_CACHE]).map(|(name, _)| name)
}

impl ChainStage {
    /// All stages of a folder, in the order in which they run.
    pub fn all(
        bundle: &Bundle,
        precision: Precision,
        names: BlockValueNames<'_>,
    ) -> Result<Vec<ChainStage>> {
        let entries = &bundle.manifest.packages;
        let chain = entries.iter().filter(|entry| entry.role != PackageRole::Experts);
        // A stage with one package per function is opened by its first one.
        let first = chain.filter(|entry| entry.function.as_deref() != Some(FUNCTIONS[1]));
        let open = |entry| Self::open(bundle, entry, precision, names);
        first.map(|entry| open(entry).at(|| entry.path.clone())).collect()
    }

    fn open(
        bundle: &Bundle,
        entry: &PackageEntry,
        precision: Precision,
        names: BlockValueNames<'_>,
    ) -> Result<ChainStage> {
        let is_of_stage =
            |other: &&PackageEntry| other.role == entry.role && other.layers == entry.layers;
        let load = |function: &str| {
            let mut entries = bundle.manifest.packages.iter().filter(is_of_stage);
            let own = entries.find(|e| e.function.as_deref().is_none_or(|only| only == function));
            let own = own.ok_or_else(|| {
                Error::input(format!("no package has the function {function} of this stage"))
            })?;
            let name = if own.function.is_some() { "main" } else { function };
            let recorded = names.map_or_else(|| Ok(Vec::new()), |names| names(own, name))?;
            // The block of a router is complete only after its experts.
            let inner = if own.role == PackageRole::Router { &[][..] } else { &recorded };
            let inner: Vec<String> =
                inner.iter().filter(|name| *name != HIDDEN_OUTPUT).cloned().collect();
            let package = bundle.package(own)?;
            Ok((Executable::with_inner_values(&package, name, precision, &inner)?, recorded))
        };
        let ((decode, of_decode), (prefill, of_prefill)) =
            (load(FUNCTIONS[0])?, load(FUNCTIONS[1])?);
        let functions = [decode, prefill];
        let experts = match entry.role {
            PackageRole::Router => {
                let mut entries = bundle.manifest.packages.iter();
                let own =
                    entries.find(|e| e.role == PackageRole::Experts && e.layers == entry.layers);
                let own =
                    own.ok_or_else(|| Error::input("no package has the experts of this layer"))?;
                Some(LoadedExperts {
                    package: bundle.package(own)?,
                    precision,
                    loaded: BTreeMap::new(),
                })
            }
            _ => None,
        };
        let mut stage = ChainStage {
            role: entry.role,
            states: States::zeros(functions[0].interface()).charged(bundle.budget())?,
            budget: Arc::clone(bundle.budget()),
            _charge: charge_of_cache(&functions[0], bundle)?,
            functions,
            cache: BTreeMap::new(),
            experts,
            channels_first: bundle.manifest.model.compute == "ane",
            window_tokens: bundle.manifest.model.sliding_window_tokens,
            recorded: [of_decode, of_prefill],
        };
        stage.reset();
        Ok(stage)
    }

    /// Whether a call must have no padding, since something is kept of its last tokens.
    pub fn refuses_padding(&self) -> bool {
        self.cache.contains_key(CONV_CACHE.0)
    }

    /// Empties the cache.
    pub fn reset(&mut self) {
        let interface = self.functions[0].interface();
        self.states = States::default();
        // The same states had room when the stage was opened.
        self.states = States::zeros(interface).charged(&self.budget).unwrap_or_default();
        self.cache.clear();
        for name in kept_inputs() {
            let feature = interface.inputs.iter().find(|feature| feature.name == name);
            let Some(shape) = feature.and_then(|feature| feature.kind.fixed_shape()) else {
                continue;
            };
            let zeros = vec![0.0; shape.iter().product()];
            if let Ok(tensor) = Tensor::floats(shape, zeros) {
                self.cache.insert(name, tensor);
            }
        }
    }

    /// Runs the stage. It takes the hidden states from `hidden` and puts its own there, or puts the
    /// logits in `logits`. The recorded hidden states are appended to `blocks`.
    pub fn run(
        &mut self,
        batch: &TokenBatch<'_>,
        hidden: &mut Option<Tensor>,
        logits: &mut Option<Vec<Vec<f32>>>,
        blocks: &mut Vec<Vec<f32>>,
    ) -> Result<()> {
        let function = &self.functions[usize::from(batch.tokens > 1)];
        let mut inputs = batch.inputs(function.interface(), self.window_tokens)?;
        if self.role != PackageRole::Whole && self.role != PackageRole::Embedding {
            let input = hidden
                .take()
                .ok_or_else(|| Error::input("no package before this one outputs hidden states"))?;
            inputs.insert("hidden_states".into(), input);
        }
        for (name, tensor) in &self.cache {
            inputs.insert((*name).into(), tensor.clone());
        }
        let mut outputs = function.run(&mut self.states, &inputs)?;
        self.extend(batch, &mut outputs)?;
        let recorded = &self.recorded[usize::from(batch.tokens > 1)];
        for name in recorded.iter().filter(|name| *name != HIDDEN_OUTPUT) {
            let states = take(&mut outputs, name)?;
            blocks.push(by_token(&states, batch, self.channels_first)?);
        }
        match self.role {
            PackageRole::Whole | PackageRole::Head => {
                *logits = Some(logits_of(&outputs, batch, self.channels_first)?);
            }
            PackageRole::Embedding
            | PackageRole::Blocks
            | PackageRole::Router
            | PackageRole::Experts => {
                let out = take(&mut outputs, HIDDEN_OUTPUT)?;
                *hidden = Some(match &mut self.experts {
                    Some(experts) => experts.run(batch, out, &outputs, self.channels_first)?,
                    None => out,
                });
                if let (Some(_), Some(out)) = (recorded.last(), hidden) {
                    blocks.push(by_token(out, batch, self.channels_first)?);
                }
            }
        }
        Ok(())
    }

    /// Writes the new rows of this call into the caches, if they are passed as inputs.
    fn extend(
        &mut self,
        batch: &TokenBatch<'_>,
        outputs: &mut BTreeMap<String, Tensor>,
    ) -> Result<()> {
        let (name, new) = CONV_CACHE;
        if let Some(old) = self.cache.get(name) {
            let new = take(outputs, new)?;
            if new.shape() != old.shape() {
                let (expected, found) = (old.shape(), new.shape());
                return Err(Error::input(format!(
                    "{name}: expected the shape {expected:?}, found {found:?}"
                )));
            }
            self.cache.insert(name, new);
        }
        for (name, new) in CACHES {
            let Some(cache) = self.cache.remove(name) else { continue };
            let rows = take(outputs, new)?;
            let (shape, mut values) = (cache.shape().to_vec(), cache.as_floats()?.to_vec());
            let [.., heads, context, width] = shape[..] else {
                return Err(Error::input(format!(
                    "{name}: expected rank 3 or more, found shape {shape:?}"
                )));
            };
            let heads = heads * shape[..shape.len() - 3].iter().product::<usize>();
            let rows = rows.as_floats()?;
            let fits = batch.position + batch.ids.len() <= context
                && rows.len() == heads * batch.tokens * width;
            if !fits {
                let (found, first, new) = (rows.len(), batch.position, batch.ids.len());
                return Err(Error::input(format!(
                    "{name}: {found} elements for {new} tokens after {first} do not fit into a cache \
                     of shape {shape:?}"
                )));
            }
            for head in 0..heads {
                let to = (head * context + batch.position) * width;
                let from = head * batch.tokens * width;
                let len = batch.ids.len() * width;
                values[to..to + len].copy_from_slice(&rows[from..from + len]);
            }
            self.cache.insert(name, Tensor::floats(shape, values)?);
        }
        Ok(())
    }
}

impl LoadedExperts {
    /// Adds the outputs of the chosen experts to `hidden`, weighted by the router.
    fn run(
        &mut self,
        batch: &TokenBatch<'_>,
        hidden: Tensor,
        outputs: &BTreeMap<String, Tensor>,
        channels_first: bool,
    ) -> Result<Tensor> {
        let get = |name: &str| {
            outputs
                .get(name)
                .ok_or_else(|| Error::input(format!("the router has no output {name}")))
        };
        let (ids, weights) = (get("expert_ids")?.as_ints()?, get("expert_weights")?.as_floats()?);
        let normed = get("normed_states")?;
        let per_token = ids.len() / batch.tokens.max(1);
        if weights.len() != ids.len() {
            let (expected, found) = (ids.len(), weights.len());
            return Err(Error::input(format!(
                "expert_weights: expected {expected} elements, as many as expert_ids, found {found}"
            )));
        }
        let shape = hidden.shape().to_vec();
        let mut sum = hidden.as_floats()?.to_vec();
        let used = &ids[..batch.ids.len() * per_token];
        let mut chosen: Vec<i32> = used.to_vec();
        chosen.sort_unstable();
        chosen.dedup();
        for expert in chosen {
            let name = format!("expert_{expert}_{}", FUNCTIONS[usize::from(batch.tokens > 1)]);
            let given = self.expert(&name)?.run(
                &mut States::default(),
                &BTreeMap::from([("normed_states".to_owned(), normed.clone())]),
            )?;
            let given = given.get("expert_output");
            let given =
                given.ok_or_else(|| Error::input("the expert has no output expert_output"))?;
            let given = given.as_floats()?;
            if given.len() != sum.len() {
                let (expected, found) = (sum.len(), given.len());
                return Err(Error::input(format!(
                    "expert_output: expected {expected} elements, found {found}"
                ))
                .at(name));
            }
            let channels = sum.len() / batch.tokens.max(1);
            for (choice, _) in used.iter().enumerate().filter(|(_, id)| **id == expert) {
                let (token, weight) = (choice / per_token, weights[choice]);
                for channel in 0..channels {
                    let at = if channels_first {
                        channel * batch.tokens + token
                    } else {
                        token * channels + channel
                    };
                    sum[at] += weight * given[at];
                }
            }
        }
        Tensor::floats(shape, sum)
    }

    fn expert(&mut self, name: &str) -> Result<&Executable> {
        if !self.loaded.contains_key(name) {
            let loaded = Executable::new(&self.package, name, self.precision)?;
            self.loaded.insert(name.to_owned(), loaded);
        }
        self.loaded.get(name).ok_or_else(|| Error::bug("an expert is missing that was just loaded"))
    }
}

/// Takes the memory of the cache, if it is passed as inputs, out of the bundle's budget. Returns an input
/// error if it is too large.
fn charge_of_cache(function: &Executable, bundle: &Bundle) -> Result<Charge> {
    let mut elements = 0;
    for input in &function.interface().inputs {
        if kept_inputs().any(|name| name == input.name) {
            let shape = input.kind.fixed_shape().unwrap_or_default();
            elements += element_count(&shape).at(|| input.name.clone())?;
        }
    }
    bundle.budget().charge((elements * size_of::<f32>()) as u64)
}

fn take(outputs: &mut BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    outputs.remove(name).ok_or_else(|| Error::input(format!("the package has no output {name}")))
}

/// The hidden states of the call's tokens without padding, `[tokens, channels]`.
fn by_token(states: &Tensor, batch: &TokenBatch<'_>, channels_first: bool) -> Result<Vec<f32>> {
    let values = states.as_floats()?;
    let channels = values.len() / batch.tokens.max(1);
    if !channels_first {
        return Ok(values[..batch.ids.len() * channels].to_vec());
    }
    let token = |token| values.iter().skip(token).step_by(batch.tokens).copied();
    Ok((0..batch.ids.len()).flat_map(token).collect())
}

/// The logits of the call's tokens, from one output or from the slices `logits_0`, `logits_1`, ….
fn logits_of(
    outputs: &BTreeMap<String, Tensor>,
    batch: &TokenBatch<'_>,
    channels_first: bool,
) -> Result<Vec<Vec<f32>>> {
    let mut logits = vec![Vec::new(); batch.ids.len()];
    let slices = (0..outputs.len()).map_while(|slice| outputs.get(&format!("logits_{slice}")));
    for slice in outputs.get("logits").into_iter().chain(slices) {
        let values = slice.as_floats()?;
        let rows = values.len() / batch.tokens.max(1);
        for (token, logits) in logits.iter_mut().enumerate() {
            if channels_first {
                logits.extend(values.iter().skip(token).step_by(batch.tokens));
            } else {
                logits.extend(&values[token * rows..(token + 1) * rows]);
            }
        }
    }
    Ok(logits)
}
