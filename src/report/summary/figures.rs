//! Figures of a summary: the sizes, quality against size, and divergence along the text.

use crate::compare::summary::{KlByWindow, Summary, VariantScores};
use crate::report::{Axis, Bar, Figure, Front, Point, Rise, Series, Unit};
use crate::stats::Estimate;
use crate::units::BitsPerWeight;

impl Summary {
    pub(super) fn figures(&self) -> Vec<Figure> {
        let found = |value: fn(&VariantScores) -> Estimate| -> Vec<Point> {
            let points = self.rows.iter().filter_map(|row| {
                let y = value(row.outcome.as_ref().ok()?);
                let label = row.variant.clone();
                Some(Point { label, x: row.size_bytes? as f64, y })
            });
            points.collect()
        };
        let mut kl = found(|outcome| outcome.quality.kl_mean_nats);
        // The reference's divergence from itself is 0, which a logarithmic axis cannot show.
        kl.retain(|point| point.y.point > 0.0);
        let mut figures = vec![
            self.ladder(),
            Figure::Scatter {
                title: "KL divergence against size".to_owned(),
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
        if self.kl_by_window.iter().any(|variant| variant.points.len() > 1) {
            figures.push(Figure::Lines {
                title: "KL divergence along the text".to_owned(),
                x: Axis::new("window", Unit::None),
                y: Axis::new("KL mean", Unit::Nats),
                rise: Rise::Logarithmic,
                series: self.kl_by_window.iter().map(series).collect(),
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
            Some(Bar { label: row.variant.clone(), value: row.size_bytes? as f64, remark })
        });
        let mut bars: Vec<Bar> = rungs.collect();
        bars.sort_by(|a, b| b.value.total_cmp(&a.value));
        let title = "Sizes".to_owned();
        Figure::Bars { title, unit: Unit::Bytes, bars, limit: None }
    }
}

fn series(variant: &KlByWindow) -> Series {
    let points = variant.points.iter().map(|point| (point.window as f64, point.kl_mean_nats));
    Series { label: variant.variant.clone(), points: points.collect() }
}
