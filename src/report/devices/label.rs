//! Names of packages in tables and figures: the variant, and more where several packages have the same.

use crate::compare::on_device::DeviceRow;
use crate::results::measurement::Subject;

/// The name of a package `among` others.
pub(super) fn label(subject: &Subject, among: &[&Subject]) -> String {
    let Subject { variant, design, package, .. } = subject;
    let is_twin = |other: &&&Subject| other.variant == *variant && other.package != *package;
    let twins: Vec<&&Subject> = among.iter().filter(is_twin).collect();
    if twins.is_empty() {
        variant.clone()
    } else if twins.iter().all(|other| other.design != *design) {
        format!("{variant} ({design})")
    } else {
        let start: String = package.chars().take(8).collect();
        format!("{variant} ({design}, {start})")
    }
}

/// The packages of rows.
pub(super) fn packages<'a>(rows: &[DeviceRow<'a>]) -> Vec<&'a Subject> {
    rows.iter().map(|row| row.subject).collect()
}
