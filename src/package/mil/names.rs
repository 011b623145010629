//! Names of values: identifiers that are unique in a function.

use std::collections::{HashMap, HashSet};

/// The names that a function uses so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// For each name that was wanted more than once, the next number to try.
    next: HashMap<String, usize>,
}

impl Names {
    /// `wanted` as an identifier, with a number appended if it is taken.
    pub(super) fn unique(&mut self, wanted: &str) -> String {
        let base = identifier(wanted);
        if self.taken.insert(base.clone()) {
            return base;
        }
        let next = self.next.entry(base.clone()).or_insert(1);
        loop {
            let name = format!("{base}_{next}");
            *next += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Takes exactly this name. Returns false if it is taken.
    pub(super) fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_owned())
    }
}

/// Whether `name` can be the name of a value: `[A-Za-z_][A-Za-z0-9_@]*`.
pub(super) fn is_identifier(name: &str) -> bool {
    !name.is_empty() && identifier(name) == name
}

/// The nearest identifier: `model.layers.0` becomes `model_layers_0`.
fn identifier(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '@';
    let mut text: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        text.insert(0, '_');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers_and_are_used_once() {
        let mut names = Names::default();
        assert_eq!(names.unique("model.layers.0/q-proj"), "model_layers_0_q_proj");
        assert_eq!(names.unique("model.layers.0/q-proj"), "model_layers_0_q_proj_1");
        assert_eq!(names.unique("0"), "_0");
        assert_eq!(names.unique("a_1"), "a_1");
        assert_eq!((names.unique("a"), names.unique("a")), ("a".into(), "a_2".into()));
        assert!(!names.take("a") && names.take("b"));
        assert!(is_identifier("w@1") && !is_identifier("@w") && !is_identifier(""));
    }
}
