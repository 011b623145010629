//! The inputs of one call of a package: token ids, positions and masks.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::package::execute::{Tensor, element_count};
use crate::package::program::MASKED;
use crate::package::read::interface::Interface;

/// The tokens of one call, padded to the fixed number of tokens that the function takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenBatch<'a> {
    /// The ids of the tokens.
    pub ids: &'a [u32],
    /// The number of tokens that the function takes.
    pub tokens: usize,
    /// The number of tokens in the cache before this call.
    pub position: usize,
}

impl TokenBatch<'_> {
    /// The inputs that follow from the tokens alone. Hidden states and caches are added by the
    /// stage.
    pub fn inputs(
        &self,
        interface: &Interface,
        window_tokens: Option<usize>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut inputs = BTreeMap::new();
        for feature in &interface.inputs {
            let shape = feature.kind.fixed_shape();
            let shape = shape.ok_or_else(|| Error::input("expected an input of fixed shape"))?;
            let shape = shape.as_slice();
            self.check(&feature.name, shape)?;
            let tensor = match feature.name.as_str() {
                "input_ids" => Tensor::ints(shape, self.padded(|i| self.ids[i] as i32))?,
                "position_ids" => Tensor::ints(shape, self.padded(|i| (self.position + i) as i32))?,
                "write_position" => Tensor::ints(shape, vec![self.position as i32])?,
                "causal_mask" => self.mask(shape, interface, usize::MAX)?,
                "sliding_mask" => {
                    let window = window_tokens
                        .ok_or_else(|| Error::input("the package takes a sliding mask, but model.json has no sliding_window_tokens"))?;
                    self.mask(shape, interface, window)?
                }
                _ => continue,
            };
            inputs.insert(feature.name.clone(), tensor);
        }
        Ok(inputs)
    }

    /// Checks that an input of `shape` has the elements that it is about to be given.
    fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        let columns = shape.last().copied().unwrap_or(1);
        let expected = match name {
            "input_ids" | "position_ids" => self.tokens,
            "write_position" => 1,
            "causal_mask" | "sliding_mask" => self.tokens.saturating_mul(columns),
            _ => return Ok(()),
        };
        let found = element_count(shape)?;
        if found == expected {
            return Ok(());
        }
        let tokens = self.tokens;
        Err(Error::input(format!(
            "input {name}: expected {expected} elements for {tokens} tokens, found the shape {shape:?}"
        )))
    }

    /// A number per token, and 0 for the padding: an id and a position that always exist.
    fn padded(&self, of: impl Fn(usize) -> i32) -> Vec<i32> {
        (0..self.tokens).map(|i| if i < self.ids.len() { of(i) } else { 0 }).collect()
    }

    /// The attention mask: 0 where a token sees another, [`MASKED`] elsewhere. A token sees itself and at
    /// most `window - 1` tokens before it. If the cache is an input, the tokens of this call are
    /// additional columns after those of the cache.
    fn mask(&self, shape: &[usize], interface: &Interface, window: usize) -> Result<Tensor> {
        let [.., columns] = *shape else {
            return Err(Error::input("expected a mask with columns, found a scalar"));
        };
        let is_input = interface.inputs.iter().any(|feature| feature.name == "key_cache");
        let cached = if is_input { columns.saturating_sub(self.tokens) } else { columns };
        let mut mask = vec![MASKED; self.tokens * columns];
        for (i, row) in mask.chunks_exact_mut(columns.max(1)).enumerate() {
            // Padding sees what the first token sees, since a softmax needs at least one column.
            let at = self.position + if i < self.ids.len() { i } else { 0 };
            let visible = (at + 1).saturating_sub(window)..at + 1;
            for (column, value) in row.iter_mut().enumerate() {
                let position = match column.checked_sub(cached) {
                    Some(own) => self.position + own,
                    None if is_input && column >= self.position => continue,
                    None => column,
                };
                if visible.contains(&position) {
                    *value = 0.0;
                }
            }
        }
        Tensor::floats(shape, mask)
    }
}
