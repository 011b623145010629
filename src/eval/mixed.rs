//! Recipes per tensor, as a value with a name: `mixed_palette2-g16-s_palette4-g16-s_12a3b2a…`.
//!
//! After `mixed` follow the recipes in the order of first use, which stand for the letters from `a` on.
//! Then follow the choices as runs: a letter, preceded by a count if it is more than 1. They are first
//! the queries of all layers in order, then the keys, and so on through [`ROLES`]. The name is complete
//! without a file, and its characters are safe in shells and file systems.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::Role;
use crate::error::{At, Error, Result};
use crate::quantize::{LayerRecipe, Method, Recipe};
use crate::results::{MIXED, MIXED_SEPARATOR};

/// The linear layers of a block that have their own recipe, in the order of the computation. In a
/// mixture, all experts of a layer share one recipe per role, and the shared expert has it too. Layers
/// of other kinds stand in these places: see [`place_of`].
pub const ROLES: [Role; 7] =
    [Role::Query, Role::Key, Role::Value, Role::Output, Role::Gate, Role::Up, Role::Down];

/// Their names in files, in the same order.
pub const ROLE_NAMES: [&str; ROLES.len()] =
    ["query", "key", "value", "output", "gate", "up", "down"];

/// The place of a linear layer in [`ROLES`]. In latent attention, all projections to queries stand in the
/// place of queries, that of the hidden states to keys and values in the place of keys, and the other one in
/// that of values. The projections of a short convolution stand in the places of queries and output.
pub fn place_of(role: Role) -> Option<usize> {
    let stands_for = match role {
        Role::QueryDown | Role::QueryUp | Role::ConvInput => Role::Query,
        Role::KvDown => Role::Key,
        Role::KvUp => Role::Value,
        Role::ConvOutput => Role::Output,
        Role::SharedGate => Role::Gate,
        Role::SharedUp => Role::Up,
        Role::SharedDown => Role::Down,
        role => role,
    };
    ROLES.iter().position(|role| *role == stands_for)
}

/// The recipes of a layer, of which some places have no tensor: these take the next recipe, or the last one,
/// so that a choice has one name. `None` if there is no recipe.
pub fn filled(known: [Option<Recipe>; ROLES.len()]) -> Option<[Recipe; ROLES.len()]> {
    let last = known.iter().flatten().last().copied()?;
    Some(std::array::from_fn(|place| {
        known[place..].iter().flatten().next().copied().unwrap_or(last)
    }))
}

/// More layers than any decoder has.
const MAX_LAYERS: usize = 4096;
/// A recipe that supports every option.
const ANY_CODED: &str = "int8";
/// The number of letters that stand for recipes.
const LETTERS: usize = 26;

/// The recipe of every linear layer, by layer and role. At least two recipes differ; otherwise it is
/// [`Blocks::Alike`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixed {
    /// The recipes, in the order of first use.
    recipes: Vec<Recipe>,
    /// Index of the recipe, by role and then by layer.
    choices: Vec<u8>,
}

/// The recipes of the blocks: one for all tensors, or one for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocks {
    /// The same recipe for every tensor.
    Alike(Recipe),
    /// At least two recipes.
    Mixed(Mixed),
}

impl Blocks {
    /// The recipes of `layers`, each in the order of [`ROLES`].
    ///
    /// # Errors
    /// Input errors: no layers or too many, `fp` (which has no codes), too many different recipes.
    pub fn new(layers: &[[Recipe; ROLES.len()]]) -> Result<Self> {
        if layers.is_empty() || layers.len() > MAX_LAYERS {
            let found = layers.len();
            return Err(Error::input(format!("expected 1 to {MAX_LAYERS} layers, found {found}")));
        }
        let (mut recipes, mut choices) = (Vec::<Recipe>::new(), Vec::new());
        for role in 0..ROLES.len() {
            for layer in layers {
                let recipe = layer[role];
                let known = recipes.iter().position(|known| *known == recipe);
                choices.push(known.unwrap_or(recipes.len()) as u8);
                if known.is_none() {
                    recipes.push(recipe);
                }
                if recipes.len() > LETTERS {
                    return Err(Error::input(format!("expected at most {LETTERS} recipes")));
                }
            }
        }
        if recipes.contains(&Recipe::Reference) {
            let what = "a recipe per tensor cannot be `fp`, which keeps the weights as they are";
            return Err(Error::input(what).hint("use `fp16`"));
        }
        Ok(match recipes[..] {
            [recipe] => Blocks::Alike(recipe),
            _ => Blocks::Mixed(Mixed { recipes, choices }),
        })
    }

