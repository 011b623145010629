//! The label by which reports show a variant: `reference` for the uncompressed model, a short form for
//! a name that lists a recipe for every tensor, and otherwise the name itself.

use super::part::{BLOCK_PARTS, StoredPart};
use crate::units::BitsPerWeight;

/// The name of the uncompressed model, in the grammar of recipes.
const AS_STORED: &str = "fp";
/// Its label.
const REFERENCE: &str = "reference";
/// How the name of a variant with a recipe per tensor begins.
pub const MIXED: &str = "mixed";
/// What separates the words of such a name.
pub const MIXED_SEPARATOR: char = '_';
/// Hexadecimal digits of the hash in a label.
const HASH_DIGITS: usize = 8;

/// The label of a variant: `reference` for `fp`, `mixed-2.50-1a2b3c4d-cal` for
/// `mixed_palette2-g16-s_…_12a3b-cal`, and any other name unchanged. The number is that of stored bits
/// per weight of the blocks; it is left out if `parts` has no blocks.
pub fn label(variant: &str, parts: &[StoredPart]) -> String {
    if variant == AS_STORED {
        return REFERENCE.to_owned();
    }
    let (blocks, others) = variant.split_at(variant.find('+').unwrap_or(variant.len()));
    let is_mixed = blocks.strip_prefix(MIXED).is_some_and(|rest| rest.starts_with(MIXED_SEPARATOR));
    let Some(last) = blocks.rfind(MIXED_SEPARATOR).filter(|_| is_mixed) else {
        return variant.to_owned();
    };
    let (choice, options) =
        blocks.split_at(blocks[last..].find('-').map_or(blocks.len(), |at| last + at));
    let hash = blake3::hash(choice.as_bytes()).to_hex();
    let of_blocks = parts.iter().filter(|part| BLOCK_PARTS.contains(&part.part.as_str()));
    let (size_bytes, weights) =
        of_blocks.fold((0, 0), |(b, w), part| (b + part.size_bytes, w + part.weights));
    let bits = if weights == 0 {
        String::new()
    } else {
        format!("{:.2}-", BitsPerWeight::of(size_bytes, weights).0)
    };
    format!("{MIXED}-{bits}{}{options}{others}", &hash[..HASH_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Cell;

    #[test]
    fn a_reference_that_is_itself_quantized_is_called_so() {
        let reference = Cell { variant: "fp".into(), is_reference: true, ..Cell::default() };
        let quantized = Cell { stored_as: Some("q4_0, q6_k".into()), ..reference.clone() };
        assert_eq!(reference.label(), "reference");
        assert_eq!(quantized.label(), "reference (stored as q4_0, q6_k)");
        assert!(quantized.is_variant_of(&reference), "older records do not say it");
        let other = Cell { variant: "int8".into(), ..Cell::default() };
        assert!(!other.is_variant_of(&reference) && other.is_variant_of(&other));
    }

    #[test]
    fn only_the_reference_and_names_that_list_tensors_have_a_label_of_their_own() {
        let parts = [("attention", 4), ("mlp", 1), ("head", 9)].map(|(part, size_bytes)| {
            StoredPart { part: part.into(), weights: 8, size_bytes, ..StoredPart::default() }
        });
        assert_eq!(label("fp", &parts), "reference");
        for name in ["fp16", "fp+head:int8", "palette2-g16+attention:int8", "mixedness", "int8-a8"]
        {
            assert_eq!(label(name, &parts), name);
        }
        let one = label("mixed_palette2-g16-s_int8_12a3b-cal-a8+embed:int8", &parts);
        assert!(one.starts_with("mixed-2.50-") && one.ends_with("-cal-a8+embed:int8"), "{one}");
        let other = label("mixed_palette2-g16-s_int8_11a4b-cal-a8+embed:int8", &parts);
        assert!(one != other && one.len() == other.len());
        let without = label("mixed_palette2-g16-s_int8_12a3b", &[]);
        assert_eq!(without.len(), "mixed-".len() + HASH_DIGITS);
    }
}
