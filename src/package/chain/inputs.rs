//! What goes into one call of a package: ids, positions and masks.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::package::execute::Tensor;
use crate::package::read::interface::Interface;

/// One call: some tokens from a position on, filled up to the length of the function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The tokens.
    pub ids: &'a [u32],
    /// The length of the function that is called.
    pub tokens: usize,
    /// Tokens in the cache before it.
    pub position: usize,
}

impl Call<'_> {
    /// Everything that `interface` asks for and the call knows; the rest is the stage's.
    pub fn inputs(
        &self,
        interface: &Interface,
        window_tokens: Option<usize>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut inputs = BTreeMap::new();
        for feature in &interface.inputs {
            let shape = feature.kind.fixed_shape();
            let shape = shape.ok_or_else(|| Error::input("an input of no fixed shape"))?;
            let shape = shape.as_slice();
            let tensor = match feature.name.as_str() {
                "input_ids" => Tensor::ints(shape, self.padded(|i| self.ids[i] as i32))?,
                "position_ids" => Tensor::ints(shape, self.padded(|i| (self.position + i) as i32))?,
                "write_position" => Tensor::ints(shape, vec![self.position as i32])?,
                "causal_mask" => self.mask(shape, interface, usize::MAX)?,
                "sliding_mask" => {
                    let window = window_tokens
                        .ok_or_else(|| Error::input("model.json gives no sliding_window_tokens"))?;
                    self.mask(shape, interface, window)?
                }
                _ => continue,
            };
            inputs.insert(feature.name.clone(), tensor);
        }
        Ok(inputs)
    }

    /// A number per token; those that fill up are 0, an id and a position that exist.
    fn padded(&self, of: impl Fn(usize) -> i32) -> Vec<i32> {
        (0..self.tokens).map(|i| if i < self.ids.len() { of(i) } else { 0 }).collect()
    }

    /// 0 where a token sees another, itself and at most `window - 1` before it; else -inf. With a
    /// cache that is an input, the tokens of this call are columns after it.
    fn mask(&self, shape: &[usize], interface: &Interface, window: usize) -> Result<Tensor> {
        let [.., columns] = *shape else { return Err(Error::input("a mask without columns")) };
        let is_input = interface.inputs.iter().any(|feature| feature.name == "key_cache");
        let cached = if is_input { columns.saturating_sub(self.tokens) } else { columns };
        let mut mask = vec![f32::NEG_INFINITY; self.tokens * columns];
        for (i, row) in mask.chunks_exact_mut(columns.max(1)).enumerate() {
            // Filled-up tokens see what the first token sees: a softmax needs something.
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
