//! The vector recipe: which widths and lengths exist, which rows share a table, and the stored
//! size. `vectorB-dD[-gN]` has B bits per weight and D weights per code.

use std::fmt;
use std::num::NonZeroUsize;

use crate::error::{Error, Result};
use crate::quantize::bitpack::packed_size_bytes;
use crate::quantize::widths::{IndexBits, effective_group};

/// Every pair of bits per weight and weights per code whose code has 1, 2, 3, 4, 6 or 8 bits. One
/// weight per code would be a palette.
pub(in crate::quantize) const FORMS: [(u8, usize); 10] =
    [(1, 2), (1, 3), (1, 4), (1, 6), (1, 8), (2, 2), (2, 3), (2, 4), (3, 2), (4, 2)];

/// Lookup tables of short vectors: a code stands for the weights of one input in `D` consecutive
/// rows, `W[r, j] = s[r] · table[group(r)][code[r / D, j]][r mod D]` with an fp16 scale `s` per
/// row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vector {
    bits: u8,
    weights_per_code: usize,
    code_bits: IndexBits,
    group: Option<NonZeroUsize>,
}

impl Vector {
    /// Codes of `bits` bits per weight for `weights_per_code` weights each. `group` output rows
    /// share a table; if `None`, all rows do. Fails (input) if codes cannot have that width, or if
    /// a group is shorter than a vector.
    pub fn new(bits: u8, weights_per_code: usize, group: Option<NonZeroUsize>) -> Result<Self> {
        let refuse = |what: String| Err(Error::input(what));
        if weights_per_code == 1 {
            return refuse("a vector of one weight is a palette".to_owned())
                .map_err(|error| error.hint(format!("use palette{bits}")));
        }
        if !FORMS.contains(&(bits, weights_per_code)) {
            let code = usize::from(bits).saturating_mul(weights_per_code);
            return refuse(format!(
                "{bits} bits for each of {weights_per_code} weights make codes of {code} bits, but \
                 Core ML has index types of 1, 2, 3, 4, 6 and 8 bits"
            ))
            .map_err(|error| {
                error.hint(format!("the nearest is {}", nearest(bits, weights_per_code)))
            });
        }
        if let Some(rows) = group.filter(|rows| rows.get() < weights_per_code) {
            return refuse(format!(
                "option `-g{rows}`: expected at least the {weights_per_code} rows of a vector"
            ));
        }
        let code_bits = IndexBits::new(bits * weights_per_code as u8)?;
        Ok(Vector { bits, weights_per_code, code_bits, group })
    }

    /// Bits of codes per weight.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Weights that a code stands for: those of consecutive rows at one input.
    pub fn weights_per_code(&self) -> usize {
        self.weights_per_code
    }

    /// Width of a code.
    pub fn code_bits(&self) -> IndexBits {
        self.code_bits
    }

    /// `-gN`: rows that should share a table, or `None` if the tensor has one table.
    pub fn group(&self) -> Option<NonZeroUsize> {
        self.group
    }

    /// Rows that share a table in a tensor of `out` rows: with `-gN` the largest multiple of the
    /// vector's length that divides `out` and is at most N.
    pub fn table_rows(&self, out: usize) -> usize {
        let Some(rows) = self.group else { return out.max(1) };
        let length = self.weights_per_code;
        let vectors = NonZeroUsize::new(rows.get() / length).unwrap_or(NonZeroUsize::MIN);
        effective_group(out / length, vectors) * length
    }

    /// The number of tables of a tensor `[out, in]`; 0 for a tensor without weights.
    pub fn tables(&self, [out, inputs]: [usize; 2]) -> usize {
        if inputs == 0 { 0 } else { out / self.table_rows(out) }
    }

    /// The shape of a tensor's tables: `[groups, 2^bits, D]`.
    pub fn table_shape(&self, shape: [usize; 2]) -> [usize; 3] {
        [self.tables(shape), self.code_bits.entries(), self.weights_per_code]
    }

    /// A coded tensor of `out` rows can be cut at multiples of this number of rows.
    pub(in crate::quantize) fn slice_unit(&self, out: usize) -> usize {
        self.group.map_or(self.weights_per_code, |_| self.table_rows(out))
    }

    /// The same vectors with the group size that a tensor of `out` rows actually gets.
    pub(in crate::quantize) fn resolved(self, out: usize) -> Self {
        let rows = self.group.and(NonZeroUsize::new(self.table_rows(out)));
        Vector { group: rows, ..self }
    }

    /// The exact stored size of codes, tables and scales.
    pub(in crate::quantize) fn size_bytes(&self, shape: [usize; 2]) -> usize {
        let [out, inputs] = shape;
        let codes = (out / self.weights_per_code).saturating_mul(inputs);
        let table_len = self.code_bits.entries() * self.weights_per_code;
        packed_size_bytes(codes, self.code_bits.get())
            .saturating_add(self.tables(shape).saturating_mul(table_len * 2))
            .saturating_add(out.saturating_mul(2))
    }

