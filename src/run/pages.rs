//! Writes a document in every format into a folder: next to the records, or that of `--output`.

use std::path::Path;

use crate::error::Result;
use crate::files::write_together;
use crate::report::{Document, Format, render};

/// Width of report.txt, in characters.
const KEPT_WIDTH: usize = 160;

const PAGES: [(&str, Format); 5] = [
    ("report.txt", Format::Terminal),
    ("report.md", Format::Markdown),
    ("report.html", Format::Html),
    ("report.csv", Format::Csv),
    ("report.json", Format::Json),
];

/// Writes all pages or none.
///
/// # Errors
/// The folder cannot be made or written; its old files stay.
pub fn keep(document: &Document, folder: &Path) -> Result<()> {
    let page = |(name, format): (&'static str, Format)| {
        Ok((name, render(format, document, KEPT_WIDTH)?.into_bytes()))
    };
    let pages = PAGES.into_iter().map(page).collect::<Result<Vec<_>>>()?;
    write_together(folder, &pages)
}
