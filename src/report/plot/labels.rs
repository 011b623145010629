//! Places for the labels of points, where they cover neither each other nor a point.
//!
//! Each label takes the first free place around its point, nearest first. A label that is further away is
//! connected to its point by a line.

use unicode_width::UnicodeWidthStr;

/// Width of a letter and height of a line in units of the drawing, slightly overestimated.
const LETTER: f64 = 6.9;
const LINE: f64 = 14.0;

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Area {
    fn overlap(&self, other: &Area) -> f64 {
        let across = self.right.min(other.right) - self.left.max(other.left);
        let down = self.bottom.min(other.bottom) - self.top.max(other.top);
        if across > 0.0 && down > 0.0 { across * down } else { 0.0 }
    }

    fn holds(&self, other: &Area) -> bool {
        self.left <= other.left
            && self.right >= other.right
            && self.top <= other.top
            && self.bottom >= other.bottom
    }
}

/// A point with a label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mark<'a> {
    pub x: f64,
    pub y: f64,
    pub label: &'a str,
}

/// A label's place: the left end of its baseline, and the end of the line from its point if it is far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LabelPlace {
    pub x: f64,
    pub y: f64,
    pub area: Area,
    pub leader: Option<(f64, f64)>,
}

/// The width of a text.
pub(super) fn width(text: &str) -> f64 {
    text.width() as f64 * LETTER
}

/// A place for the label of each point, within `frame`.
pub(super) fn place(points: &[Mark<'_>], frame: Area) -> Vec<LabelPlace> {
    let around = |&Mark { x, y, .. }: &Mark<'_>| Area {
        left: x - 6.0,
        right: x + 6.0,
        top: y - 6.0,
        bottom: y + 6.0,
    };
    let marks: Vec<Area> = points.iter().map(around).collect();
    let mut placed: Vec<LabelPlace> = Vec::new();
    for Mark { x, y, label } in points {
        let wide = width(label);
        let cost = |place: &LabelPlace| {
            let taken = marks.iter().chain(placed.iter().map(|p| &p.area));
            let covered: f64 = taken.map(|area| area.overlap(&place.area)).sum();
            if frame.holds(&place.area) { covered } else { covered + 1e6 }
        };
        let mut best: Option<(f64, LabelPlace)> = None;
        for place in candidates(*x, *y, wide) {
            let cost = cost(&place);
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, place));
            }
            if cost == 0.0 {
                break;
            }
        }
        placed.extend(best.map(|(_, place)| place));
    }
    placed
}

/// Places to the right and left, above and below, then at growing distances.
fn candidates(x: f64, y: f64, wide: f64) -> impl Iterator<Item = LabelPlace> {
    let rings = [0.0, 16.0, 32.0, 48.0, 64.0, 84.0, 108.0];
    let sides = [(1.0, -0.3), (-1.0, -0.3), (1.0, 0.7), (-1.0, 0.7), (0.0, -1.0), (0.0, 1.0)];
    rings.into_iter().flat_map(move |ring| {
        sides.into_iter().map(move |(across, down): (f64, f64)| {
            let left = match across {
                a if a > 0.0 => x + 8.0 + ring * 0.6,
                a if a < 0.0 => x - 8.0 - ring * 0.6 - wide,
                _ => x - wide / 2.0,
            };
            let middle = y + down * (14.0 + ring);
            let area = Area {
                left,
                right: left + wide,
                top: middle - LINE / 2.0,
                bottom: middle + LINE / 2.0,
            };
            let end = x.clamp(area.left, area.right);
            // A label below and to one side may be nearer to another point than to its own.
            let is_apart = ring > 0.0 || down == 0.7;
            let leader = is_apart.then_some((end, middle.clamp(area.top, area.bottom)));
            LabelPlace { x: left, y: middle + 4.0, area, leader }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_near_points_cover_neither_each_other_nor_points() {
        let names = ["palette4-g16-s", "palette3-g16-s", "int4-b32", "int8", "palette6-g16-s"];
        let frame = Area { left: 60.0, right: 470.0, top: 10.0, bottom: 290.0 };
        for spread in [0.0, 3.0, 9.0, 30.0] {
            let at = |i: usize| (300.0 + spread * i as f64, 150.0 + spread * (i % 2) as f64);
            let mark = |(i, label): (usize, &&'static str)| Mark { x: at(i).0, y: at(i).1, label };
            let points: Vec<Mark<'_>> = names.iter().enumerate().map(mark).collect();
            let places = place(&points, frame);
            for (i, a) in places.iter().enumerate() {
                assert!(frame.holds(&a.area), "{a:?}");
                for b in &places[i + 1..] {
                    assert_eq!(a.area.overlap(&b.area), 0.0, "{spread}: {a:?} {b:?}");
                }
            }
        }
    }
}
