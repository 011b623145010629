//! How the linear layers of a part of a model are computed: their weights by a [`Recipe`], their
//! inputs as they come or, with `-a8`, in int8.
//!
//! Weights and inputs are quantized apart: the codes of `int8-a8` are those of `int8`.

use std::fmt;
use std::str::FromStr;

use super::recipe::Recipe;
use crate::error::{Error, Result};

/// The option, without its dash.
const INT8_INPUTS: &str = "a8";

/// The recipe of a part's linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerRecipe {
    /// How weights are coded.
    pub weights: Recipe,
    /// `-a8`: inputs are rounded to int8, with one fp16 scale per input.
    pub int8_inputs: bool,
}

impl LayerRecipe {
    /// Whether weights and inputs are those of the reference.
    pub fn is_reference(&self) -> bool {
        self.weights.is_reference() && !self.int8_inputs
    }
}

impl From<Recipe> for LayerRecipe {
    /// Weights by a recipe, inputs as they come.
    fn from(weights: Recipe) -> Self {
        LayerRecipe { weights, int8_inputs: false }
    }
}

impl fmt::Display for LayerRecipe {
    /// The recipe's canonical name, `-a8` last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.int8_inputs {
            true => f.pad(&format!("{}-{INT8_INPUTS}", self.weights)),
            false => self.weights.fmt(f),
        }
    }
}

impl FromStr for LayerRecipe {
    type Err = Error;

    /// Parses a recipe with or without `-a8`, which may stand among the other options. Fails (input)
    /// where it repeats, for `fp`, and as recipes do.
    fn from_str(text: &str) -> Result<Self> {
        let is_inputs = |word: &&str| *word == INT8_INPUTS;
        let count = text.split('-').skip(1).filter(is_inputs).count();
        let words: Vec<&str> = text.split('-').filter(|word| !is_inputs(word)).collect();
        let refuse = |what: &str| Err(Error::input(what).at(format_args!("recipe `{text}`")));
        if count > 1 {
            return refuse("option `-a8` repeats");
        }
        if count == 0 {
            return Ok(text.parse::<Recipe>()?.into());
        }
        let weights: Recipe = words.join("-").parse()?;
        if weights.is_reference() {
            let refused = refuse("`fp` is the reference, whose inputs stay as they are");
            return refused.map_err(|error| error.hint("use `fp16-a8`"));
        }
        Ok(LayerRecipe { weights, int8_inputs: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_inputs_go_with_any_coded_weights_and_print_last() {
        for text in ["fp16-a8", "int8-a8", "int8-a-a8", "palette4-g16-s-a8", "mxfp4-a8", "fp"] {
            assert_eq!(text.parse::<LayerRecipe>().unwrap().to_string(), text);
        }
        let mixed: LayerRecipe = "int4-a8-b32-a".parse().unwrap();
        assert_eq!(mixed.to_string(), "int4-b32-a-a8");
        assert_eq!(mixed.weights, "int4-b32-a".parse().unwrap());
        assert!(mixed.int8_inputs && !mixed.is_reference());
        assert_eq!(format!("{:>8}", "fp16-a8".parse::<LayerRecipe>().unwrap()), " fp16-a8");
    }

    #[test]
    fn what_cannot_have_int8_inputs_is_refused() {
        let refusal = |text: &str| text.parse::<LayerRecipe>().unwrap_err().to_string();
        assert!(refusal("fp-a8").contains("recipe `fp-a8`: `fp` is the reference"));
        assert!(refusal("fp-a8").contains("use `fp16-a8`"));
        assert!(refusal("int8-a8-a8").contains("repeats"));
        assert!(refusal("int8-a4").contains("unknown option `-a4`"));
        assert!(refusal("a8").contains("unknown scheme"));
    }
}
