//! One link of a chain: a package, or a block with its experts.

use std::collections::BTreeMap;

use super::inputs::Call;
use crate::error::{At, Error, Result};
use crate::package::bundle::{Bundle, PackageEntry, Role};
use crate::package::execute::{Executable, Precision, States, Tensor};
use crate::package::program::{FUNCTIONS, HIDDEN_OUTPUT};
use crate::package::read::Package;

/// A package that is loaded, with its cache.
#[derive(Debug)]
pub(super) struct Stage {
    role: Role,
    /// `decode` and `prefill`.
    functions: [Executable; 2],
    states: States,
    /// Keys and values where they are inputs: name and content.
    cache: BTreeMap<&'static str, Tensor>,
    /// Of a router the experts of its layer.
    experts: Option<Experts>,
    /// Whether tokens lie on the last axis of hidden states.
    channels_first: bool,
    window_tokens: Option<usize>,
    /// The values that its blocks make, where they are watched: per function, in order.
    watched: [Vec<String>; 2],
}

/// Gives the names of the values that the blocks of a package's function make.
pub(super) type Watch<'a> = Option<&'a dyn Fn(&PackageEntry, &str) -> Result<Vec<String>>>;

/// The experts of a layer: functions are loaded when a token is first sent there.
#[derive(Debug)]
struct Experts {
    package: Package,
    precision: Precision,
    loaded: BTreeMap<String, Executable>,
}

/// Cache inputs, and the outputs that extend them.
const CACHES: [(&str, &str); 2] = [("key_cache", "new_keys"), ("value_cache", "new_values")];

impl Stage {
    /// All stages of a folder, in the order in which they run.
    pub fn all(bundle: &Bundle, precision: Precision, watch: Watch<'_>) -> Result<Vec<Stage>> {
        let entries = &bundle.manifest.packages;
        let chain = entries.iter().filter(|entry| entry.role != Role::Experts);
        let first = chain.filter(|entry| entry.function.as_deref() != Some(FUNCTIONS[1]));
        let open = |entry| Self::open(bundle, entry, precision, watch);
        first.map(|entry| open(entry).at(|| entry.path.clone())).collect()
    }

    fn open(
        bundle: &Bundle,
        entry: &PackageEntry,
        precision: Precision,
        watch: Watch<'_>,
    ) -> Result<Stage> {
        let alike =
            |other: &&PackageEntry| other.role == entry.role && other.layers == entry.layers;
        let load = |function: &str| {
            let mut entries = bundle.manifest.packages.iter().filter(alike);
            let own = entries.find(|e| e.function.as_deref().is_none_or(|only| only == function));
            let own = own.ok_or_else(|| Error::input(format!("no package has its {function}")))?;
            let name = if own.function.is_some() { "main" } else { function };
            let watched = watch.map_or_else(|| Ok(Vec::new()), |watch| watch(own, name))?;
            // A router's block is complete only with its experts.
            let inner = if own.role == Role::Router { &[][..] } else { &watched };
            let inner: Vec<String> =
                inner.iter().filter(|name| *name != HIDDEN_OUTPUT).cloned().collect();
            let package = bundle.package(own)?;
            Ok((Executable::watching(&package, name, precision, &inner)?, watched))
        };
        let ((decode, of_decode), (prefill, of_prefill)) =
            (load(FUNCTIONS[0])?, load(FUNCTIONS[1])?);
        let functions = [decode, prefill];
        let experts = match entry.role {
            Role::Router => {
                let mut entries = bundle.manifest.packages.iter();
                let own = entries.find(|e| e.role == Role::Experts && e.layers == entry.layers);
                let own = own.ok_or_else(|| Error::input("no package has this layer's experts"))?;
                Some(Experts { package: bundle.package(own)?, precision, loaded: BTreeMap::new() })
            }
            _ => None,
        };
        let mut stage = Stage {
            role: entry.role,
            states: States::zeros(functions[0].interface()),
            functions,
            cache: BTreeMap::new(),
            experts,
            channels_first: bundle.manifest.model.compute == "ane",
            window_tokens: bundle.manifest.model.sliding_window_tokens,
            watched: [of_decode, of_prefill],
        };
        stage.reset();
        Ok(stage)
    }

