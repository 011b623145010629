//! What a summary shows in pictures: the ladder, quality against size, divergence by window.

use super::{Outcome, Summary};
use crate::report::{Axis, Figure, Front, Point, Rise, Series, Unit};
use crate::results::Window;
use crate::stats::Estimate;
use crate::units::BitsPerWeight;

/// Points of a line at most: more windows are put together, neighbours with neighbours.
const MOST_POINTS: usize = 200;

/// Mean KL divergence by window; of neighbours together where there are very many.
pub(super) fn by_window(label: String, windows: &[&Window]) -> Series {
    let together = windows.len().div_ceil(MOST_POINTS).max(1);
    let mean = |windows: &[&Window]| {
        let kl: f64 = windows.iter().map(|w| w.kl_nats).sum();
        let tokens: usize = windows.iter().map(|w| w.scored_tokens).sum();
        Some((windows.first()?.window as f64, kl / tokens.max(1) as f64))
    };
    Series { label, points: windows.chunks(together).filter_map(mean).collect() }
}

impl Summary {
    pub(super) fn figures(&self) -> Vec<Figure> {
        let found = |value: fn(&Outcome) -> Estimate| -> Vec<Point> {
            let points = self.rows.iter().filter_map(|row| {
                let y = value(row.outcome.as_ref().ok()?);
                let label = row.variant.clone();
                Some(Point { label, x: row.size_bytes? as f64, y })
            });
            points.collect()
        };
        let mut kl = found(|outcome| outcome.quality.kl_mean_nats);
        // The reference has no distance from itself that a logarithm could show.
        kl.retain(|point| point.y.point > 0.0);
        let mut figures = vec![
            self.ladder(),
            Figure::Scatter {
                title: "Divergence from the reference against size".to_owned(),
                x: Axis::new("size", Unit::Bytes),
                y: Axis::new("KL mean", Unit::Nats),
                points: kl,
                front: Some(Front::Less),
            },
            Figure::Scatter {
                title: "Perplexity against size".to_owned(),
                x: Axis::new("size", Unit::Bytes),
                y: Axis::new("perplexity", Unit::None),
                points: found(|outcome| outcome.quality.perplexity),
                front: Some(Front::Less),
            },
        ];
        figures.extend(self.method_figures());
        if self.kl_by_window.iter().any(|series| series.points.len() > 1) {
            figures.push(Figure::Lines {
                title: "Divergence from the reference along the text".to_owned(),
                x: Axis::new("window", Unit::None),
                y: Axis::new("KL mean", Unit::Nats),
                rise: Rise::Logarithmic,
                series: self.kl_by_window.clone(),
            });
        }
        figures
    }

    /// The variants by size, largest first.
    fn ladder(&self) -> Figure {
        let rungs = self.rows.iter().filter_map(|row| {
            let remark = match (&row.outcome, row.file_bits_per_weight) {
                (Err(_), _) => "failed".to_owned(),
                (Ok(_), bits) => format!("{} bits/weight", BitsPerWeight(bits?)),
            };
            Some((row.variant.clone(), row.size_bytes? as f64, remark))
        });
        let mut bars: Vec<(String, f64, String)> = rungs.collect();
        bars.sort_by(|a, b| b.1.total_cmp(&a.1));
        let title = "The ladder of sizes".to_owned();
        Figure::Bars { title, unit: Unit::Bytes, bars, limit: None }
    }
}
