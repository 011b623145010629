//! A check in the formats that people and CI servers read.

mod document;
mod github;
mod history;
mod junit;
#[cfg(test)]
mod tests;
mod words;

pub use document::document;
pub use github::annotations;
pub use history::history;
pub use junit::junit;