    /// Empties the cache.
    pub fn reset(&mut self) {
        let interface = self.functions[0].interface();
        self.states = States::zeros(interface);
        self.cache.clear();
        for (name, _) in CACHES {
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

    /// Runs the stage: `hidden` goes in and out, or `logits` come out.
    pub fn run(
        &mut self,
        call: &Call<'_>,
        hidden: &mut Option<Tensor>,
        logits: &mut Option<Vec<Vec<f32>>>,
        blocks: &mut Vec<Vec<f32>>,
    ) -> Result<()> {
        let function = &self.functions[usize::from(call.tokens > 1)];
        let mut inputs = call.inputs(function.interface(), self.window_tokens)?;
        if self.role != Role::Whole && self.role != Role::Embedding {
            let input = hidden.take().ok_or_else(|| Error::input("no package gives its input"))?;
            inputs.insert("hidden_states".into(), input);
        }
        for (name, tensor) in &self.cache {
            inputs.insert((*name).into(), tensor.clone());
        }
        let mut outputs = function.run(&mut self.states, &inputs)?;
        self.extend(call, &mut outputs)?;
        let watched = &self.watched[usize::from(call.tokens > 1)];
        for name in watched.iter().filter(|name| *name != HIDDEN_OUTPUT) {
            let states = take(&mut outputs, name)?;
            blocks.push(by_token(&states, call, self.channels_first)?);
        }
        match self.role {
            Role::Whole | Role::Head => {
                *logits = Some(logits_of(&outputs, call, self.channels_first)?);
            }
            Role::Embedding | Role::Blocks | Role::Router | Role::Experts => {
                let out = take(&mut outputs, HIDDEN_OUTPUT)?;
                *hidden = Some(match &mut self.experts {
                    Some(experts) => experts.run(call, out, &outputs, self.channels_first)?,
                    None => out,
                });
                if let (Some(_), Some(out)) = (watched.last(), hidden) {
                    blocks.push(by_token(out, call, self.channels_first)?);
                }
            }
        }
        Ok(())
    }

    /// Writes the rows of this call into caches that are inputs.
    fn extend(&mut self, call: &Call<'_>, outputs: &mut BTreeMap<String, Tensor>) -> Result<()> {
        for (name, new) in CACHES {
            let Some(cache) = self.cache.remove(name) else { continue };
            let rows = take(outputs, new)?;
            let (shape, mut values) = (cache.shape().to_vec(), cache.as_floats()?.to_vec());
            let [.., heads, context, width] = shape[..] else {
                return Err(Error::input(format!("{name} of shape {shape:?}")));
            };
            let heads = heads * shape[..shape.len() - 3].iter().product::<usize>();
            let rows = rows.as_floats()?;
            for head in 0..heads {
                let to = (head * context + call.position) * width;
                let from = head * call.tokens * width;
                let len = call.ids.len() * width;
                values[to..to + len].copy_from_slice(&rows[from..from + len]);
            }
            self.cache.insert(name, Tensor::floats(shape, values)?);
        }
        Ok(())
    }
}

impl Experts {
    /// Adds to `hidden` what the chosen experts give, weighted by the router.
    fn run(
        &mut self,
        call: &Call<'_>,
        hidden: Tensor,
        outputs: &BTreeMap<String, Tensor>,
        channels_first: bool,
    ) -> Result<Tensor> {
        let get = |name: &str| {
            outputs.get(name).ok_or_else(|| Error::input(format!("the router gives no {name}")))
        };
        let (ids, weights) = (get("expert_ids")?.as_ints()?, get("expert_weights")?.as_floats()?);
        let normed = get("normed_states")?;
        let per_token = ids.len() / call.tokens.max(1);
        let shape = hidden.shape().to_vec();
        let mut sum = hidden.as_floats()?.to_vec();
        let used = &ids[..call.ids.len() * per_token];
        let mut chosen: Vec<i32> = used.to_vec();
        chosen.sort_unstable();
        chosen.dedup();
        for expert in chosen {
            let name = format!("expert_{expert}_{}", FUNCTIONS[usize::from(call.tokens > 1)]);
            let given = self.expert(&name)?.run(
                &mut States::default(),
                &BTreeMap::from([("normed_states".to_owned(), normed.clone())]),
            )?;
            let given = given.get("expert_output");
            let given = given.ok_or_else(|| Error::input("an expert without expert_output"))?;
            let given = given.as_floats()?;
            let channels = sum.len() / call.tokens.max(1);
            for (at, _) in used.iter().enumerate().filter(|(_, id)| **id == expert) {
                let (token, weight) = (at / per_token, weights[at]);
                for channel in 0..channels {
                    let place = match channels_first {
                        true => channel * call.tokens + token,
                        false => token * channels + channel,
                    };
                    sum[place] += weight * given[place];
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
        self.loaded.get(name).ok_or_else(|| Error::bug("an expert that was just loaded"))
    }
}

fn take(outputs: &mut BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    outputs.remove(name).ok_or_else(|| Error::input(format!("a package without {name}")))
}

/// Hidden states of the call's tokens, `[tokens][channels]` one after the other.
fn by_token(states: &Tensor, call: &Call<'_>, channels_first: bool) -> Result<Vec<f32>> {
    let values = states.as_floats()?;
    let channels = values.len() / call.tokens.max(1);
    if !channels_first {
        return Ok(values[..call.ids.len() * channels].to_vec());
    }
    let token = |token| values.iter().skip(token).step_by(call.tokens).copied();
    Ok((0..call.ids.len()).flat_map(token).collect())
}

/// Logits of the call's tokens, from one output or from slices `logits_0`, `logits_1`, ….
fn logits_of(
    outputs: &BTreeMap<String, Tensor>,
    call: &Call<'_>,
    channels_first: bool,
) -> Result<Vec<Vec<f32>>> {
    let mut logits = vec![Vec::new(); call.ids.len()];
    let slices = (0..outputs.len()).map_while(|slice| outputs.get(&format!("logits_{slice}")));
    for slice in outputs.get("logits").into_iter().chain(slices) {
        let values = slice.as_floats()?;
        let rows = values.len() / call.tokens.max(1);
        for (token, logits) in logits.iter_mut().enumerate() {
            match channels_first {
                true => logits.extend(values.iter().skip(token).step_by(call.tokens)),
                false => logits.extend(&values[token * rows..(token + 1) * rows]),
            }
        }
    }
    Ok(logits)
}
