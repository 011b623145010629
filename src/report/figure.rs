//! Figures. Each can also be shown as a table, for readers who cannot see it.

use super::number::{Detail, text};
use super::{Column, Table, Unit, Value};
use crate::stats::{Estimate, Sample};

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// Points in a plane, both axes logarithmic.
    Scatter {
        /// One line.
        title: String,
        /// The horizontal axis.
        x: Axis,
        /// The vertical axis.
        y: Axis,
        /// What is shown.
        points: Vec<Point>,
        /// The direction in which the horizontal axis is better, if the Pareto front is drawn.
        front: Option<Front>,
    },
    /// Horizontal bars from zero.
    Bars {
        /// One line.
        title: String,
        /// Unit of the values.
        unit: Unit,
        /// From top to bottom.
        bars: Vec<Bar>,
        /// A line that no bar should cross.
        limit: Option<Bound>,
    },
    /// Lines from left to right.
    Lines {
        /// One line.
        title: String,
        /// The horizontal axis, linear.
        x: Axis,
        /// The vertical axis.
        y: Axis,
        /// The scale of the vertical axis.
        rise: Rise,
        /// What is shown.
        series: Vec<Series>,
    },
    /// Distributions, a row each.
    Distributions {
        /// One line.
        title: String,
        /// Unit of the values.
        unit: Unit,
        /// What is shown.
        rows: Vec<Distribution>,
    },
}

/// What an axis shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Its name, without the unit.
    pub name: String,
    /// Unit of the values.
    pub unit: Unit,
}

impl Axis {
    /// An axis.
    pub fn new(name: &str, unit: Unit) -> Axis {
        Axis { name: name.to_owned(), unit }
    }
}

/// A labelled point; the vertical value may have an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What the point stands for.
    pub label: String,
    /// Horizontal value.
    pub x: f64,
    /// Vertical value.
    pub y: Estimate,
}

/// In which direction the horizontal axis is better; vertically, lower is always better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Less is better: sizes.
    Less,
    /// More is better: speeds.
    More,
}

/// The scale of a vertical axis.
#[derive(Debug, Clone, PartialEq)]
pub enum Rise {
    /// Logarithmic.
    Logarithmic,
    /// Named levels; the first is 0.
    Levels(Vec<&'static str>),
}

/// A line of a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the line stands for.
    pub label: String,
    /// x and y, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What the bar stands for.
    pub label: String,
    /// Its length.
    pub value: f64,
    /// Shown after the value; may be empty.
    pub remark: String,
}

/// A bound on bars.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// The distribution of some values.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// What is distributed.
    pub label: String,
    /// The number of values.
    pub n: usize,
    /// 5th, 25th, 50th, 75th and 95th percentile, and the largest value.
    pub at: [f64; 6],
}

impl Distribution {
    /// The distribution of values; `None` if there are fewer than two, or one is not finite.
    pub fn of(label: &str, values: Vec<f64>) -> Option<Distribution> {
        let sample = Sample::new(values).ok()?;
        let at = [0.05, 0.25, 0.5, 0.75, 0.95, 1.0].map(|p| sample.quantile(p));
        Some(Distribution { label: label.to_owned(), n: sample.sorted().len(), at })
    }
}

/// Whether each point is on the Pareto front: no other point is at least as good in both directions and
/// better in one.
pub(super) fn on_front(points: &[Point], front: Front) -> Vec<bool> {
    let towards = |x: f64| if front == Front::More { -x } else { x };
    let beats = |a: &Point, b: &Point| {
        let (ax, bx, ay, by) = (towards(a.x), towards(b.x), a.y.point, b.y.point);
        ax <= bx && ay <= by && (ax < bx || ay < by)
    };
    points.iter().map(|point| !points.iter().any(|other| beats(other, point))).collect()
}

impl Figure {
    /// One line.
    pub fn title(&self) -> &str {
        match self {
            Figure::Scatter { title, .. }
            | Figure::Bars { title, .. }
            | Figure::Lines { title, .. }
            | Figure::Distributions { title, .. } => title,
        }
    }

