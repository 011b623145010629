//! Blocks of a tensor that share one table or scale, walked in the order of the elements.

use crate::error::{Error, Result};

/// A row-major tensor cut into equal blocks on any axes. Axes that are whole within every block
/// are joined with the one before, so that blocks are long runs wherever they can be.
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
    /// `shape` cut into `cells[a]` blocks on axis `a`. Fails (input) where that does not divide.
    pub fn new(shape: &[usize], cells: &[usize]) -> Result<Self> {
        let divides = |(len, cells): (&usize, &usize)| *cells > 0 && len.is_multiple_of(*cells);
        if shape.len() != cells.len() || !shape.iter().zip(cells).all(divides) {
            return Err(Error::input(format!(
                "expected groups that divide {shape:?}, found {cells:?}"
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

    /// The block of the element at `position`.
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

    /// How many rows of `row` elements make up a block, where blocks are whole rows.
    pub fn rows_per_block(&self, row: usize) -> Option<usize> {
        let block = match self.axes.as_slice() {
            [axis] => axis.len / axis.cells,
            _ => return None,
        };
        (row > 0 && block > 0 && block.is_multiple_of(row)).then(|| block / row)
    }

    /// Calls `run(cell, range)` for each stretch of one block among the `len` elements from
    /// `start` on; `range` counts from `start`.
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
    fn runs_are_the_blocks_of_every_element() {
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

    /// The block by its definition, axis by axis.
    fn cell(shape: &[usize], cells: &[usize], position: usize) -> usize {
        let mut inner: usize = shape.iter().product();
        shape.iter().zip(cells).fold(0, |cell, (len, count)| {
            inner /= len;
            cell * count + position / inner % len / (len / count)
        })
    }
}
