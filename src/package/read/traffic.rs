//! What a call of a function reads: the bytes that a memory bus must carry at least.

use std::collections::BTreeMap;

use super::Package;
use crate::error::Result;
use crate::package::spec::{Bound, Content, Operation, Value};

/// Weights that are on their way to an operator: bytes, and rows on the first axis.
#[derive(Clone, Copy, Default)]
struct Weight {
    size_bytes: u64,
    rows: u64,
}

impl Package {
    /// Bytes of weights that one call of `function` reads when it takes one token: every weight
    /// once for each operator that uses it, one row of those that are gathered from. Tables and
    /// scales are counted, activations and caches are not.
    ///
    /// # Errors
    /// An input error where there is no such function.
    pub fn weight_bytes_per_token(&self, function: &str) -> Result<u64> {
        let mut weights: BTreeMap<&str, Weight> = BTreeMap::new();
        let mut total_bytes = 0;
        for operation in &self.function(function)?.block.operations {
            let used = self.weights_of(operation, &weights)?;
            let size_bytes = used.iter().map(|weight| weight.size_bytes).sum();
            if operation.kind == "const" || operation.kind.contains("constexpr_") {
                let rows = operation.outputs.first().and_then(|output| {
                    let kind = super::literal::Kind::of(output.kind.as_ref()).ok()?;
                    kind.fixed_shape()?.first().map(|rows| *rows as u64)
                });
                let weight = Weight { size_bytes, rows: rows.unwrap_or(1).max(1) };
                let names = operation.outputs.iter().map(|output| output.name.as_str());
                weights.extend(names.map(|name| (name, weight)));
            } else if operation.kind.ends_with("gather") {
                total_bytes += used.iter().map(|w| w.size_bytes.div_ceil(w.rows)).sum::<u64>();
            } else {
                total_bytes += size_bytes;
            }
        }
        Ok(total_bytes)
    }

    /// The weights that an operation takes, by name or from a weight file.
    fn weights_of(
        &self,
        operation: &Operation,
        made: &BTreeMap<&str, Weight>,
    ) -> Result<Vec<Weight>> {
        let mut used = Vec::new();
        let bindings = operation.inputs.values().flat_map(|argument| &argument.bindings);
        for binding in bindings {
            match &binding.bound {
                Some(Bound::Name(name)) => used.extend(made.get(name.as_str())),
                Some(Bound::Value(value)) => used.extend(self.stored(value)?),
                None => {}
            }
        }
        for value in operation.attributes.values() {
            used.extend(self.stored(value)?);
        }
        Ok(used)
    }

    /// A literal that lies in a weight file.
    fn stored(&self, value: &Value) -> Result<Option<Weight>> {
        let Some(Content::Blob(_)) = &value.content else { return Ok(None) };
        let literal = self.literal(value)?;
        let rows = literal.shape.first().map_or(1, |rows| *rows as u64).max(1);
        Ok(Some(Weight { size_bytes: literal.bytes.len() as u64, rows }))
    }
}
