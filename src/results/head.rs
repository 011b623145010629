//! How every stored line begins: the schema version, which decides whether the rest can be read, and
//! the kind, which decides how.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The schema version written into every line. It is raised when the meaning of a field or a kind of
/// line changes; a new optional field needs no new version. Lines of every earlier version are read.
///
/// 2: runs can be condensed; what is not finite is `null`, no longer `f64::MAX`; the kinds of
/// measurement `truth` and `trouble` are `correctness_check` and `failed_step`.
pub(super) const SCHEMA: u32 = 2;

/// The start of a line, read before the rest is understood.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    pub schema: u32,
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

impl Head<'_> {
    /// Reads the head of a line; from its first characters alone if [`to_line`] wrote it.
    pub fn of(line: &str) -> serde_json::Result<Head<'_>> {
        let as_written = || {
            let rest = line.strip_prefix(r#"{"schema":"#)?;
            let (schema, rest) = rest.split_once(r#","kind":""#)?;
            let (kind, _) = rest.split_once('"')?;
            Some(Head { schema: schema.parse().ok()?, kind: kind.into() })
        };
        as_written().map_or_else(|| serde_json::from_str(line), Ok)
    }
}

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

#[derive(Serialize)]
struct Line<'a, T> {
    schema: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// `body` as one line of JSON, without the line feed; `what` names it in errors.
///
/// # Errors
/// A bug-class error if it cannot be written as JSON.
pub(super) fn to_line(body: &impl Serialize, what: &str) -> Result<String> {
    serde_json::to_string(&Line { schema: SCHEMA, body })
        .map_err(|e| Error::bug(format!("cannot write {what} as JSON")).because(e))
}

/// Reads a line that this version or an earlier one wrote; `what` names it in errors.
///
/// # Errors
/// Input errors: bad JSON, a missing field, a newer schema.
pub(super) fn from_line<T: DeserializeOwned>(line: &str, what: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let bad = |e: serde_json::Error| Error::input(format!("not {what}")).because(e);
    let Version { schema } = serde_json::from_str(line).map_err(bad)?;
    check_schema(schema)?;
    serde_json::from_str(line).map_err(bad)
}
