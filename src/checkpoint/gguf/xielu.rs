//! The learned numbers of xIELU, which files of Apertus have in their metadata, as tensors.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::checkpoint::dtype::Dtype;
use crate::error::{Error, Result};

use super::header::TensorEntry;
use super::metadata::Metadata;

/// Keys of arrays with a number for each layer, and what they are called as tensors of a layer.
const LEARNED: [(&str, &str); 2] =
    [("xielu.alpha_p", "xielu.positive"), ("xielu.alpha_n", "xielu.negative")];

/// Keys of arrays whose numbers have to be these.
const ONLY: [(&str, f64); 2] = [("xielu.beta", 0.5), ("xielu.eps", -1e-6)];

/// Bytes of a number.
const NUMBER_BYTES: usize = size_of::<f32>();

/// Adds the numbers of `layers` layers to `tensors`.
///
/// # Errors
/// Input errors that name the key.
pub(super) fn add(
    metadata: &Metadata,
    arrays: &BTreeMap<String, Range<usize>>,
    layers: usize,
    tensors: &mut BTreeMap<String, TensorEntry>,
) -> Result<()> {
    for (key, only) in ONLY {
        let found = metadata.floats(key)?.unwrap_or_default();
        if let Some(other) = found.iter().find(|number| (**number - only).abs() > 0.01 * only.abs())
        {
            return Err(Error::input(format!("evalkit computes {only} only, found {other}"))
                .at(format!("key {key}")));
        }
    }
    for (key, name) in LEARNED {
        let array = metadata.required(key, Ok(arrays.get(key)))?;
        let found = array.len() / NUMBER_BYTES;
        if found != layers {
            return Err(Error::input(format!(
                "expected a number for each of {layers} layers, found {found}"
            ))
            .at(format!("key {key}")));
        }
        for layer in 0..layers {
            let start = array.start + layer * NUMBER_BYTES;
            let range = start..start + NUMBER_BYTES;
            let entry = TensorEntry { shape: vec![1], dtype: Dtype::F32, file: 0, range };
            tensors.insert(format!("blk.{layer}.{name}"), entry);
        }
    }
    Ok(())
}
