//! Strided views of row-major tensors. Transposing, slicing, tiling and broadcasting are all reads
//! through such a view.

use crate::error::{Error, Result};

/// Maps the elements of a tensor of some shape to positions in a row-major tensor.
#[derive(Debug, Clone)]
pub(super) struct StridedView {
    offset: isize,
    /// For each axis its length, and the distance between neighbours.
    axes: Vec<(usize, isize)>,
}

impl StridedView {
    /// A view of a whole tensor of `shape`.
    pub fn of(shape: &[usize]) -> Self {
        let mut stride = 1;
        let mut axes: Vec<(usize, isize)> = Vec::with_capacity(shape.len());
        for len in shape.iter().rev() {
            axes.push((*len, stride));
            stride *= *len as isize;
        }
        axes.reverse();
        StridedView { offset: 0, axes }
    }

    /// The shape of the view.
    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|(len, _)| *len).collect()
    }

    /// The view whose axis `i` is axis `order[i]` of this one. The caller makes sure that `order`
    /// is a permutation.
    pub fn transposed(mut self, order: &[usize]) -> Self {
        self.axes = order.iter().map(|axis| self.axes[*axis]).collect();
        self
    }

    /// The view of `len` elements along `axis`, from `start` on in steps of `step`. The caller
    /// makes sure that they exist.
    pub fn sliced(mut self, axis: usize, start: usize, len: usize, step: isize) -> Self {
        let (_, stride) = self.axes[axis];
        self.offset += start as isize * stride;
        self.axes[axis] = (len, stride * step);
        self
    }

    /// The view broadcast to `shape`. Returns an input error if that is impossible.
    pub fn broadcast(mut self, shape: &[usize]) -> Result<Self> {
        let own = self.shape();
        let refuse = || Error::input(format!("{own:?} cannot be broadcast to {shape:?}"));
        let missing = shape.len().checked_sub(self.axes.len()).ok_or_else(refuse)?;
        self.axes.splice(0..0, std::iter::repeat_n((1, 0), missing));
        for (axis, len) in self.axes.iter_mut().zip(shape) {
            match axis.0 {
                own if own == *len => {}
                1 => *axis = (*len, 0),
                _ => return Err(refuse()),
            }
        }
        Ok(self)
    }

    /// The view that repeats each axis `times[axis]` times: `[a, b]` becomes `[times, a, times,
    /// b]`.
    pub fn tiled(mut self, times: &[usize]) -> Self {
        self.axes =
            times.iter().zip(&self.axes).flat_map(|(times, axis)| [(*times, 0), *axis]).collect();
        self
    }

    /// Copies the elements of `data` that the view selects, row-major.
    pub fn copy<T: Copy>(&self, data: &[T]) -> Vec<T> {
        let mut out = Vec::with_capacity(self.axes.iter().map(|(len, _)| len).product());
        self.runs(|start, len, step| match step {
            1 => out.extend_from_slice(&data[start as usize..start as usize + len]),
            0 => out.extend(std::iter::repeat_n(data[start as usize], len)),
            _ => out.extend((0..len as isize).map(|i| data[(start + i * step) as usize])),
        });
        out
    }

    /// Writes `values`, row-major, to the positions in `data` that the view selects.
    pub fn write<T: Copy>(&self, data: &mut [T], values: &[T]) {
        let mut values = values;
        self.runs(|start, len, step| {
            let (now, later) = values.split_at(len.min(values.len()));
            values = later;
            match step {
                1 => data[start as usize..start as usize + now.len()].copy_from_slice(now),
                _ => (0..).zip(now).for_each(|(i, v)| data[(start + i * step) as usize] = *v),
            }
        });
    }

    /// Splits the view into evenly spaced runs and calls `run(start, len, step)` for each, in
    /// order.
    pub fn runs(&self, mut run: impl FnMut(isize, usize, isize)) {
        let axes = self.merged();
        if axes.iter().any(|(len, _)| *len == 0) {
            return;
        }
        let Some((&(len, step), outer)) = axes.split_last() else {
            return run(self.offset, 1, 1);
        };
        let mut at = vec![0; outer.len()];
        let mut start = self.offset;
        loop {
            run(start, len, step);
            let mut axis = outer.len();
            loop {
                let Some(next) = axis.checked_sub(1) else { return };
                axis = next;
                at[axis] += 1;
                start += outer[axis].1;
                if at[axis] < outer[axis].0 {
                    break;
                }
                start -= at[axis] as isize * outer[axis].1;
                at[axis] = 0;
            }
        }
    }

    /// The range of elements that the view selects; `None` if they are not contiguous and in order.
    pub fn contiguous(&self) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(self.offset).ok()?;
        match *self.merged().as_slice() {
            [] => Some(start..start + 1),
            [(len, 1)] => Some(start..start + len),
            _ => None,
        }
    }

    /// The axes without those of length 1, where axes that are contiguous are merged.
    fn merged(&self) -> Vec<(usize, isize)> {
        let mut merged: Vec<(usize, isize)> = Vec::with_capacity(self.axes.len());
        for &(len, stride) in self.axes.iter().filter(|(len, _)| *len != 1) {
            match merged.last_mut() {
                Some(last) if last.1 == stride * len as isize => *last = (last.0 * len, stride),
                _ => merged.push((len, stride)),
            }
        }
        merged
    }
}