    /// Parses the first word of a variant: a recipe of all blocks, or `mixed_…`, each with options.
    ///
    /// # Errors
    /// Input errors of the recipes, and of options that a recipe does not support.
    pub fn parse(word: &str) -> Result<(LayerRecipe, Option<Mixed>)> {
        let prefix = format!("{MIXED}{MIXED_SEPARATOR}");
        let Some(rest) = word.strip_prefix(&prefix) else { return Ok((word.parse()?, None)) };
        let runs = rest.rfind(MIXED_SEPARATOR).map_or(0, |at| at + 1);
        let end = rest[runs..].find('-').map_or(rest.len(), |at| runs + at);
        let (choice, options) = rest.split_at(end);
        let place = || shortened(word);
        let blocks: Blocks = choice.parse().at(place)?;
        let recipes = match &blocks {
            Blocks::Alike(recipe) => std::slice::from_ref(recipe),
            Blocks::Mixed(mixed) => mixed.recipes(),
        };
        // fp16 has no codes to choose, so it works with every method.
        let coded = recipes.iter().find(|recipe| **recipe != Recipe::Half);
        let like = coded.map_or(ANY_CODED.to_owned(), Recipe::to_string);
        let mut base: LayerRecipe = format!("{like}{options}").parse().at(place)?;
        for recipe in recipes.iter().filter(|recipe| **recipe != Recipe::Half) {
            base.method.check(recipe).at(|| format!("recipe `{recipe}`")).at(place)?;
        }
        base.weights = recipes[0];
        match blocks {
            Blocks::Alike(Recipe::Half) => {
                Ok((LayerRecipe { method: Method::Unspecified, ..base }, None))
            }
            Blocks::Alike(_) => Ok((base, None)),
            Blocks::Mixed(mixed) => Ok((base, Some(mixed))),
        }
    }
}

impl fmt::Display for Blocks {
    /// The name that [`Blocks::parse`] reads, also with options appended. A single recipe is written in
    /// the long form `mixed_RECIPE_7a`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocks::Alike(recipe) => {
                write!(f, "{MIXED}{MIXED_SEPARATOR}{recipe}{MIXED_SEPARATOR}{}a", ROLES.len())
            }
            Blocks::Mixed(mixed) => mixed.fmt(f),
        }
    }
}

/// The beginning of a text, short enough for an error message.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 48;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

impl FromStr for Blocks {
    type Err = Error;

    /// Parses the text after `mixed_`: recipes and runs.
    fn from_str(text: &str) -> Result<Self> {
        let mut words: Vec<&str> = text.split(MIXED_SEPARATOR).collect();
        let runs = words.pop().unwrap_or_default();
        if words.is_empty() || words.len() > LETTERS {
            return Err(Error::input("expected mixed_RECIPE_RECIPE_RUNS")
                .hint("for example mixed_palette2-g16-s_palette4-g16-s_6a8b"));
        }
        let recipes: Vec<Recipe> = words.iter().map(|word| word.parse()).collect::<Result<_>>()?;
        let choices = expanded(runs, recipes.len())?;
        let layers = choices.len() / ROLES.len();
        if layers * ROLES.len() != choices.len() {
            let (found, roles) = (choices.len(), ROLES.len());
            return Err(Error::input(format!(
                "expected {roles} choices for each layer, found {found} in `{runs}`"
            )));
        }
        let layer =
            |layer: usize| std::array::from_fn(|role| recipes[choices[role * layers + layer]]);
        Blocks::new(&(0..layers).map(layer).collect::<Vec<_>>())
    }
}

/// The choices that runs such as `12a3b` stand for.
fn expanded(runs: &str, recipes: usize) -> Result<Vec<usize>> {
    let refused = |what: &str| Error::input(format!("{what} in the choices `{runs}`"));
    let mut choices = Vec::new();
    let mut count = String::new();
    for c in runs.chars() {
        if c.is_ascii_digit() {
            count.push(c);
            continue;
        }
        let times = match count.as_str() {
            "" => 1,
            digits => {
                digits.parse::<usize>().map_err(|_| refused("a count that is not a number"))?
            }
        };
        let choice = (c as usize).wrapping_sub('a' as usize);
        if choice >= recipes {
            return Err(refused(&format!("{c:?} stands for no recipe: there are only {recipes}")));
        }
        if times > MAX_LAYERS * ROLES.len() - choices.len() {
            return Err(refused(&format!("more than {MAX_LAYERS} layers")));
        }
        choices.extend(std::iter::repeat_n(choice, times));
        count.clear();
    }
    if count.is_empty() { Ok(choices) } else { Err(refused("a count without a letter")) }
}

