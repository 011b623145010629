//! How many bytes of weights a call of a function reads: the least that memory must deliver.

use std::collections::BTreeMap;

use super::Package;
use crate::error::Result;
use crate::package::spec::{Bound, Content, Operation, Value};

/// The stored size of a weight, and the number of its rows.
#[derive(Clone, Copy, Default)]
struct WeightSize {
    size_bytes: u64,
    rows: u64,
}

impl Package {
    /// The bytes of weights that one call of `function` with one token reads. Every weight counts
    /// once for each operator that uses it; for a gather, only one row counts. Tables and scales
    /// are included, activations and caches are not.
    ///
    /// # Errors
    /// An input error if there is no such function.
    pub fn weight_bytes_per_token(&self, function: &str) -> Result<u64> {
        let mut weights: BTreeMap<&str, WeightSize> = BTreeMap::new();
        let mut total_bytes = 0;
        for operation in &self.function(function)?.block.operations {
            let used = self.weights_of(operation, &weights)?;
            let size_bytes = used.iter().map(|weight| weight.size_bytes).sum();
            if operation.kind == "const" || operation.kind.contains("constexpr_") {
                let rows = operation.outputs.first().and_then(|output| {
                    let kind = super::literal::DeclaredType::of(output.kind.as_ref()).ok()?;
                    kind.fixed_shape()?.first().map(|rows| *rows as u64)
                });
                let weight = WeightSize { size_bytes, rows: rows.unwrap_or(1).max(1) };
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

    /// The weights that an operation uses, by name or directly from a weight file.
    fn weights_of(
        &self,
        operation: &Operation,
        made: &BTreeMap<&str, WeightSize>,
    ) -> Result<Vec<WeightSize>> {
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

    /// The size of a literal that is in a weight file; `None` for other literals.
    fn stored(&self, value: &Value) -> Result<Option<WeightSize>> {
        let Some(Content::Blob(_)) = &value.content else { return Ok(None) };
        let literal = self.literal(value)?;
        let rows = literal.shape.first().map_or(1, |rows| *rows as u64).max(1);
        Ok(Some(WeightSize { size_bytes: literal.bytes.len() as u64, rows }))
    }
}
