//! The two ends of a decoder: the embedding of token ids, and the head that computes logits.

use super::body::FunctionBody;
use super::design::Compute;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::package::mil::Value;
use crate::package::spec::DataType;

/// Declares the input `input_ids` and looks up its rows of the embedding.
pub(super) fn embed(body: &mut FunctionBody<'_>) -> Result<Value> {
    body.f.scope("embedding");
    let ids = body.f.input("input_ids", DataType::Int32, &[1, body.tokens])?;
    let tables = body.emit(TensorId::model(Role::Embedding))?;
    let [(emitted, _)] = tables.as_slice() else {
        return Err(Error::bug("the embedding is stored in several parts"));
    };
    let mut rows = body.f.gather(&emitted.weight, &ids, 0)?;
    if let Some(scales) = &emitted.channel_scales {
        let scales = body.f.gather(scales, &ids, 0)?;
        let scales = body.f.expand_dims(&scales, &[-1])?;
        rows = body.f.mul(&rows, &scales)?;
    }
    let scale = body.config.embedding_scale * body.config.package_scale;
    if scale != 1.0 {
        rows = body.f.mul_by(&rows, scale)?;
    }
    if body.config.learned_positions {
        let positions = body.positions()?;
        let tables = body.emit(TensorId::model(Role::Positions))?;
        let [(table, _)] = tables.as_slice() else {
            return Err(Error::bug("the position embedding is stored in several parts"));
        };
        let of_positions = body.f.gather(&table.weight, &positions, 0)?;
        let of_positions = body.in_package_scale(&of_positions)?;
        rows = body.f.add(&rows, &of_positions)?;
    }
    match body.design.compute {
        Compute::Gpu => Ok(rows),
        Compute::Ane => {
            let columns = body.f.transpose(&rows, &[0, 2, 1])?;
            body.f.expand_dims(&columns, &[2])
        }
    }
}

/// The final norm and the head. The output is `logits`, or `logits_0`, `logits_1`, … if the head is
/// in slices.
pub(super) fn head(body: &mut FunctionBody<'_>, x: &Value) -> Result<()> {
    body.f.scope("head");
    let normed = body.norm(x, TensorId::model(Role::FinalNorm))?;
    let mut parts = body.project_parts(&normed, TensorId::model(Role::Head))?;
    let (scale, cap) = (body.config.logit_scale, body.config.logit_softcap);
    if scale != 1.0 || cap.is_some() {
        for part in &mut parts {
            *part = body.scaled(part, scale, cap)?;
        }
    }
    if let [logits] = parts.as_slice() {
        return body.f.output(logits, "logits");
    }
    parts.iter().enumerate().try_for_each(|(at, part)| body.f.output(part, &format!("logits_{at}")))
}
