//! The two ends of a decoder: token ids in, logits out.

use super::body::Body;
use super::design::Compute;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::package::mil::Value;
use crate::package::spec::DataType;

/// Rows of the embedding for the input `input_ids`.
pub(super) fn embed(body: &mut Body<'_>) -> Result<Value> {
    body.f.scope("embedding");
    let ids = body.f.input("input_ids", DataType::Int32, &[1, body.tokens])?;
    let tables = body.emit(TensorId::model(Role::Embedding))?;
    let [(emitted, _)] = tables.as_slice() else {
        return Err(Error::bug("an embedding in parts"));
    };
    let mut rows = body.f.gather(&emitted.weight, &ids, 0)?;
    if let Some(scales) = &emitted.channel_scales {
        let scales = body.f.gather(scales, &ids, 0)?;
        let scales = body.f.expand_dims(&scales, &[-1])?;
        rows = body.f.mul(&rows, &scales)?;
    }
    match body.design.compute {
        Compute::Gpu => Ok(rows),
        Compute::Ane => {
            let columns = body.f.transpose(&rows, &[0, 2, 1])?;
            body.f.expand_dims(&columns, &[2])
        }
    }
}

/// The final norm and the head: `logits`, or `logits_0`, `logits_1`, … where it is in slices.
pub(super) fn head(body: &mut Body<'_>, x: &Value) -> Result<()> {
    body.f.scope("head");
    let normed = body.norm(x, TensorId::model(Role::FinalNorm))?;
    let parts = body.project_parts(&normed, TensorId::model(Role::Head))?;
    if let [logits] = parts.as_slice() {
        return body.f.output(logits, "logits");
    }
    parts.iter().enumerate().try_for_each(|(at, part)| body.f.output(part, &format!("logits_{at}")))
}
