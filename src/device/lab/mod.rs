//! Measuring packages on devices, the way a careful laboratory does: one warm-up that does not count,
//! packages in turns, a fresh process for every load where there can be one, nothing begun on a warm
//! device, whatever was disturbed repeated, and everything kept.

pub mod conditions;
pub mod order;
pub mod run;
pub mod subject;
mod tell;
pub mod truth;