    /// The numbers that the figure shows.
    pub fn table(&self) -> Table {
        let (columns, rows) = match self {
            Figure::Scatter { x, y, points, front, .. } => scatter(x, y, points, *front),
            Figure::Bars { unit, bars, .. } => {
                let columns = vec![
                    Column::text("label", "label"),
                    Column::number("value", "value", *unit),
                    Column::text("remark", "remark"),
                ];
                let row = |Bar { label, value, remark }: &Bar| {
                    vec![label.as_str().into(), (*value).into(), remark.as_str().into()]
                };
                (columns, bars.iter().map(row).collect())
            }
            Figure::Lines { x, y, rise, series, .. } => lines(x, y, rise, series),
            Figure::Distributions { unit, rows, .. } => {
                let names = ["p5", "p25", "median", "p75", "p95", "largest"];
                let mut columns = vec![Column::text("label", "label")];
                columns.extend(names.map(|name| Column::number(name, name, *unit)));
                columns.push(Column::number("values", "values", Unit::None));
                let row = |row: &Distribution| {
                    let numbers = row.at.iter().map(|&value| Value::from(value));
                    let label = std::iter::once(Value::from(row.label.as_str()));
                    label.chain(numbers).chain([row.n.into()]).collect()
                };
                (columns, rows.iter().map(row).collect())
            }
        };
        let notes = match self {
            Figure::Bars { unit, limit: Some(Bound { name, value }), .. } => {
                vec![format!("{name}: {}", text(&Value::Number(*value), *unit, Detail::Point))]
            }
            _ => Vec::new(),
        };
        Table { title: self.title().to_owned(), columns, rows, notes }
    }
}

/// Columns and rows of a table.
type Body = (Vec<Column>, Vec<Vec<Value>>);

fn scatter(x: &Axis, y: &Axis, points: &[Point], front: Option<Front>) -> Body {
    let mut columns = vec![
        Column::text("label", "label"),
        Column::number(&key(&x.name), &x.name, x.unit),
        Column::estimate(&key(&y.name), &y.name, y.unit),
    ];
    let fronts = front.map(|front| on_front(points, front));
    if fronts.is_some() {
        columns.push(Column::text("front", "on the Pareto front"));
    }
    let row = |(at, point): (usize, &Point)| {
        let mut row = vec![point.label.as_str().into(), point.x.into(), point.y.into()];
        row.extend(fronts.as_ref().map(|f| Value::from(if f[at] { "yes" } else { "no" })));
        row
    };
    let rows = points.iter().enumerate().map(row).collect();
    (columns, rows)
}

fn lines(x: &Axis, y: &Axis, rise: &Rise, series: &[Series]) -> Body {
    let mut columns = vec![
        Column::text("label", "label"),
        Column::number(&key(&x.name), &x.name, x.unit),
        Column::number(&key(&y.name), &y.name, y.unit),
    ];
    let named = |value: f64| match rise {
        Rise::Logarithmic => Value::Number(value),
        Rise::Levels(names) => names.get(value as usize).copied().unwrap_or_default().into(),
    };
    if *rise != Rise::Logarithmic {
        columns[2] = Column::text(&key(&y.name), &y.name);
    }
    let across = |value: f64| match x.unit {
        Unit::None => Value::Count(value as u64),
        _ => Value::Number(value),
    };
    let rows = series.iter().flat_map(|line| {
        let row = |&(x, y): &(f64, f64)| vec![line.label.as_str().into(), across(x), named(y)];
        line.points.iter().map(row).collect::<Vec<_>>()
    });
    (columns, rows.collect())
}

fn key(name: &str) -> String {
    name.to_lowercase().replace([' ', '/'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(x: f64, y: f64) -> Point {
        Point { label: format!("{x}"), x, y: Estimate { point: y, interval: None, n: 1 } }
    }

    #[test]
    fn the_front_is_of_points_that_no_other_beats() {
        let points = [point(1.0, 9.0), point(2.0, 3.0), point(3.0, 4.0), point(4.0, 1.0)];
        assert_eq!(on_front(&points, Front::Less), [true, true, false, true]);
        assert_eq!(on_front(&points, Front::More), [false, false, false, true]);
        assert_eq!(on_front(&[point(1.0, 1.0), point(1.0, 1.0)], Front::Less), [true, true]);
    }

    #[test]
    fn a_distribution_needs_two_values() {
        assert_eq!(Distribution::of("a", vec![1.0]), None);
        assert_eq!(Distribution::of("a", vec![1.0, 3.0]).unwrap().at[2], 2.0);
    }
}
