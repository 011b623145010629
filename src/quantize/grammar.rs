//! Recipes as text: `SCHEME BITS [-OPTION…]`, parsed and printed in one grammar.
//!
//! Options may be given in any order. They print in a fixed one: granularity, channel scale, table
//! maker, table entries, pruning. `-t8` means int8 tables and `-t0.1`, with a point, a threshold.
//! `layers.rs` parses the options that do not change the format: `-a8`, and `-cal` with its steps.
//! An unknown word is refused with the nearest known recipe as a hint.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use super::pruning::Pruning;
use super::recipe::{Granularity, Linear, Palette, Recipe, TableEntry, TableMaker};
use super::vector::form::Vector;
use super::widths::{IndexBits, LinearBits};
use crate::error::{Error, Result};

/// Recipes that a mistyped one is compared with.
const KNOWN_RECIPES: [&str; 20] = [
    "fp",
    "fp16",
    "mxfp4",
    "palette1",
    "palette1-c",
    "palette2",
    "palette2-g16",
    "palette3-g16",
    "palette4",
    "palette4-g16",
    "palette6-g16",
    "palette8",
    "int4",
    "int4-b32",
    "int4-b32-a",
    "int8",
    "int8-a",
    "vector1-d8",
    "vector2-d4",
    "vector4-d2",
];

impl fmt::Display for Recipe {
    /// The canonical name, which parses back to the same recipe.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Recipe::Reference => "fp".to_owned(),
            Recipe::Half => "fp16".to_owned(),
            Recipe::Palette(palette) => palette_name(palette),
            Recipe::Linear(linear) => linear_name(linear),
            Recipe::Vector(vector) => vector.to_string(),
            Recipe::Mxfp4 => "mxfp4".to_owned(),
        })
    }
}

fn palette_name(palette: &Palette) -> String {
    let Palette { bits, granularity, channel_scale, maker, entry, pruning } = palette;
    let granularity = match granularity {
        Granularity::Tensor => String::new(),
        Granularity::Grouped(rows) => format!("-g{rows}"),
        Granularity::Channel => "-c".to_owned(),
    };
    let maker = match maker {
        TableMaker::KMeans => "",
        TableMaker::Uniform => "-uniform",
        TableMaker::Unique => "-unique",
    };
    let scale = if *channel_scale { "-s" } else { "" };
    let entry = if *entry == TableEntry::Int8 { "-t8" } else { "" };
    let pruning = pruning.map(|pruning| format!("-{pruning}")).unwrap_or_default();
    format!("palette{}{granularity}{scale}{maker}{entry}{pruning}", bits.get())
}

fn linear_name(linear: &Linear) -> String {
    let block = linear.block.map(|block| format!("-b{block}")).unwrap_or_default();
    let zero_point = if linear.asymmetric { "-a" } else { "" };
    format!("int{}{block}{zero_point}", linear.bits.get())
}

impl FromStr for Recipe {
    type Err = Error;

    /// Parses a recipe. Fails (input) for unknown schemes, widths and options, and names known
    /// ones.
    fn from_str(text: &str) -> Result<Recipe> {
        let mut words = text.split('-');
        let scheme = words.next().unwrap_or_default();
        let options: Vec<&str> = words.collect();
        let parsed = match scheme {
            "fp" | "fp16" | "mxfp4" => plain(scheme, &options),
            _ => match scheme.find(|c: char| c.is_ascii_digit()).map(|at| scheme.split_at(at)) {
                Some(("palette", bits)) if is_number(bits) => palette(bits, &options),
                Some(("int", bits)) if is_number(bits) => linear(bits, &options),
                Some(("vector", bits)) if is_number(bits) => vector(bits, &options),
                _ => Err(Error::input(
                    "unknown scheme, expected fp, fp16, mxfp4, paletteN, intN or vectorN",
                )),
            },
        };
        parsed.map_err(|error| {
            let error = error.at(format_args!("recipe `{text}`"));
            match nearest(text) {
                Some(known) => error.hint(format!("did you mean `{known}`?")),
                None => error.hint("for example fp16, palette4-g16, palette2-g16, int4-b32"),
            }
        })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn nearest(text: &str) -> Option<&'static str> {
    const CLOSE_ENOUGH: f64 = 0.7;
    let likeness = |known: &str| strsim::damerau_levenshtein(text, known);
    let known = KNOWN_RECIPES.into_iter().min_by_key(|known| likeness(known))?;
    (strsim::normalized_damerau_levenshtein(text, known) >= CLOSE_ENOUGH).then_some(known)
}

fn plain(scheme: &str, options: &[&str]) -> Result<Recipe> {
    match options.first() {
        Some(option) => Err(Error::input(format!("unknown option `-{option}`: {scheme} has none"))),
        None if scheme == "fp" => Ok(Recipe::Reference),
        None if scheme == "mxfp4" => Ok(Recipe::Mxfp4),
        None => Ok(Recipe::Half),
    }
}

/// The largest group or block: the longest axis that Apple's Neural Engine takes.
const GROUP_MAX: usize = 65_536;

/// Reads a number without leading zeros, so that every recipe has one spelling.
fn positive(option: &str, digits: &str) -> Result<NonZeroUsize> {
    let number: Option<NonZeroUsize> = digits.parse().ok();
    let plain = is_number(digits) && !digits.starts_with('0');
    number.filter(|number| plain && number.get() <= GROUP_MAX).ok_or_else(|| {
        Error::input(format!(
            "option `-{option}`: expected a whole number from 1 to {GROUP_MAX}, found `{digits}`"
        ))
    })
}

/// Sets `slot`. Fails (input) if it is set already.
fn once<T>(slot: &mut Option<T>, option: &str, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::input(format!("option `-{option}` repeats or contradicts another"))),
    }
}

