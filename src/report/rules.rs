//! Rules for every table, whatever its numbers: no number lacks its unit, and no digit is shown that the
//! interval does not support.

use proptest::prelude::*;

use super::number::{Detail, text};
use super::{Document, Table, Unit, Value, devices, run, versus};
use crate::compare::fixture::{self, folder};
use crate::results::{Record, RunFolder};
use crate::stats::{Estimate, Interval};

/// Numbers without a unit: quotients of equal units.
const DIMENSIONLESS: [&str; 3] = ["perplexity", "a_perplexity", "b_perplexity"];

/// The value of the last digit is at least this share of the half-width: 12.35 ±0.14.
const FINEST: f64 = 1.0 / 20.0;

/// A run with noise on every sum.
fn noisy(noise: &[f64], name: &str) -> RunFolder {
    let mut records = fixture::records();
    let mut next = noise.iter().cycle();
    for record in &mut records {
        if let (Record::Window(window), Some(noise)) = (record, next.next()) {
            window.nll_nats *= 1.0 + noise.abs();
            window.kl_nats *= 1.0 + noise.abs();
        }
    }
    RunFolder { measured: devices::fixture(), ..folder(name, &records) }
}

/// Every table of a document, including those of its figures.
fn tables(document: &Document) -> Vec<Table> {
    let of_figures = document.figures.iter().map(super::Figure::table);
    document.tables.iter().cloned().chain(of_figures).collect()
}

fn documents(noise: &[f64]) -> Vec<Document> {
    let (a, b) = (noisy(noise, "a"), noisy(&noise[1..], "b"));
    vec![run::document(&a).unwrap(), versus::document(&a, &b).unwrap()]
}

/// The value of the last digit of the first number in a text; infinite for a bare 0, which may be of any
/// size.
fn last_place(text: &str) -> f64 {
    let number = text.trim_start_matches(['×', '+', '-']);
    let number = number.split([' ', '[', '±']).next().unwrap();
    if number == "0" {
        return f64::INFINITY;
    }
    let (mantissa, exponent) = number.split_once('e').unwrap_or((number, "0"));
    let decimals = mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let zeros = match decimals {
        // The last digit of 12000 is that of the thousands.
        0 => mantissa.len() - mantissa.trim_end_matches('0').len().max(1),
        _ => 0,
    };
    10_f64.powi(exponent.parse::<i32>().unwrap() + zeros as i32 - decimals as i32)
}

fn check_digits(estimate: &Estimate, unit: Unit, told: &str) {
    let factor = match unit {
        Unit::Share => 100.0,
        Unit::Ratio if !told.starts_with('×') => 100.0,
        _ => 1.0,
    };
    let half_width = estimate.half_width().unwrap() * factor;
    // An exact value shows all its digits, and one with a tiny interval shows four.
    if half_width >= 1e-6 {
        // The first digit of a number above zero is always shown.
        let first = estimate.interval.filter(|interval| interval.low > 0.0);
        let first =
            first.map_or(f64::INFINITY, |_| 10_f64.powf((estimate.point * factor).log10().floor()));
        let finest = (half_width * FINEST).min(first);
        assert!(last_place(told) >= finest * 0.999, "{told}: {estimate:?}");
    }
}

fn check(table: &Table) {
    for (at, column) in table.columns.iter().enumerate() {
        for value in table.rows.iter().filter_map(|row| row.get(at)) {
            let value = if let Value::Struck(value, _) = value { value } else { value };
            let is_number = matches!(value, Value::Number(_) | Value::Estimate(_));
            let is_known = column.unit != Unit::None || DIMENSIONLESS.contains(&&*column.key);
            assert!(!is_number || is_known, "{}: {} has no unit", table.title, column.name);
            if let Value::Estimate(estimate) = value
                && estimate.interval.is_some()
            {
                for detail in [Detail::Point, Detail::HalfWidth, Detail::Ends] {
                    check_digits(estimate, column.unit, &text(value, column.unit, detail));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_number_lacks_its_unit_or_has_a_digit_too_many(
        noise in prop::collection::vec(-0.9_f64..0.9, 8..40)
    ) {
        for document in documents(&noise) {
            tables(&document).iter().for_each(check);
        }
    }
}

proptest! {
    #[test]
    fn digits_end_where_any_interval_begins(
        point in -1e6_f64..1e6,
        exponent in -8_i32..7,
        mantissa in 1.0_f64..10.0,
    ) {
        let half_width = mantissa * 10_f64.powi(exponent);
        let (low, high) = (point - half_width, point + half_width);
        let interval = Some(Interval { low, high, level: 0.95 });
        let estimate = Estimate { point, interval, n: 9 };
        for unit in [Unit::None, Unit::Share, Unit::Ratio, Unit::Nats, Unit::Millis] {
            for detail in [Detail::Point, Detail::HalfWidth, Detail::Ends] {
                check_digits(&estimate, unit, &text(&estimate.into(), unit, detail));
            }
        }
    }
}
