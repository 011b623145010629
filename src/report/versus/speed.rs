//! Tables of speeds: one for each device and metric.

use super::reading;
use crate::compare::Metric;
use crate::compare::versus::{Reading, SpeedChange, SpeedChanges, Untimed};
use crate::report::{Column, Table, Value};

/// The table of one metric on one device.
pub(super) fn table(all: &SpeedChanges) -> Table {
    let (title, key) = match all.metric {
        Metric::Decode => ("Decode", "decode"),
        _ => ("Time to the first token", "ttft"),
    };
    let row = |row: &SpeedChange| {
        let (change, reading) = match &row.change {
            Ok(change) => (Value::from(*change), reading(Reading::of(all.metric, change))),
            Err(why) => (Value::Empty, missing(*why)),
        };
        let [a, b] = row.values.map(Value::from);
        vec![row.variant.as_str().into(), a, b, change, reading.into()]
    };
    Table {
        title: format!("{title} on {}", all.device),
        columns: vec![
            Column::text("variant", "variant"),
            Column::estimate(&format!("a_{key}"), "A", all.metric.unit()),
            Column::estimate(&format!("b_{key}"), "B", all.metric.unit()),
            Column::estimate(&format!("{key}_change"), "change", all.metric.change_unit()),
            Column::text("reading", "reading"),
        ],
        rows: all.rows.iter().map(row).collect(),
        notes: Vec::new(),
    }
}

/// Why a change is missing, in a table.
fn missing(why: Untimed) -> &'static str {
    match why {
        Untimed::OnlyInFirst => "only in A",
        Untimed::OtherDesign => "not compared: packages of another design",
        Untimed::Simulated => "not compared: SIMULATED",
        Untimed::OtherDevice => "not compared: another kind of device",
        Untimed::OtherMethod => "not compared: measured with another method",
        Untimed::WrongModel => "not compared: the device computes a different model",
        Untimed::TooLittleData => "too little data",
    }
}
