//! Equalises a block: moves factors between its tensors so that all columns that are coded have the
//! same spread, while the block computes the same function.

use candle_core::{Device, Tensor};

use super::unit::Unit;
use crate::checkpoint::config::{Activation, Config, Mixer};
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::model::{self, Input};
use crate::quantize::Steps;
use crate::quantize::calibrated::{equalise_between, equalise_inputs};

/// What takes back the factors that the columns of an input's readers are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The gain and the bias of the norm with this role. Only the readers read its result.
    Norm(Role),
    /// The rows of the layer with this role. Everything between is linear in them.
    Rows(Role),
}

/// What can take back the factors of an input of `layer`; `None` if nothing can.
fn source(config: &Config, layer: usize, input: Input) -> Option<Source> {
    let is_dense = config.mixture(layer).is_none();
    let placement = config.placement;
    let of_norm =
        |is_there: bool, role| (is_there && config.norm.gain).then_some(Source::Norm(role));
    let is_linear_in_up =
        config.gated && !matches!(config.activation, Activation::ClampedSwiGlu { .. });
    match input {
        // A router reads what the other readers of a mixture's norm read.
        Input::Attention if has_one_norm(config) && !is_dense => None,
        Input::Attention => of_norm(placement.before_attention, Role::AttentionNorm),
        Input::Mlp if has_one_norm(config) => source(config, layer, Input::Attention),
        Input::Mlp => of_norm(placement.before_mlp && is_dense, Role::MlpNorm),
        Input::QueryLatent => Some(Source::Norm(Role::QueryDownNorm)),
        Input::KvLatent => Some(Source::Norm(Role::KvNorm)),
        Input::Output => match config.kind(layer).mixer {
            // A convolution's result is a product of two of its projections plus a bias.
            Mixer::ShortConv => None,
            // Norms and clamps between values and output are not linear.
            Mixer::Attention { .. } if config.sub_norms || config.clip_qkv.is_some() => None,
            Mixer::Attention { .. } if config.latent.is_some() => Some(Source::Rows(Role::KvUp)),
            Mixer::Attention { .. } => Some(Source::Rows(Role::Value)),
        },
        Input::Down => {
            (is_dense && is_linear_in_up && !config.sub_norms).then_some(Source::Rows(Role::Up))
        }
        Input::SharedDown => is_linear_in_up.then_some(Source::Rows(Role::SharedUp)),
        Input::Head => None,
    }
}

/// Whether attention and MLP read the result of one norm.
fn has_one_norm(config: &Config) -> bool {
    config.placement.parallel && !config.placement.before_mlp
}

/// The row of the source that makes each column of an input.
fn rows_of(config: &Config, role: Role, columns: usize) -> Vec<usize> {
    let (width, shared) = (config.value_dim, config.heads / config.kv_heads);
    let row_of = |column: usize| match role {
        Role::Value => column / width / shared * width + column % width,
        Role::KvUp => {
            let rotated = config.latent.map_or(0, |latent| latent.rope_dim);
            let plain = config.head_dim.saturating_sub(rotated);
            column / width * (plain + width) + plain + column % width
        }
        _ => column,
    };
    (0..columns).map(row_of).collect()
}

/// The factors that inputs were divided by, `[in]`; there are none for inputs that were not changed.
#[derive(Default)]
pub struct Factors(Vec<(Input, Tensor)>);

impl Factors {
    /// The factors of an input.
    pub fn of(&self, input: Input) -> Option<&Tensor> {
        self.0.iter().find(|(found, _)| *found == input).map(|(_, factors)| factors)
    }
}

/// Equalises attention and MLP of a block, each if its steps say so. Inputs whose factors nothing can take
/// back stay as they are; so do experts, because the router shares their input.
///
/// # Errors
/// Bug-class errors if the unit is not a block.
pub fn equalise(
    unit: &mut Unit,
    config: &Config,
    layer: usize,
    steps: [Option<Steps>; 2],
    device: &Device,
) -> Result<Factors> {
    let [of_mixer, of_mlp] =
        steps.map(|steps: Option<Steps>| steps.is_some_and(|steps| steps.equalise));
    let mut factors = Factors::default();
    for input in Input::of_layer(config, layer) {
        let is_joint = has_one_norm(config) && matches!(input, Input::Attention | Input::Mlp);
        let is_on = match input {
            _ if is_joint => of_mixer && of_mlp,
            input if input.is_of_mixer() => of_mixer,
            _ => of_mlp,
        };
        if !is_on || factors.of(input).is_some() {
            continue;
        }
        let mut readers = unit.readers(input);
        match source(config, layer, input) {
            None => {}
            Some(Source::Norm(norm)) if is_joint => {
                readers.extend(unit.readers(Input::Mlp));
                let found = inputs(unit, &readers, norm, device)?;
                factors.0.extend([(Input::Attention, found.clone()), (Input::Mlp, found)]);
            }
            Some(Source::Norm(norm)) => {
                factors.0.push((input, inputs(unit, &readers, norm, device)?));
            }
            Some(Source::Rows(first)) => {
                let [second] = readers[..] else {
                    return Err(Error::bug(format!("several readers of {}", input.name())));
                };
                let [_, columns] = config.shape_of(TensorId::block(layer, second))[..] else {
                    return Err(Error::bug(format!("{second:?} is no matrix")));
                };
                let row_of = rows_of(config, first, columns);
                factors.0.push((input, between(unit, first, second, &row_of, device)?));
            }
        }
    }
    Ok(factors)
}

