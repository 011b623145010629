//! Computations on shapes that several operators share.

use super::value::Value;

/// The shape that both broadcast to, aligned at the last axis; `None` if they do not fit.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |own| shape[own])
    };
    let fit = |axis| match (at(a, axis), at(b, axis)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    };
    (0..rank).map(fit).collect()
}

/// `axis` counted from the front; a negative axis counts from the end. `None` if it does not exist.
pub(super) fn axis_of(axis: isize, rank: usize) -> Option<usize> {
    let from_front = if axis < 0 { axis.checked_add_unsigned(rank)? } else { axis };
    usize::try_from(from_front).ok().filter(|axis| *axis < rank)
}

/// The axes counted from the front and sorted; `None` if one does not exist or is named twice.
pub(super) fn axes_of(axes: &[isize], rank: usize) -> Option<Vec<usize>> {
    let mut own: Vec<usize> =
        axes.iter().map(|axis| axis_of(*axis, rank)).collect::<Option<_>>()?;
    own.sort_unstable();
    own.windows(2).all(|pair| pair[0] < pair[1]).then_some(own)
}

/// `shape` with the length of one axis replaced.
pub(super) fn with_axis(value: &Value, axis: usize, len: usize) -> Vec<usize> {
    let mut shape = value.shape().to_vec();
    shape[axis] = len;
    shape
}

/// Lengths as int32, the type that programs use.
pub(super) fn ints(lengths: &[usize]) -> Vec<i32> {
    lengths.iter().map(|len| i32::try_from(*len).unwrap_or(i32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_from_the_last_axis() {
        assert_eq!(broadcast(&[4, 1, 3], &[2, 1]), Some(vec![4, 2, 3]));
        assert_eq!(broadcast(&[], &[5]), Some(vec![5]));
        assert_eq!(broadcast(&[2], &[3]), None);
    }

    #[test]
    fn axes_count_from_either_end_and_appear_once() {
        assert_eq!((axis_of(-1, 3), axis_of(3, 3), axis_of(-4, 3)), (Some(2), None, None));
        assert_eq!(axes_of(&[-1, 0], 3), Some(vec![0, 2]));
        assert_eq!(axes_of(&[2, -1], 3), None);
    }
}
