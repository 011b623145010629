//! The table of packages: their sizes, and whether they hold the model that was scored.

use crate::compare::summary::{PackagedVariant, Summary};
use crate::report::{Column, Table, Unit, Value};
use crate::results::Packaged;

impl Summary {
    /// Sizes and verdicts; `None` if there are no packages.
    pub(super) fn packages_table(&self) -> Option<Table> {
        if self.packages.is_empty() {
            return None;
        }
        let columns = vec![
            Column::text("variant", "variant"),
            Column::text("verdict", "verdict"),
            Column::text("design", "for").rank(1),
            Column::number("packages", "packages", Unit::None).rank(2),
            Column::number("size", "size", Unit::Bytes),
            Column::number("size_prediction_error", "prediction error", Unit::Bytes).rank(3),
            Column::number("kl_to_scored", "KL to scored", Unit::Nats),
            Column::number("top1_to_scored", "top-1 agreement", Unit::Share),
        ];
        let row = |of: &PackagedVariant| {
            let Packaged { design, packages, size_bytes, predicted_bytes, links, .. } =
                &of.packaged;
            let steps = links.iter().find(|link| link.tokens > 0 && link.link == "steps");
            let kl = steps.and_then(|steps| Some(steps.kl_nats? / steps.tokens as f64));
            let top1 = steps.map(|steps| steps.top1_agree as f64 / steps.tokens as f64);
            let verdict = match of.packaged.broken() {
                Some(broken) => format!("{} BROKEN", broken.link),
                None => "verified".to_owned(),
            };
            vec![
                Value::from(of.variant.as_str()),
                Value::from(verdict),
                Value::from(design.as_str()),
                Value::from(*packages),
                Value::from(*size_bytes),
                Value::from(size_bytes.abs_diff(*predicted_bytes)),
                kl.into(),
                top1.into(),
            ]
        };
        let broken = |of: &PackagedVariant| {
            let broken = of.packaged.broken()?;
            let (variant, link, what) = (&of.variant, &broken.link, &broken.what);
            Some(format!("{variant}, {link}: {what}. Such packages are not measured on devices."))
        };
        let about = "Verified: files, weights (bit for bit) and predictions are those of the model \
                     that was scored. Size: on disk. Prediction error: the difference from the size \
                     predicted from recipes and shapes. KL to scored: packages executed token by \
                     token, compared with the scores above.";
        let broken = self.packages.iter().filter_map(broken);
        Some(Table {
            title: "Packages".into(),
            columns,
            rows: self.packages.iter().map(row).collect(),
            notes: broken.chain([about.to_owned()]).collect(),
        })
    }
}
