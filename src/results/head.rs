//! How every line of records begins: the schema, which decides whether the rest can be read, and the
//! kind, which decides how.

use std::borrow::Cow;

use serde::Deserialize;

use super::record::SCHEMA;
use crate::error::{Error, Result};

/// The start of every line, read before the rest is understood.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    pub schema: u32,
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

impl Head<'_> {
    /// Reads it from the start alone where that looks as [`Record::to_line`](super::Record::to_line) writes it.
    pub fn of(line: &str) -> serde_json::Result<Head<'_>> {
        let written = line.strip_prefix(WRITTEN_HEAD).and_then(|rest| rest.split_once('"'));
        match written {
            Some((kind, _)) => Ok(Head { schema: 1, kind: kind.into() }),
            None => serde_json::from_str(line),
        }
    }
}

/// How lines of schema 1 begin, up to the kind.
const WRITTEN_HEAD: &str = r#"{"schema":1,"kind":""#;

/// What to do about records that cannot be understood.
pub(super) const UPDATE: &str =
    "these records were written by a newer evalkit; update evalkit to read them";

/// Refuses lines that a newer program wrote.
pub(super) fn check_schema(schema: u32) -> Result<()> {
    if schema > SCHEMA {
        let what = format!("schema {schema} is newer than this program's {SCHEMA}");
        return Err(Error::input(what).hint(UPDATE));
    }
    Ok(())
}
