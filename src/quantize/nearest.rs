//! The nearest of up to 256 candidates, several at a time.
//!
//! `|x - t|² / 2 = |x|² / 2 - x·t + |t|² / 2`, so with `|t|² / 2` computed once, a candidate costs
//! one multiply-add per component. Each candidate has a lane of its own, which vectorises.

/// Candidates that are compared at a time.
const LANES: usize = 16;

/// The components of `LANES` candidates.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Tile<const D: usize> {
    negated: [[f32; LANES]; D],
    /// Infinite in lanes without a candidate.
    half_squares: [f32; LANES],
}

/// Vectors of `D` components, among which [`nearest`](Candidates::nearest) chooses.
#[derive(Debug, Clone, Default)]
pub(super) struct Candidates<const D: usize> {
    tiles: Vec<Tile<D>>,
}

impl<const D: usize> Candidates<D> {
    /// Replaces the candidates by `entries`, with each component times its factor.
    #[inline(always)]
    pub(super) fn refill(&mut self, entries: &[[f32; D]], factors: &[f32; D]) {
        self.tiles.clear();
        self.tiles.extend(entries.chunks(LANES).map(|chunk| {
            let mut tile =
                Tile { negated: [[0.0; LANES]; D], half_squares: [f32::INFINITY; LANES] };
            for (lane, entry) in chunk.iter().enumerate() {
                let mut square = 0.0;
                for d in 0..D {
                    let component = entry[d] * factors[d];
                    tile.negated[d][lane] = -component;
                    square += component * component;
                }
                tile.half_squares[lane] = square / 2.0;
            }
            tile
        }));
    }

    /// Writes the codes `[inputs]` of the candidates nearest to the columns of `rows`
    /// `[D, inputs]`.
    pub(super) fn assign(&self, rows: &[f32], codes: &mut [u8]) {
        pulp::Arch::new().dispatch(AssignRows { candidates: self, rows, codes });
    }

    /// The index of the candidate nearest to `point`, the lowest on a tie.
    #[inline(always)]
    pub(super) fn nearest(&self, point: &[f32; D]) -> usize {
        let mut best = [f32::INFINITY; LANES];
        let mut best_tile = [0u32; LANES];
        for (at, tile) in (0u32..).zip(&self.tiles) {
            let mut score = tile.half_squares;
            for (component, negated) in point.iter().zip(&tile.negated) {
                for (score, negated) in score.iter_mut().zip(negated) {
                    *score = component.mul_add(*negated, *score);
                }
            }
            for lane in 0..LANES {
                let better = score[lane] < best[lane];
                best[lane] = if better { score[lane] } else { best[lane] };
                best_tile[lane] = if better { at } else { best_tile[lane] };
            }
        }
        let least = halved(best);
        let mut index = u32::MAX;
        for lane in 0..LANES {
            let own = best_tile[lane] * LANES as u32 + lane as u32;
            index = index.min(if best[lane] == least { own } else { u32::MAX });
        }
        // No lane has the least score if all scores are NaN.
        if index == u32::MAX { 0 } else { index as usize }
    }
}

/// [`Candidates::assign`] for pulp.
struct AssignRows<'a, const D: usize> {
    candidates: &'a Candidates<D>,
    rows: &'a [f32],
    codes: &'a mut [u8],
}

impl<const D: usize> pulp::NullaryFnOnce for AssignRows<'_, D> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let inputs = self.codes.len();
        for (column, code) in self.codes.iter_mut().enumerate() {
            let point = std::array::from_fn(|d| self.rows[d * inputs + column]);
            *code = self.candidates.nearest(&point) as u8;
        }
    }
}

/// The least of the lanes, found by halving.
#[inline(always)]
fn halved(mut values: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            let other = values[lane + width];
            values[lane] = if other < values[lane] { other } else { values[lane] };
        }
        width /= 2;
    }
    values[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_nearest_is_that_of_a_plain_search(
            entries in prop::collection::vec(prop::array::uniform3(-4i8..4), 1..70),
            factors in prop::array::uniform3(1i8..3),
            point in prop::array::uniform3(-6i8..6),
        ) {
            // Whole numbers: both ways of summing are exact, ties included.
            let entries: Vec<[f32; 3]> = entries.iter().map(|e| e.map(f32::from)).collect();
            let (factors, point) = (factors.map(f32::from), point.map(f32::from));
            let mut candidates = Candidates::default();
            candidates.refill(&entries, &factors);
            let distance = |entry: &[f32; 3]| -> f32 {
                (0..3).map(|d| (entry[d] * factors[d] - point[d]).powi(2)).sum()
            };
            let least = entries.iter().map(distance).fold(f32::INFINITY, f32::min);
            let first = entries.iter().position(|entry| distance(entry) == least).unwrap();
            prop_assert_eq!(candidates.nearest(&point), first);
        }
    }
}