fn palette(bits: &str, options: &[&str]) -> Result<Recipe> {
    let bits = IndexBits::new(bits.parse().unwrap_or(u8::MAX)).map_err(|error| {
        if bits == "5" { error.hint("use palette4 or palette6") } else { error }
    })?;
    let (mut granularity, mut scale, mut maker, mut entry) = (None, None, None, None);
    let mut pruned = None;
    for option in options {
        match (*option, option.strip_prefix('g')) {
            ("c", _) => once(&mut granularity, option, Granularity::Channel)?,
            ("s", _) => once(&mut scale, option, true)?,
            ("uniform", _) => once(&mut maker, option, TableMaker::Uniform)?,
            ("unique", _) => once(&mut maker, option, TableMaker::Unique)?,
            ("t8", _) => once(&mut entry, option, TableEntry::Int8)?,
            (_, Some(rows)) => {
                let rows = positive(option, rows)?;
                once(&mut granularity, option, Granularity::Grouped(rows))?;
            }
            _ => {
                let pruning = Pruning::parse(option)?.ok_or_else(|| {
                    let known = "expected -gN, -c, -s, -uniform, -unique, -t8, -t0.N or -pN";
                    Error::input(format!("unknown option `-{option}`, {known}"))
                })?;
                once(&mut pruned, option, pruning)?;
            }
        }
    }
    let palette = Palette {
        bits,
        granularity: granularity.unwrap_or(Granularity::Tensor),
        channel_scale: scale.unwrap_or(false),
        maker: maker.unwrap_or(TableMaker::KMeans),
        entry: entry.unwrap_or(TableEntry::Half),
        pruning: pruned,
    };
    let lossy = palette.channel_scale || palette.entry == TableEntry::Int8;
    if palette.maker == TableMaker::Unique && (lossy || pruned.is_some()) {
        return Err(Error::input(
            "`-unique` is lossless and excludes `-s`, `-t8` and pruning, which are not",
        ));
    }
    Ok(Recipe::Palette(palette))
}

fn linear(bits: &str, options: &[&str]) -> Result<Recipe> {
    let bits = match bits {
        "4" => LinearBits::Four,
        "8" => LinearBits::Eight,
        _ => {
            return Err(Error::input(format!(
                "int{bits} does not exist: Core ML has linear codes of 4 and 8 bits"
            ))
            .hint("1, 2, 3 and 6 bits exist as palettes"));
        }
    };
    let (mut asymmetric, mut block) = (None, None);
    for option in options {
        match (*option, option.strip_prefix('b')) {
            ("a", _) => once(&mut asymmetric, option, true)?,
            (_, Some(inputs)) => once(&mut block, option, positive(option, inputs)?)?,
            _ => {
                let known = "expected -a or -bN";
                return Err(Error::input(format!("unknown option `-{option}`, {known}")));
            }
        }
    }
    Ok(Recipe::Linear(Linear { bits, asymmetric: asymmetric.unwrap_or(false), block }))
}

