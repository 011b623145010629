//! Numbers that may not be finite: JSON cannot write them, so records hold `null`.

use serde::{Deserialize, Deserializer};

/// The number, if a record can hold it.
pub fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Reads a number that may be missing. Records of schema 1 have `f64::MAX` for one that is not finite.
pub(super) fn option<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::deserialize(from)?.filter(|value| *value < f64::MAX))
}

#[cfg(test)]
mod tests {
    use crate::results::{Packaged, VerifiedLink};

    #[test]
    fn a_number_that_is_not_finite_is_read_as_none_in_every_schema() {
        let link =
            VerifiedLink { kl_nats: super::finite(f64::INFINITY), ..VerifiedLink::default() };
        let packaged = Packaged { links: vec![link], ..Packaged::default() };
        let text = serde_json::to_string(&packaged).unwrap();
        let older = text.replace("null", &f64::MAX.to_string());
        for text in [text.replace("null", "1.5e0"), text, older] {
            let read: Packaged = serde_json::from_str(&text).unwrap();
            let expected = text.contains("1.5e0").then_some(1.5);
            assert_eq!(read.links[0].kl_nats, expected, "{text}");
        }
    }
}
