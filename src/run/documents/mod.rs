//! What commands show of a run's work besides its records: documents for [`report`](crate::report).

pub mod allocation;
pub mod chain_of_truth;
pub mod coded;
pub mod device_fit;
pub mod packages;
pub mod planned;
pub mod structure;