impl Mixed {
    /// Every recipe that occurs.
    pub fn recipes(&self) -> &[Recipe] {
        &self.recipes
    }

    /// How many layers have choices.
    pub fn layers(&self) -> usize {
        self.choices.len() / ROLES.len()
    }

    /// The recipe of a linear layer; the first recipe if there is no such layer.
    pub fn recipe(&self, layer: usize, role: Role) -> Recipe {
        let role = place_of(role).unwrap_or(0);
        let choice =
            if layer < self.layers() { self.choices[role * self.layers() + layer] } else { 0 };
        self.recipes[usize::from(choice)]
    }
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MIXED)?;
        for recipe in &self.recipes {
            write!(f, "{MIXED_SEPARATOR}{recipe}")?;
        }
        write!(f, "{MIXED_SEPARATOR}")?;
        for run in self.choices.chunk_by(|a, b| a == b) {
            if run.len() > 1 {
                write!(f, "{}", run.len())?;
            }
            write!(f, "{}", char::from(b'a' + run[0]))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eval::Variant;

    #[test]
    fn a_mixture_of_recipes_prints_and_parses_back_and_has_one_text() {
        for text in [
            "mixed_palette2-g16-s_palette4-g16-s_6a8b",
            "mixed_palette2-g16-s_fp16_vector2-d4_3abc2a-cal",
            "mixed_int8_palette4-g16_7a7b-a8+embed:int8",
        ] {
            let variant: Variant = text.parse().unwrap();
            assert_eq!(variant.to_string(), text);
        }
        // Recipes that no tensor has, another order, runs in pieces: the same variant.
        let odd: Variant = "mixed_int4_palette4_palette2_2c4c7b1b".parse().unwrap();
        assert_eq!(odd.to_string(), "mixed_palette2_palette4_6a8b");
        assert_eq!("mixed_int4_7a-cal".parse::<Variant>().unwrap().to_string(), "int4-cal");
        assert_eq!("mixed_fp16_7a-cal-a8".parse::<Variant>().unwrap().to_string(), "fp16-a8");
    }

    #[test]
    fn a_mixture_that_cannot_be_is_refused() {
        let refused = |text: &str| text.parse::<Variant>().unwrap_err().to_string();
        assert!(refused("mixed_palette2_7b").contains("stands for no recipe"));
        assert!(refused("mixed_palette2_int8_6ab1").contains("a count without a letter"));
        assert!(refused("mixed_palette2_int8_6abb").contains("7 choices for each layer, found 8"));
        assert!(refused("mixed_palette2_fp_6ab").contains("cannot be `fp`"));
        assert!(refused("mixed_palette2_int8_").contains("expected 1 to 4096 layers"));
        assert!(refused("mixed_7a").contains("expected mixed_RECIPE"));
        assert!(refused("mixed_palette2_int8_99999999999999999999a").contains("not a number"));
        assert!(refused("mixed_palette2_int8_999999999a").contains("more than 4096 layers"));
        assert!(refused("mixed_palette2_mxfp4_6ab-cal").contains("cannot be calibrated"));
        let part = refused("mixed_palette2_int8_6ab+attention:int8");
        assert!(part.contains("a recipe per tensor already"), "{part}");
    }

    proptest! {
        #[test]
        fn any_choice_reads_back_with_every_tensor_where_it_was(
            picks in proptest::collection::vec(0usize..4, 7..70)
        ) {
            let known = ["palette1-g16-s", "palette2-g16-s", "vector2-d4", "fp16"];
            let known: Vec<Recipe> = known.iter().map(|text| text.parse().unwrap()).collect();
            let layers: Vec<[Recipe; 7]> = picks
                .chunks_exact(7)
                .map(|layer| std::array::from_fn(|role| known[layer[role]]))
                .collect();
            let blocks = Blocks::new(&layers).unwrap();
            if let Blocks::Mixed(mixed) = &blocks {
                let text = mixed.to_string();
                let (_, back) = Blocks::parse(&text).unwrap();
                prop_assert_eq!(back.as_ref(), Some(mixed));
                for (at, layer) in layers.iter().enumerate() {
                    for (role, recipe) in ROLES.iter().zip(layer) {
                        prop_assert_eq!(mixed.recipe(at, *role), *recipe);
                    }
                }
            }
        }
    }
}