fn vector(bits: &str, options: &[&str]) -> Result<Recipe> {
    let (mut weights, mut group) = (None, None);
    for option in options {
        match (option.strip_prefix('d'), option.strip_prefix('g')) {
            (Some(count), _) => once(&mut weights, option, positive(option, count)?)?,
            (_, Some(rows)) => once(&mut group, option, positive(option, rows)?)?,
            _ => {
                let known = "expected -dN or -gN";
                return Err(Error::input(format!("unknown option `-{option}`, {known}")));
            }
        }
    }
    let Some(weights) = weights else {
        return Err(Error::input("a vector recipe needs the number of weights per vector, -dN"));
    };
    // Leading zeros would be a second spelling.
    let bits = bits.parse().ok().filter(|_| !bits.starts_with('0')).unwrap_or(u8::MAX);
    Vector::new(bits, weights.get(), group).map(Recipe::Vector)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::quantize::pruning::{Magnitude, Percent};
    use crate::quantize::vector::form::FORMS as VECTOR_FORMS;

    fn any_recipe() -> impl Strategy<Value = Recipe> {
        let size = (1usize..5000).prop_map(|size| NonZeroUsize::new(size).unwrap());
        let granularity = prop_oneof![
            Just(Granularity::Tensor),
            Just(Granularity::Channel),
            size.clone().prop_map(Granularity::Grouped)
        ];
        let maker = prop_oneof![
            Just(TableMaker::KMeans),
            Just(TableMaker::Uniform),
            Just(TableMaker::Unique)
        ];
        let bits = prop::sample::select(&IndexBits::ALL[..]);
        let pruning = prop::option::of(prop_oneof![
            any::<u32>().prop_map(|m| Pruning::UpTo(Magnitude::from_millionths(m))),
            (1u8..100).prop_map(|percent| Pruning::Share(Percent::new(percent).unwrap())),
        ]);
        let palette = (bits, granularity, any::<bool>(), maker, any::<bool>(), pruning).prop_map(
            |(bits, granularity, scale, maker, int8, pruning)| {
                let lossless = maker == TableMaker::Unique;
                Recipe::Palette(Palette {
                    bits: IndexBits::new(bits).unwrap(),
                    granularity,
                    channel_scale: scale && !lossless,
                    maker,
                    entry: if int8 && !lossless { TableEntry::Int8 } else { TableEntry::Half },
                    pruning: pruning.filter(|_| !lossless),
                })
            },
        );
        let bits = prop_oneof![Just(LinearBits::Four), Just(LinearBits::Eight)];
        let linear =
            (bits, any::<bool>(), prop::option::of(size)).prop_map(|(bits, asymmetric, block)| {
                Recipe::Linear(Linear { bits, asymmetric, block })
            });
        let forms = prop::sample::select(&VECTOR_FORMS[..]);
        let vector =
            (forms, prop::option::of(8usize..5000)).prop_map(|((bits, weights), group)| {
                let group = group.and_then(NonZeroUsize::new);
                Recipe::Vector(Vector::new(bits, weights, group).unwrap())
            });
        prop_oneof![
            Just(Recipe::Reference),
            Just(Recipe::Half),
            Just(Recipe::Mxfp4),
            palette,
            linear,
            vector
        ]
    }

    proptest! {
        #[test]
        fn a_recipe_survives_print_and_parse(recipe in any_recipe()) {
            prop_assert_eq!(recipe.to_string().parse::<Recipe>().unwrap(), recipe);
        }

        #[test]
        fn whatever_parses_prints_to_something_that_means_the_same(
            text in "(fp|fp16|palette[0-9]{1,2}|int[0-9])(-(g[0-9]{1,3}|c|s|t8|t0\\.[0-9]|p[0-9]{2}|a|b[0-9]{1,2}|unique))*"
        ) {
            if let Ok(recipe) = text.parse::<Recipe>() {
                prop_assert_eq!(recipe.to_string().parse::<Recipe>().unwrap(), recipe);
            }
        }
    }

    fn refusal(text: &str) -> String {
        let error = text.parse::<Recipe>().unwrap_err();
        assert_eq!(error.exit(), crate::error::Exit::Input);
        error.to_string()
    }

    #[test]
    fn options_come_in_any_order_and_print_in_one() {
        let recipe: Recipe = "palette2-t8-s-g16".parse().unwrap();
        assert_eq!(recipe.to_string(), "palette2-g16-s-t8");
        let recipe: Recipe = "palette4-t0.05-t8-g16".parse().unwrap();
        assert_eq!(recipe.to_string(), "palette4-g16-t8-t0.05");
        assert_eq!("palette4-p50-s".parse::<Recipe>().unwrap().to_string(), "palette4-s-p50");
        assert_eq!("int4-a-b32".parse::<Recipe>().unwrap().to_string(), "int4-b32-a");
    }

    #[test]
    fn a_mistyped_recipe_gets_the_nearest_known_one() {
        assert!(refusal("pallete4").contains("did you mean `palette4`?"));
        assert!(refusal("palette2-g-16").contains("did you mean `palette2-g16`?"));
        assert!(refusal("").contains("for example"));
    }

    #[test]
    fn five_bits_are_refused_with_the_reason() {
        let text = refusal("palette5");
        assert!(text.contains("index types of 1, 2, 3, 4, 6 and 8 bits"), "{text}");
        assert!(refusal("int2").contains("exist as palettes"));
    }

    #[test]
    fn what_says_how_codes_are_found_is_no_part_of_a_recipe() {
        for text in ["int4-cal", "vector2-d4-ft", "palette4-t4"] {
            refusal(text);
        }
    }

    #[test]
    fn contradictions_and_second_spellings_are_refused() {
        for text in [
            "palette2-g16-c",
            "palette2-s-s",
            "palette2-g0",
            "palette2-g016",
            "palette2-g65537",
            "palette2-unique-s",
            "palette2-unique-p50",
            "palette4-p50-t0.1",
            "palette4-p5-p5",
            "palette4-t-0.1",
            "palette4-tnan",
            "int8-p50",
            "fp16-t0.1",
            "fp16-s",
            "int4-b",
            "int04",
            "palette02-",
        ] {
            refusal(text);
        }
    }
}
