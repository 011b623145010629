//! Equalises a block: moves factors between its tensors so that all columns that are coded have the
//! same spread, while the block computes the same function.

use candle_core::{Device, Tensor};

use super::unit::Unit;
use crate::checkpoint::Role;
use crate::checkpoint::config::Config;
use crate::error::{Error, Result};
use crate::model::{self, Input};
use crate::quantize::Steps;
use crate::quantize::calibrated::{equalise_between, equalise_inputs};

/// The factors that inputs were divided by, `[in]`; `None` for inputs that were not changed.
#[derive(Default)]
pub struct Factors {
    /// Inputs of queries, keys and values.
    pub attention: Option<Tensor>,
    /// Inputs of the output projection.
    pub output: Option<Tensor>,
    /// Inputs of gate and up.
    pub mlp: Option<Tensor>,
    /// Inputs of down.
    pub down: Option<Tensor>,
}

impl Factors {
    /// The factors of an input.
    pub fn of(&self, input: Input) -> Option<&Tensor> {
        match input {
            Input::Attention => self.attention.as_ref(),
            Input::Output => self.output.as_ref(),
            Input::Mlp => self.mlp.as_ref(),
            Input::Down => self.down.as_ref(),
            _ => None,
        }
    }
}

/// Equalises attention and MLP of a block, each if its steps say so. Experts are not equalised, because
/// the function between their up and down is not linear in up, and because the router shares their
/// input.
///
/// # Errors
/// Bug-class errors if the unit is not a block.
pub fn equalise(
    unit: &mut Unit,
    config: &Config,
    steps: [Option<Steps>; 2],
    device: &Device,
) -> Result<Factors> {
    let is_on = |steps: Option<Steps>| steps.is_some_and(|steps| steps.equalise);
    let mut factors = Factors::default();
    if is_on(steps[0]) {
        let roles = [Role::Query, Role::Key, Role::Value];
        factors.attention = Some(inputs(unit, &roles, Role::AttentionNorm, device)?);
        let (dim, shared) = (config.head_dim, config.heads / config.kv_heads);
        let row_of = |column| column / dim / shared * dim + column % dim;
        let row_of: Vec<usize> = (0..config.heads * dim).map(row_of).collect();
        factors.output = Some(between(unit, Role::Value, Role::Output, &row_of, device)?);
    }
    if is_on(steps[1]) && config.experts.is_none() {
        let roles = [Role::Gate, Role::Up];
        factors.mlp = Some(inputs(unit, &roles, Role::MlpNorm, device)?);
        let row_of: Vec<usize> = (0..config.intermediate_size).collect();
        factors.down = Some(between(unit, Role::Up, Role::Down, &row_of, device)?);
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
