//! Blocks of a tensor whose elements share one table or scale, visited in the order of the
//! elements.

use crate::error::{Error, Result};

/// A row-major tensor cut into equal blocks along any axes. An axis that is not cut is merged with
/// the one before it, so that the elements of a block form runs that are as long as possible.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    axes: Vec<Axis>,
}

#[derive(Debug, Clone, Copy)]
struct Axis {
    len: usize,
    cells: usize,
}

impl Grid {
    /// `shape` cut into `cells[a]` blocks along axis `a`. Returns an input error if a length is not
    /// divisible by its number of blocks.
    pub fn new(shape: &[usize], cells: &[usize]) -> Result<Self> {
        let divides = |(len, cells): (&usize, &usize)| *cells > 0 && len.is_multiple_of(*cells);
        if shape.len() != cells.len() || !shape.iter().zip(cells).all(divides) {
            return Err(Error::input(format!(
                "expected numbers of groups that divide {shape:?}, found {cells:?}"
            )));
        }
        let mut axes: Vec<Axis> = Vec::new();
        for (len, cells) in shape.iter().zip(cells) {
            match axes.last_mut() {
                Some(last) if *cells == 1 => last.len *= len,
                _ => axes.push(Axis { len: *len, cells: *cells }),
            }
        }
        Ok(Grid { axes })
    }

    /// The index of the block that holds the element at `position`.
    pub fn cell(&self, position: usize) -> usize {
        let (mut rest, mut cell, mut stride) = (position, 0, 1);
        for axis in self.axes.iter().rev() {
            let at = rest % axis.len;
            rest /= axis.len;
            cell += at / (axis.len / axis.cells) * stride;
            stride *= axis.cells;
        }
        cell
    }

    /// The number of rows of `row` elements in a block; `None` if blocks are not whole rows.
    pub fn rows_per_block(&self, row: usize) -> Option<usize> {
        let block = match self.axes.as_slice() {
            [axis] => axis.len / axis.cells,
            _ => return None,
        };
        (row > 0 && block > 0 && block.is_multiple_of(row)).then(|| block / row)
    }

    /// Splits the `len` elements from `start` on into runs that lie in one block, and calls
    /// `run(cell, range)` for each. `range` is relative to `start`.
    #[inline(always)]
    pub fn runs(
        &self,
        start: usize,
        len: usize,
        mut run: impl FnMut(usize, std::ops::Range<usize>),
    ) {
        let (row, cells) = self.axes.last().map_or((1, 1), |axis| (axis.len, axis.cells));
        let block = row / cells;
        let mut done = 0;
        while done < len {
            let at = start + done;
            let mut cell = self.cell(at);
            let row_end = len.min(done + row - at % row);
            let mut end = done + block - at % block;
            while done < row_end {
                run(cell, done..end.min(row_end));
                (done, end, cell) = (end.min(row_end), end + block, cell + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_in_a_run_of_its_block() {
        let shapes: [(&[usize], &[usize]); 6] = [
            (&[6, 4], &[3, 1]),
            (&[6, 4], &[6, 2]),
            (&[6, 4, 1, 1], &[2, 2, 1, 1]),
            (&[2, 3, 4], &[1, 3, 1]),
            (&[5], &[1]),
            (&[], &[]),
        ];
        for (shape, cells) in shapes {
            let grid = Grid::new(shape, cells).unwrap();
            let all: usize = shape.iter().product();
            for start in 0..all {
                let len = all - start;
                let mut seen = Vec::new();
                grid.runs(start, len, |cell, range| seen.extend(range.map(|i| (i, cell))));
                let expected: Vec<_> =
                    (0..len).map(|i| (i, cell(shape, cells, start + i))).collect();
                assert_eq!(seen, expected, "{shape:?} {cells:?}");
            }
        }
        assert!(Grid::new(&[4], &[3]).is_err() && Grid::new(&[4], &[0]).is_err());
    }

    /// The index of the block by its definition, axis by axis.
    fn cell(shape: &[usize], cells: &[usize], position: usize) -> usize {
        let mut inner: usize = shape.iter().product();
        shape.iter().zip(cells).fold(0, |cell, (len, count)| {
            inner /= len;
            cell * count + position / inner % len / (len / count)
        })
    }
}
