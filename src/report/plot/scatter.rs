//! Labelled points in a plane, with their Pareto front.

use std::fmt::Write;

use super::labels::{Mark, place};
use super::scale::AxisScale;
use super::{FRAME, horizontal_axis, open, ticks, vertical_axis};
use crate::escape::html as escape;
use crate::report::figure::on_front;
use crate::report::{Axis, Front, Point};

pub(super) fn draw(
    title: &str,
    x: &Axis,
    y: &Axis,
    points: &[Point],
    front: Option<Front>,
) -> Option<String> {
    let is_shown = |p: &&Point| p.x > 0.0 && p.y.point.is_finite() && p.y.point > 0.0;
    let points: Vec<Point> = points.iter().filter(is_shown).cloned().collect();
    let ends = |p: &Point| {
        let interval = p.y.interval;
        [p.y.point, interval.map_or(p.y.point, |i| i.low), interval.map_or(p.y.point, |i| i.high)]
    };
    let horizontal = AxisScale::logarithmic(points.iter().map(|p| p.x), FRAME.left, FRAME.right)?;
    let heights = points.iter().flat_map(ends);
    let vertical = AxisScale::logarithmic(heights, FRAME.bottom, FRAME.top)?;
    let mut svg = open(title, super::HEIGHT);
    horizontal_axis(&mut svg, &horizontal, x, ", logarithmic");
    vertical_axis(&mut svg, &ticks(&vertical, y.unit), y, ", logarithmic");
    let at = |p: &Point| (horizontal.at(p.x), vertical.at(p.y.point));
    if let Some(front) = front {
        let is_on = on_front(&points, front);
        let mut corners: Vec<(f64, f64)> =
            points.iter().zip(is_on).filter(|(_, is_on)| *is_on).map(|(p, _)| at(p)).collect();
        corners.sort_by(|a, b| a.0.total_cmp(&b.0));
        if corners.len() > 1 {
            svg.push_str("<path class=\"front\" d=\"");
            for (at, (x, y)) in corners.iter().enumerate() {
                let _ = write!(svg, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
            }
            svg.push_str("\"/>");
        }
    }
    let marks: Vec<Mark<'_>> =
        points.iter().map(|p| Mark { x: at(p).0, y: at(p).1, label: &p.label }).collect();
    for (point, Mark { x, y, .. }) in points.iter().zip(&marks) {
        if let Some(interval) = point.y.interval.filter(|i| i.low > 0.0) {
            let (low, high) = (vertical.at(interval.low), vertical.at(interval.high));
            let _ = write!(svg, "<path class=\"interval\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>");
        }
        let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
    }
    for (place, Mark { x, y, label }) in place(&marks, FRAME).iter().zip(&marks) {
        if let Some((to_x, to_y)) = place.leader {
            let _ =
                write!(svg, "<path class=\"leader\" d=\"M{x:.1} {y:.1}L{to_x:.1} {to_y:.1}\"/>");
        }
        let _ = write!(
            svg,
            "<text class=\"halo\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            place.x,
            place.y,
            escape(label)
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}
