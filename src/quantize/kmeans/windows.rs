//! Exact clustering by dynamic programming inside windows that are proven to contain the optimum.
//!
//! It works from coarse to fine. A cell is `step` neighbouring positions. The cost of a cluster
//! whose boundaries are in two cells counts only the values between these cells, which belong to it
//! wherever in the cells the boundaries are. So the cost of a path over cells is a lower bound for
//! every clustering through them. If the bound of all paths through a cell exceeds the cost of a
//! clustering already found, the boundary cannot be in that cell. The remaining cells are refined,
//! until a cell is a position and the bound is the cost itself. Such reduced costs keep the
//! quadrangle inequality (Grønlund et al. 2017), so every layer is solved by divide and conquer
//! over monotone minima.
//!
//! Memory: one cost and one parent for each boundary and each cell of its window, at most
//! `clusters * values * 12` bytes on the last level, and usually a few per cent of that.

use std::ops::Range;

use super::points::Points;

/// Each level splits the surviving cells into this many.
const REFINEMENT: usize = 4;
/// Cells per cluster on the first level.
const FIRST_CELLS_PER_CLUSTER: usize = 8;
/// Rounds of Lloyd's iteration to improve the upper bound.
const POLISH_ROUNDS: usize = 40;
/// Margin when bounds are compared, as a share of the total sum of squares, or of the bound if points
/// are wide: far above f64 rounding and far below any real difference.
const ROUNDING_MARGIN: f64 = 1e-13;

/// Memory reused between calls.
#[derive(Debug, Default)]
pub(super) struct WindowScratch {
    near: Prefix,
    far: Prefix,
    forward: Vec<Layer>,
    backward: Vec<Layer>,
}

/// Prefix sums at one edge of every cell.
#[derive(Debug, Default)]
struct Prefix {
    position: Vec<usize>,
    weight: Vec<f64>,
    sum: Vec<f64>,
    square: Vec<f64>,
}

/// Costs and parents of one boundary over the cells of its window.
#[derive(Debug, Default, Clone)]
struct Layer {
    window: Range<usize>,
    cost: Vec<f64>,
    parent: Vec<u32>,
}

impl Layer {
    fn reset(&mut self, window: Range<usize>) {
        self.cost.clear();
        self.cost.resize(window.len(), f64::INFINITY);
        self.parent.clear();
        self.parent.resize(window.len(), window.start as u32);
        self.window = window;
    }
}

impl Prefix {
    fn fill(&mut self, points: &Points, positions: impl Iterator<Item = usize> + Clone) {
        let fill = |to: &mut Vec<f64>, from: &[f64]| {
            to.clear();
            to.extend(positions.clone().map(|position| from[position]));
        };
        self.position.clear();
        self.position.extend(positions.clone());
        fill(&mut self.weight, &points.weight);
        fill(&mut self.sum, &points.sum);
        fill(&mut self.square, &points.square);
    }
}

/// The optimal boundaries, for more values than clusters and at least two clusters.
pub(super) fn boundaries(
    points: &Points,
    clusters: usize,
    scratch: &mut WindowScratch,
) -> Vec<usize> {
    let len = points.len();
    let inner = clusters - 1;
    let mut step = 1;
    while len / (step * REFINEMENT) >= clusters * FIRST_CELLS_PER_CLUSTER {
        step *= REFINEMENT;
    }
    scratch.forward.resize(inner, Layer::default());
    scratch.backward.resize(inner, Layer::default());
    let mut windows: Vec<Range<usize>> = vec![0..(len - 1) / step + 1; inner];
    let mut upper = f64::INFINITY;
    loop {
        let path = forward(points, step, &windows, scratch);
        if step == 1 {
            return path;
        }
        upper = upper.min(polished_cost(points, path));
        backward(points, step, &windows, scratch);
        let margin = points.margin(ROUNDING_MARGIN, upper);
        for (m, window) in windows.iter_mut().enumerate() {
            let cells = scratch.forward[m].cost.iter().zip(&scratch.backward[m].cost);
            let keep = |(f, b): (&f64, &f64)| f + b <= upper + margin;
            let first = cells.clone().position(keep).unwrap_or(0);
            let last = cells.clone().rposition(keep).unwrap_or(window.len() - 1);
            let (first, last) = (window.start + first, window.start + last);
            let end = ((last + 1) * step).min(len);
            step_window(window, first * step, end, step / REFINEMENT);
        }
        step /= REFINEMENT;
    }
}

fn step_window(window: &mut Range<usize>, first: usize, end: usize, step: usize) {
    *window = first / step..(end - 1) / step + 1;
}