/// The shape that both shapes broadcast to. Returns an input error if there is none.
pub(super) fn common_shape(x: &[usize], y: &[usize]) -> Result<Vec<usize>> {
    let rank = x.len().max(y.len());
    let at = |shape: &[usize], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(own) => shape[own],
        None => 1,
    };
    let common = |axis| match (at(x, axis), at(y, axis)) {
        (1, len) | (len, 1) => Some(len),
        (a, b) => (a == b).then_some(a),
    };
    let shape: Option<Vec<usize>> = (0..rank).map(common).collect();
    shape.ok_or_else(|| Error::input(format!("{x:?} and {y:?} cannot be broadcast together")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_select_the_elements_that_numpy_selects() {
        let data: Vec<i32> = (0..24).collect();
        let view = StridedView::of(&[2, 3, 4]);
        assert_eq!(view.copy(&data), data);
        let transposed = view.clone().transposed(&[2, 0, 1]);
        assert_eq!(transposed.shape(), [4, 2, 3]);
        assert_eq!(transposed.copy(&data)[..7], [0, 4, 8, 12, 16, 20, 1]);
        let sliced = view.clone().sliced(1, 2, 2, -2).sliced(2, 1, 2, 2);
        assert_eq!(sliced.copy(&data), [9, 11, 1, 3, 21, 23, 13, 15]);
        assert_eq!((sliced.contiguous(), view.contiguous()), (None, Some(0..24)));
        assert_eq!(view.clone().sliced(0, 1, 1, 1).sliced(1, 1, 2, 1).contiguous(), Some(16..24));
        let mut zeros = vec![0; 24];
        sliced.write(&mut zeros, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((zeros[9], zeros[11], zeros[1], zeros[15]), (1, 2, 3, 8));
        let column = StridedView::of(&[2, 1]).broadcast(&[2, 2, 3]).unwrap();
        assert_eq!(column.copy(&[7, 8]), [7, 7, 7, 8, 8, 8, 7, 7, 7, 8, 8, 8]);
        assert_eq!(StridedView::of(&[2]).tiled(&[3]).copy(&[1, 2]), [1, 2, 1, 2, 1, 2]);
        assert_eq!(StridedView::of(&[]).copy(&[5]), [5]);
        assert_eq!(common_shape(&[3, 1], &[2, 1, 4]).unwrap(), [2, 3, 4]);
        assert!(common_shape(&[3], &[2]).is_err());
    }
}
