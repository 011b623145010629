//! A summary as a document: the main table, tables below it, figures and notes.

mod details;
mod document;
mod figures;
mod methods;
mod packages;
