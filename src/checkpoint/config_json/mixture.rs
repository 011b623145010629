//! Mixtures of experts.

use serde_json::{Map, Value};

use super::keys::{ConfigKeys, other_value};
use crate::checkpoint::config::{Experts, Groups, Routing, Score, Scored, SharedExpert, SumFloor};
use crate::checkpoint::families::{Family, RoutingRow, SharedRow};
use crate::error::{At, Error, Result};

/// The mixture of experts, for families that have one.
///
/// # Errors
/// Input errors that name the key.
pub(super) fn experts(keys: &mut ConfigKeys, family: &Family) -> Result<Option<Experts>> {
    let Some(row) = family.mixture else { return Ok(None) };
    quantization(keys)?;
    let count = keys.either(row.count)?;
    let per_token = keys.either(row.per_token)?;
    if !(1..=count).contains(&per_token) {
        let key = row.per_token.first().copied().unwrap_or("");
        return Err(Error::input(format!(
            "key `{key}`: expected 1 to {count} (the number of experts), found {per_token}"
        )));
    }
    let intermediate_size = width(keys, row.width)?;
    let shared = match row.shared {
        SharedRow::None => None,
        SharedRow::Width(key) => {
            Some(SharedExpert { intermediate_size: keys.take(key)?, gated: true })
        }
        SharedRow::Times(key) => {
            let times = keys.optional::<usize>(key)?.unwrap_or(0);
            let intermediate_size = intermediate_size.saturating_mul(times);
            (times > 0).then_some(SharedExpert { intermediate_size, gated: false })
        }
    };
    let routing = routing(keys, row.routing, count)?;
    Ok(Some(Experts {
        count,
        per_token,
        intermediate_size,
        routing,
        router_bias: row.router_bias,
        bias: super::flag(keys, row.bias)?,
        shared,
    }))
}

/// The width of an expert. In families whose experts have the usual key, the other one is missing.
fn width(keys: &mut ConfigKeys, key: &str) -> Result<usize> {
    if key != "intermediate_size" {
        return match keys.optional(key)? {
            Some(size) => Ok(size),
            None => keys.map.get("intermediate_size").and_then(Value::as_u64).map_or_else(
                || Err(Error::input(format!("key `{key}`: missing"))),
                |size| Ok(usize::try_from(size).unwrap_or(usize::MAX)),
            ),
        };
    }
    let size: usize = keys.take(key)?;
    keys.map.insert(key.to_owned(), size.into());
    Ok(size)
}

fn routing(keys: &mut ConfigKeys, row: RoutingRow, count: usize) -> Result<Routing> {
    Ok(match row {
        RoutingRow::SoftmaxOfChosen => Routing::SoftmaxOfChosen,
        RoutingRow::ChosenOfSoftmax => {
            Routing::ChosenOfSoftmax { renormalize: keys.switch("norm_topk_prob")? }
        }
        RoutingRow::Sigmoid => Routing::Scored(Scored {
            score: Score::Sigmoid,
            correction: true,
            groups: groups(keys, count, 2)?,
            renormalize: keys.switch("norm_topk_prob")?,
            sum_floor: SumFloor::Added(1e-20),
            factor: keys.positive("routed_scaling_factor")? as f32,
        }),
        RoutingRow::Greedy => {
            let method: String = keys.take("topk_method")?;
            let groups = groups(keys, count, 1)?;
            let groups = match method.as_str() {
                "greedy" => None,
                "group_limited_greedy" => groups,
                _ => {
                    return Err(other_value(
                        "topk_method",
                        "greedy or group_limited_greedy",
                        &method,
                    ));
                }
            };
            Routing::Scored(Scored {
                score: Score::Softmax,
                correction: false,
                groups,
                renormalize: false,
                sum_floor: SumFloor::Added(0.0),
                factor: keys.positive("routed_scaling_factor")? as f32,
            })
        }
        RoutingRow::CorrectedSoftmax => Routing::Scored(Scored {
            score: Score::Softmax,
            correction: true,
            groups: None,
            renormalize: true,
            sum_floor: SumFloor::AtLeast(keys.positive("moe_norm_min")? as f32),
            factor: 1.0,
        }),
    })
}

/// The groups of experts; `None` if there is only one.
fn groups(keys: &mut ConfigKeys, experts: usize, by_largest: usize) -> Result<Option<Groups>> {
    let count = keys.optional::<usize>("n_group")?.unwrap_or(1);
    let chosen = keys.optional::<usize>("topk_group")?.unwrap_or(1);
    if count <= 1 {
        return Ok(None);
    }
    if !experts.is_multiple_of(count) || experts / count < by_largest {
        return Err(Error::input(format!(
            "key `n_group`: expected groups of the same number of at least {by_largest} of {experts} experts, found {count}"
        )));
    }
    if !(1..=count).contains(&chosen) {
        return Err(Error::input(format!(
            "key `topk_group`: expected 1 to {count} (n_group), found {chosen}"
        )));
    }
    Ok(Some(Groups { count, chosen, by_largest }))
}

/// Accepts MXFP4, the only quantization that was not refused before. The stored tensors show which of
/// them it applies to.
fn quantization(keys: &mut ConfigKeys) -> Result<()> {
    let map: Map<String, Value> = keys.optional("quantization_config")?.unwrap_or_default();
    let mut nested = ConfigKeys { map };
    nested.map.retain(|key, _| !["quant_method", "modules_to_not_convert"].contains(&key.as_str()));
    nested.refuse_the_rest(None).at(|| "quantization_config")
}

/// The number of layers behind the model's own, for the prediction of several tokens.
///
/// # Errors
/// An input error that names the key.
pub(super) fn next_token_layers(keys: &mut ConfigKeys, family: &Family) -> Result<usize> {
    if family.mixture.is_none() {
        return Ok(0);
    }
    Ok(keys.optional("num_nextn_predict_layers")?.unwrap_or(0))
}