fn inputs(unit: &mut Unit, roles: &[Role], norm: Role, device: &Device) -> Result<Tensor> {
    let mut matrices = roles.iter().map(|role| take(unit, *role)).collect::<Result<Vec<_>>>()?;
    let mut gain = take(unit, norm)?;
    let mut views: Vec<&mut [f32]> = matrices.iter_mut().map(Vec::as_mut_slice).collect();
    let factors = equalise_inputs(&mut views, &mut gain)?;
    for (role, values) in roles.iter().zip(matrices).chain([(&norm, gain)]) {
        unit.put(*role, false, values);
    }
    if let Some(mut bias) = unit.take(norm, true) {
        bias.iter_mut().zip(&factors).for_each(|(bias, factor)| *bias /= factor);
        unit.put(norm, true, bias);
    }
    model::vector(factors, device)
}

fn between(
    unit: &mut Unit,
    first: Role,
    second: Role,
    row_of: &[usize],
    device: &Device,
) -> Result<Tensor> {
    let (mut rows, mut columns) = (take(unit, first)?, take(unit, second)?);
    let mut bias = unit.take(first, true);
    let factors = equalise_between(&mut rows, bias.as_deref_mut(), &mut columns, row_of)?;
    unit.put(first, false, rows);
    unit.put(second, false, columns);
    if let Some(bias) = bias {
        unit.put(first, true, bias);
    }
    model::vector(row_of.iter().map(|row| factors[*row]).collect(), device)
}

fn take(unit: &mut Unit, role: Role) -> Result<Vec<f32>> {
    unit.take(role, false).ok_or_else(|| Error::bug(format!("a block without {role:?}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::eval::windows::each;
    use crate::model::{Block, RopeTables};

    fn open(family: &str) -> Checkpoint {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
        Checkpoint::open(&folder.join(family)).unwrap()
    }

    /// The inputs of a layer whose factors are taken back.
    fn inputs_of(family: &str, layer: usize) -> String {
        let config = open(family).config;
        let inputs = Input::of_layer(&config, layer).into_iter();
        let inputs = inputs.filter(|input| source(&config, layer, *input).is_some());
        inputs.map(Input::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn which_factors_are_taken_back_follows_from_the_family() {
        for (family, layer, expected) in [
            ("llama", 0, "attention output mlp down"),
            ("gemma2", 0, "attention output mlp down"),
            ("gemma3", 0, "attention output mlp down"),
            ("cohere", 0, "attention output mlp down"),
            ("glm4", 0, "attention output mlp down"),
            // No norm before attention and MLP.
            ("olmo2", 0, "output down"),
            ("exaone4", 0, "output down"),
            // Norms without gains; with clipped values.
            ("olmo", 0, "output down"),
            ("olmo-clip", 0, "down"),
            // Norms before the last projections.
            ("bitnet", 0, "attention mlp"),
            // MLPs without a gate.
            ("arcee", 0, "attention output mlp"),
            ("phi", 0, "attention output mlp"),
            ("gpt_neox", 0, "attention output mlp"),
            ("apertus", 0, "attention output mlp"),
            // A dense and a sparse layer with shared experts.
            ("deepseek_v2", 0, "attention kv_latent output mlp down"),
            ("deepseek_v3", 1, "attention query_latent kv_latent output shared_down"),
            ("mixtral", 0, "attention output"),
            ("olmoe-clip", 0, "attention"),
            // A convolution.
            ("lfm2", 0, "attention mlp down"),
        ] {
            assert_eq!(inputs_of(family, layer), expected, "{family}, layer {layer}");
        }
    }

    #[test]
    fn every_family_computes_the_same_after_its_blocks_were_equalised() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families");
        let steps = [Some(Steps::ALL); 2];
        let mut changed = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let Ok(checkpoint) = Checkpoint::open(&path) else { continue };
            let config = &checkpoint.config;
            let rope = RopeTables::new(config, 9, &Device::Cpu).unwrap();
            let hidden = config.hidden_size;
            let x: Vec<f32> = (0..9 * hidden).map(|i| (i as f32 * 0.37).sin()).collect();
            let x = [model::matrix(x, [9, hidden], &Device::Cpu).unwrap()];
            for layer in 0..config.layers {
                let mut unit = Unit::read(&checkpoint, &config.block_tensors(layer)).unwrap();
                let states = |unit: &Unit| {
                    let weights = unit.weights(&checkpoint, &Device::Cpu).unwrap();
                    let block = Block::new(config, layer, weights).unwrap();
                    let forward = |x: &Tensor| Ok(block.forward(x, &rope).unwrap().0);
                    model::values(&each(&x, forward).unwrap()[0]).unwrap()
                };
                let before = states(&unit);
                let factors = equalise(&mut unit, config, layer, steps, &Device::Cpu).unwrap();
                changed += factors.0.len();
                let size = before.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                for (a, b) in before.iter().zip(states(&unit)) {
                    assert!((a - b).abs() < 1e-4 * size, "{}: {a}, {b}", path.display());
                }
            }
        }
        assert!(changed > 300, "{changed}");
    }
}
