//! JSON whose size is bounded while it is read. A value takes many times the bytes of its text, and a
//! file of a tokenizer may be long, but the steps that it lists are few.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value that consists of at most `VALUES` values, itself and those of its lists and maps.
#[derive(Debug)]
pub(super) struct Limited<const VALUES: usize>(pub Value);

impl<'de, const VALUES: usize> Deserialize<'de> for Limited<VALUES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = Cell::new(0);
        Part { count: &count, most: VALUES }.deserialize(deserializer).map(Limited)
    }
}

/// One value, and how many were read before it.
#[derive(Clone, Copy)]
struct Part<'a> {
    count: &'a Cell<usize>,
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count.set(self.count.get() + 1);
        if self.count.get() > self.most {
            let most = self.most;
            return Err(D::Error::custom(format!("expected at most {most} values, found more")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, of: bool) -> Result<Value, E> {
        Ok(of.into())
    }

    fn visit_u64<E>(self, of: u64) -> Result<Value, E> {
        Ok(of.into())
    }

    fn visit_i64<E>(self, of: i64) -> Result<Value, E> {
        Ok(of.into())
    }

    fn visit_f64<E>(self, of: f64) -> Result<Value, E> {
        Ok(of.into())
    }

    fn visit_str<E>(self, of: &str) -> Result<Value, E> {
        Ok(of.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            values.insert(key, map.next_value_seed(self)?);
        }
        Ok(Value::Object(values))
    }
}

/// A list of at most `ITEMS` items, each of at most `VALUES` values, none of which is kept.
#[derive(Debug)]
pub(super) struct Dropped<const ITEMS: usize, const VALUES: usize>;

impl<'de, const ITEMS: usize, const VALUES: usize> Deserialize<'de> for Dropped<ITEMS, VALUES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Dropped)
    }
}

impl<'de, const ITEMS: usize, const VALUES: usize> Visitor<'de> for Dropped<ITEMS, VALUES> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {ITEMS} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        let mut count = 0;
        while list.next_element::<Limited<VALUES>>()?.is_some() {
            count += 1;
            if count > ITEMS {
                return Err(A::Error::invalid_length(count, &self));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_is_and_a_large_one_is_refused() {
        let text = r#"{"a": [1, -2, 0.5, true, null, "x"], "b": {}}"#;
        let read: Limited<9> = serde_json::from_str(text).unwrap();
        assert_eq!(read.0, serde_json::from_str::<Value>(text).unwrap());
        let error = serde_json::from_str::<Limited<8>>(text).unwrap_err().to_string();
        assert!(error.contains("expected at most 8 values, found more"), "{error}");
        assert!(serde_json::from_str::<Limited<9>>(r#""\ud800""#).is_err());
    }

    #[test]
    fn a_list_is_bounded_in_its_items_and_in_their_sizes() {
        assert!(serde_json::from_str::<Dropped<2, 3>>("[[1, 2], 3]").is_ok());
        assert!(serde_json::from_str::<Dropped<2, 2>>("[[1, 2], 3]").is_err());
        let error = serde_json::from_str::<Dropped<1, 3>>("[[1, 2], 3]").unwrap_err().to_string();
        assert!(error.contains("expected a list of at most 1 items"), "{error}");
    }
}