/// Lower bounds from the left. Returns the positions of the best path, including the outer two.
fn forward(
    points: &Points,
    step: usize,
    windows: &[Range<usize>],
    scratch: &mut WindowScratch,
) -> Vec<usize> {
    let len = points.len();
    let cells = (len - 1) / step + 1;
    scratch.near.fill(points, (0..cells).map(|cell| cell * step));
    scratch.far.fill(points, (0..cells).map(|cell| (cell * step + step - 1).min(len - 1)));
    let WindowScratch { near, far, forward, .. } = scratch;
    let far_edge = |cell: usize| (cell * step + step - 1).min(len - 1);
    for (m, window) in windows.iter().enumerate() {
        let (before, layer) = forward.split_at_mut(m);
        let layer = &mut layer[0];
        layer.reset(window.clone());
        let Some(before) = before.last() else {
            for (cost, cell) in layer.cost.iter_mut().zip(window.clone()) {
                if cell * step > 0 {
                    *cost = points.cost(0, cell * step);
                } else if step > 1 {
                    *cost = 0.0;
                }
            }
            continue;
        };
        let (rows, columns) = (&*near, &*far);
        let pass = Pass { points, rows, columns, from: before, sign: 1.0, same_cell: step > 1 };
        let first = window.start.max(before.window.start + usize::from(step == 1));
        pass.solve(layer, first..window.end, before.window.clone());
    }
    let last = &forward[windows.len() - 1];
    let ends = last.window.clone().zip(&last.cost);
    let whole = |cell: usize| match far_edge(cell) {
        edge if edge < len => points.cost(edge, len),
        _ => 0.0,
    };
    let ends = ends.map(|(cell, cost)| (cost + whole(cell), cell));
    let best =
        ends.fold(
            (f64::INFINITY, last.window.start),
            |best, end| {
                if end.0 < best.0 { end } else { best }
            },
        );
    let mut cell = best.1;
    let mut path = vec![len];
    for layer in forward.iter().rev() {
        path.push(cell * step + step / 2);
        cell = layer.parent[cell - layer.window.start] as usize;
    }
    path.push(0);
    path.reverse();
    path
}

/// Lower bounds from the right, on the edges that [`forward`] has filled.
fn backward(points: &Points, step: usize, windows: &[Range<usize>], scratch: &mut WindowScratch) {
    let len = points.len();
    let WindowScratch { near, far, backward, .. } = scratch;
    for (m, window) in windows.iter().enumerate().rev() {
        let (layer, after) = backward.split_at_mut(m + 1);
        let layer = &mut layer[m];
        layer.reset(window.clone());
        let Some(after) = after.first() else {
            for (cost, cell) in layer.cost.iter_mut().zip(window.clone()) {
                *cost = points.cost((cell * step + step - 1).min(len - 1), len);
            }
            continue;
        };
        let (rows, columns) = (&*far, &*near);
        let pass = Pass { points, rows, columns, from: after, sign: -1.0, same_cell: true };
        pass.solve(layer, window.start..window.end.min(after.window.end), after.window.clone());
    }
}

/// One layer: for every row the least cost in `from` plus that of the cluster in between.
struct Pass<'a> {
    points: &'a Points,
    rows: &'a Prefix,
    columns: &'a Prefix,
    from: &'a Layer,
    /// 1 if columns are left of rows, -1 if they are right of them.
    sign: f64,
    /// Whether row and column may be the same cell, with an empty cluster in between.
    same_cell: bool,
}

impl Pass<'_> {
    /// Divide and conquer: the column of the middle row's minimum bounds those of all other rows.
    fn solve(&self, layer: &mut Layer, rows: Range<usize>, columns: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        let row = rows.start + rows.len() / 2;
        let (cost, column) = self.least(row, columns.clone());
        layer.cost[row - layer.window.start] = cost;
        layer.parent[row - layer.window.start] = column as u32;
        self.solve(layer, rows.start..row, columns.start..column + 1);
        self.solve(layer, row + 1..rows.end, column..columns.end);
    }

    /// The cost of the cluster between a row and a column that are not the same cell.
    fn cost_between(&self, row: usize, column: usize) -> f64 {
        let (row, column) = (self.rows.position[row], self.columns.position[column]);
        self.points.cost(row.min(column), row.max(column))
    }

    fn least(&self, row: usize, columns: Range<usize>) -> (f64, usize) {
        let offset = self.from.window.start;
        let apart = if self.sign > 0.0 {
            columns.start..columns.end.min(row)
        } else {
            columns.start.max(row + 1)..columns.end
        };
        let mut best = (f64::INFINITY, columns.start);
        if self.points.is_wide() {
            for column in apart {
                let cost = self.from.cost[column - offset] + self.cost_between(row, column);
                if cost < best.0 {
                    best = (cost, column);
                }
            }
        } else if !apart.is_empty() {
            let from = &self.from.cost[apart.start - offset..apart.end - offset];
            let weight = &self.columns.weight[apart.clone()];
            let sum = &self.columns.sum[apart.clone()];
            let square = &self.columns.square[apart.clone()];
            let (w, s, q) = (self.rows.weight[row], self.rows.sum[row], self.rows.square[row]);
            for i in 0..from.len() {
                let sum = s - sum[i];
                let cost = from[i] + self.sign * (q - square[i] - sum * sum / (w - weight[i]));
                if cost < best.0 {
                    best = (cost, apart.start + i);
                }
            }
        }
        if self.same_cell && columns.contains(&row) {
            let cost = self.from.cost[row - offset];
            if cost < best.0 || (cost == best.0 && row < best.1) {
                best = (cost, row);
            }
        }
        best
    }
}

/// The least cost that Lloyd's iteration reaches from a path before it ends or loses a cluster.
fn polished_cost(points: &Points, mut path: Vec<usize>) -> f64 {
    let len = points.len();
    let clusters = path.len() - 1;
    for i in 1..clusters {
        path[i] = path[i].max(path[i - 1] + 1).min(len - (clusters - i));
    }
    let mut best = points.total_cost(&path);
    for _ in 0..POLISH_ROUNDS {
        let before = path.clone();
        let means: Vec<f64> = path.windows(2).map(|pair| points.mean(pair[0], pair[1])).collect();
        for i in 1..clusters {
            let middle = (means[i - 1] + means[i]) / 2.0;
            path[i] = points.values.partition_point(|value| f64::from(*value) <= middle);
        }
        if path == before || path.windows(2).any(|pair| pair[0] >= pair[1]) {
            break;
        }
        best = best.min(points.total_cost(&path));
    }
    best
}
