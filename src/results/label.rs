//! What a variant is called where people read it: the name itself, unless it lists a choice for
//! every tensor.

use super::part::{BLOCK_PARTS, Part};
use crate::units::BitsPerWeight;

/// How the name of a variant with recipes per tensor begins.
pub const MIXED: &str = "mixed";
/// What stands between the words of such a name.
pub const MIXED_SEPARATOR: char = '_';
/// Digits of the hash in a label.
const HASH_DIGITS: usize = 8;

/// The label of a variant: `mixed-2.50-1a2b3c4d-cal` for `mixed_palette2-g16-s_…_12a3b-cal`, with
/// the stored bits per weight of the blocks where `parts` tell them, and any other name as it is.
pub fn label(variant: &str, parts: &[Part]) -> String {
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
    let bits = match weights {
        0 => String::new(),
        _ => format!("{:.2}-", BitsPerWeight::of(size_bytes, weights).0),
    };
    format!("{MIXED}-{bits}{}{options}{others}", &hash[..HASH_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_list_tensors_are_shortened() {
        let parts = [("attention", 4), ("mlp", 1), ("head", 9)].map(|(part, size_bytes)| Part {
            part: part.into(),
            weights: 8,
            size_bytes,
            ..Part::default()
        });
        for name in ["fp", "palette2-g16+attention:int8", "mixedness", "int8-a8"] {
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
