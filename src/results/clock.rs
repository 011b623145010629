//! The only clock that results read.

/// The current time (RFC 3339).
pub fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
