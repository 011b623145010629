//! How the linear layers of a part of a model are computed: a [`Recipe`] for their weights, a
//! [`Method`] that finds the codes, and inputs as they are computed or, with `-a8`, in int8.
//!
//! Weights and inputs are quantized independently: the codes of `int8-a8` are those of `int8`.

use std::fmt;
use std::str::FromStr;

use super::method::{Method, Steps};
use super::recipe::Recipe;
use crate::error::{At, Error, Result};

/// The option, without its dash.
const INT8_INPUTS: &str = "a8";

/// The recipe of a part's linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerRecipe {
    /// How weights are coded.
    pub weights: Recipe,
    /// How codes are found: `-cal` and its steps.
    pub method: Method,
    /// `-a8`: inputs are rounded to int8, with one fp16 scale per input.
    pub int8_inputs: bool,
}

impl LayerRecipe {
    /// The same with calibrated codes, if the recipe names no method and can be calibrated.
    pub fn calibrated(self) -> Self {
        let method = Method::Calibrated(Steps::ALL);
        let is_open = self.method == Method::Unspecified && method.check(&self.weights).is_ok();
        LayerRecipe { method: if is_open { method } else { self.method }, ..self }
    }

    /// Whether weights and inputs are the reference's.
    pub fn is_reference(&self) -> bool {
        self.weights.is_reference() && !self.int8_inputs
    }

    /// The options that print after the recipe of the weights: the method's, then `-a8`.
    pub fn options(&self) -> String {
        let inputs = if self.int8_inputs { format!("-{INT8_INPUTS}") } else { String::new() };
        format!("{}{inputs}", self.method)
    }
}

impl From<Recipe> for LayerRecipe {
    /// This recipe for weights, no method, and inputs as they are computed.
    fn from(weights: Recipe) -> Self {
        LayerRecipe { weights, method: Method::Unspecified, int8_inputs: false }
    }
}

impl fmt::Display for LayerRecipe {
    /// The recipe's canonical name, the method's options, then `-a8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}{}", self.weights, self.options()))
    }
}

impl FromStr for LayerRecipe {
    type Err = Error;

    /// Parses a recipe with or without `-a8` and the options of a method, in any order. Fails
    /// (input) if an option repeats, if the recipe cannot have it, and as [`Recipe`] does.
    fn from_str(text: &str) -> Result<Self> {
        let place = || format!("recipe `{text}`");
        let is_own = |word: &&&str| **word == INT8_INPUTS || Method::knows(word);
        let (scheme, options) = match text.split_once('-') {
            Some((scheme, options)) => (scheme, options.split('-').collect::<Vec<_>>()),
            None => (text, Vec::new()),
        };
        let own: Vec<&str> = options.iter().filter(is_own).copied().collect();
        if own.is_empty() {
            return Ok(text.parse::<Recipe>()?.into());
        }
        let others = options.iter().filter(|word| !is_own(word)).copied();
        let words: Vec<&str> = std::iter::once(scheme).chain(others).collect();
        let weights: Recipe = words.join("-").parse()?;
        let methods: Vec<&str> = own.iter().copied().filter(|word| *word != INT8_INPUTS).collect();
        let method = Method::parse(&methods).at(place)?;
        method.check(&weights).at(place)?;
        let inputs = own.len() - methods.len();
        if inputs > 1 {
            return Err(Error::input("option `-a8` repeats").at(place()));
        }
        if inputs == 1 && weights.is_reference() {
            let what = "`fp` is the reference, whose inputs are never quantized";
            return Err(Error::input(what).at(place()).hint("use `fp16-a8`"));
        }
        Ok(LayerRecipe { weights, method, int8_inputs: inputs == 1 })
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
    fn methods_print_between_the_recipe_and_its_inputs() {
        for text in [
            "vector2-d4-cal",
            "vector2-d4-ft",
            "vector1-d8-ft-noeq",
            "vector2-d4-ft-nodesc-blocks",
            "vector2-d4-cal-blocks",
            "palette2-g16-s-cal-noeq-norep-nocomp-noalt-nodesc",
            "int4-b32-cal-nodesc-a8",
            "vector2-d4-free",
        ] {
            assert_eq!(text.parse::<LayerRecipe>().unwrap().to_string(), text);
        }
        let spelled: LayerRecipe = "vector2-cal-ft-d4-nocomp".parse().unwrap();
        assert_eq!(spelled.to_string(), "vector2-d4-ft-nocomp");
        let steps = spelled.method.steps().unwrap();
        assert!(steps.is_tuned() && !steps.compensate && steps.alternate);
        let error = "vector2-d4-blocks".parse::<LayerRecipe>().unwrap_err().to_string();
        assert!(error.contains("use `-cal-blocks`"), "{error}");
        assert_eq!("vector2-d4".parse::<LayerRecipe>().unwrap().method, Method::Unspecified);
    }

    #[test]
    fn methods_of_recipes_that_have_nothing_to_choose_are_refused() {
        let refusal = |text: &str| text.parse::<LayerRecipe>().unwrap_err().to_string();
        for recipe in ["fp", "fp16", "mxfp4", "palette2-uniform", "palette8-unique", "palette4-p50"]
        {
            let text = refusal(&format!("{recipe}-cal"));
            assert!(text.contains("this recipe cannot be calibrated: "), "{text}");
        }
        assert!(refusal("int4-noeq").contains("use `-cal-noeq`"));
        assert!(refusal("vector2-d4-free-cal").contains("`-free` means without calibration"));
        assert!(refusal("int4-cal-cal").contains("`-cal` repeats"));
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