    /// Fails (input) if vectors do not divide the rows.
    pub(in crate::quantize) fn check_rows(&self, out: usize) -> Result<()> {
        if out.is_multiple_of(self.weights_per_code) {
            return Ok(());
        }
        let divides = |form: &&(u8, usize)| form.0 == self.bits && out.is_multiple_of(form.1);
        let fitting: Vec<_> = FORMS.iter().filter(divides).map(|(_, d)| format!("-d{d}")).collect();
        let hint = if fitting.is_empty() {
            format!("use palette{}-g16-s for this part", self.bits)
        } else {
            format!("at {} bits, these vectors fit: {}", self.bits, fitting.join(", "))
        };
        let length = self.weights_per_code;
        Err(Error::input(format!(
            "{self} puts {length} output channels into one vector, but {out} is not a multiple of {length}"
        ))
            .hint(hint))
    }
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.group.map(|rows| format!("-g{rows}")).unwrap_or_default();
        f.pad(&format!("vector{}-d{}{group}", self.bits, self.weights_per_code))
    }
}

/// The form with the nearest bits per weight and, among those, the nearest length.
fn nearest(bits: u8, weights_per_code: usize) -> String {
    let distance = |(b, d): &(u8, usize)| (b.abs_diff(bits), d.abs_diff(weights_per_code));
    let (bits, length) = FORMS.into_iter().min_by_key(distance).unwrap_or(FORMS[0]);
    format!("vector{bits}-d{length}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::Recipe;
    use crate::units::Bytes;

    fn parse(text: &str) -> Result<Recipe> {
        text.parse()
    }

    #[test]
    fn every_form_fills_an_index_type_and_no_other_is_accepted() {
        for bits in 0..=10 {
            for length in 2..=40 {
                let code = usize::from(bits) * length;
                let exists = code > 0 && code <= 8 && IndexBits::ALL.contains(&(code as u8));
                assert_eq!(Vector::new(bits, length, None).is_ok(), exists, "{bits} {length}");
            }
        }
    }

    #[test]
    fn what_does_not_exist_is_refused_with_the_nearest_that_does() {
        let refusal = |text: &str| parse(text).unwrap_err().to_string();
        assert!(refusal("vector2-d5").contains("codes of 10 bits"), "{}", refusal("vector2-d5"));
        assert!(refusal("vector2-d5").contains("the nearest is vector2-d4"));
        assert!(refusal("vector8-d2").contains("the nearest is vector4-d2"));
        assert!(refusal("vector2-d1").contains("is a palette"));
        assert!(refusal("vector2").contains("-dN"));
        assert!(refusal("vector2-d4-g2").contains("at least the 4 rows"));
        assert!(refusal("vector2-d4-s").contains("unknown option `-s`"));
        assert!(refusal("vector02-d4").contains("bits"));
    }

    #[test]
    fn groups_are_the_largest_whole_vectors_that_divide_the_rows() {
        let vector = Vector::new(2, 4, NonZeroUsize::new(18)).unwrap();
        assert_eq!(vector.table_rows(64), 16);
        assert_eq!(vector.table_rows(24), 12);
        assert_eq!(vector.table_rows(28), 4);
        let recipe = parse("vector2-d4-g18").unwrap().resolved([24, 8]);
        assert_eq!(recipe.to_string(), "vector2-d4-g12");
        assert_eq!(recipe.resolved([24, 8]), recipe);
        assert_eq!((recipe.row_unit([24, 8]), recipe.border_unit([24, 8])), (Some(12), Some(12)));
        assert_eq!(parse("vector2-d4").unwrap().row_unit([24, 8]), None);
    }

    #[test]
    fn sizes_count_codes_tables_and_scales() {
        let size = |text: &str, shape| parse(text).unwrap().stored_size(shape);
        assert_eq!(size("vector2-d4", [32, 64]), Some(Bytes(512 + 256 * 4 * 2 + 64)));
        assert_eq!(size("vector1-d4-g8", [32, 64]), Some(Bytes(256 + 4 * 16 * 4 * 2 + 64)));
    }

    #[test]
    fn rows_that_vectors_do_not_divide_are_refused_with_the_lengths_that_do() {
        let refusal = |text: &str, out| {
            let error = parse(text).unwrap().check_shape([out, 8]).unwrap_err();
            error.to_string()
        };
        let text = refusal("vector2-d4", 18);
        assert!(
            text.contains("4 output channels into one vector, but 18 is not a multiple of 4"),
            "{text}"
        );
        assert!(text.contains("at 2 bits, these vectors fit: -d2, -d3"), "{text}");
        assert!(refusal("vector3-d2", 7).contains("palette3-g16-s"));
        assert!(parse("vector2-d4").unwrap().check_shape([16, 8]).is_ok());
    }
}
