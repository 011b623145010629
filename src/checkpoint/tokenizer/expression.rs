//! Whether a regular expression that splits text into words always splits between two characters.
//!
//! The proof is by structure. If the expression has no way to step from the left character to the
//! right one, no match holds both. Since matching has no memory of the text before it, the words on
//! both sides are then the same as if each side were a text of its own.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

/// A condition that is removed before the expression is examined: no character but white space
/// follows. It stands at the end of alternatives, where removing it can only add matches.
const NOTHING_FOLLOWS: &str = r"(?!\S)";

/// What happens to the text between two neighbouring characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A word ends there, whatever else the text holds.
    Ends,
    /// If both are in one word, then each side is a word where the text is cut there.
    Divides,
    /// Nothing is known.
    Unknown,
}

/// An expression that was understood.
#[derive(Debug)]
pub(super) struct Expression {
    hir: Hir,
    looks_ahead: bool,
    /// Every match is a run of one kind of characters that is as long as possible.
    matches_runs: bool,
}

impl Expression {
    /// `None` for an expression that looks behind, or ahead in other ways than GPT-2's.
    pub fn new(text: &str) -> Option<Self> {
        let mut plain = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(NOTHING_FOLLOWS) {
            plain.push_str(before);
            let ends = after.is_empty() || after.starts_with('|');
            // What stands before it is complete, so that it is in no group.
            if !ends || regex_syntax::parse(&plain).is_err() {
                return None;
            }
            rest = after;
        }
        plain.push_str(rest);
        let hir = regex_syntax::parse(&plain).ok()?;
        let looks_ahead = plain.len() < text.len();
        // A match of nothing would hide that another alternative matches.
        let takes_some = hir.properties().minimum_len().is_some_and(|len| len > 0);
        let is_plain = hir.properties().look_set().is_empty() && takes_some;
        let matches_runs = !looks_ahead && matches_runs(&hir);
        is_plain.then_some(Expression { hir, looks_ahead, matches_runs })
    }

    /// What the expression's matches, and the text between them, do between `left` and `right`.
    pub fn place(&self, left: char, right: char) -> Place {
        // At a text's end, the condition is met; so it must be before `right`.
        let is_met = !self.looks_ahead || matches!(right, ' ' | '\n' | '\r' | '\t');
        if !is_met {
            return Place::Unknown;
        }
        if Steps::of(&self.hir, left, right).joins {
            return if self.matches_runs { Place::Divides } else { Place::Unknown };
        }
        // Or a match begins at `right`, which nothing that holds `left` can reach.
        let begins = !self.looks_ahead && accepts(&self.hir, right);
        if begins || accepts(&self.hir, left) { Place::Ends } else { Place::Divides }
    }
}

/// How an expression can step from one character to another.
#[derive(Debug, Clone, Copy, Default)]
struct Steps {
    /// It accepts the empty text.
    is_empty: bool,
    /// It can begin with the right character.
    begins: bool,
    /// It can end with the left character.
    ends: bool,
    /// It can step from the left character to the right one.
    joins: bool,
}

impl Steps {
    fn of(hir: &Hir, left: char, right: char) -> Steps {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Steps { is_empty: true, ..Steps::default() },
            HirKind::Literal(literal) => {
                let text = String::from_utf8_lossy(&literal.0);
                let pairs = text.chars().zip(text.chars().skip(1));
                Steps {
                    is_empty: false,
                    begins: text.starts_with(right),
                    ends: text.ends_with(left),
                    joins: pairs.into_iter().any(|pair| pair == (left, right)),
                }
            }
            HirKind::Class(class) => Steps {
                begins: contains(class, right),
                ends: contains(class, left),
                ..Steps::default()
            },
            HirKind::Repetition(repetition) => {
                let own = Steps::of(&repetition.sub, left, right);
                let repeats = repetition.max != Some(1) && own.ends && own.begins;
                Steps {
                    is_empty: own.is_empty || repetition.min == 0,
                    joins: own.joins || repeats,
                    ..own
                }
            }
            HirKind::Capture(capture) => Steps::of(&capture.sub, left, right),
            HirKind::Concat(parts) => {
                let first = Steps { is_empty: true, ..Steps::default() };
                parts.iter().fold(first, |a, part| {
                    let b = Steps::of(part, left, right);
                    Steps {
                        is_empty: a.is_empty && b.is_empty,
                        begins: a.begins || a.is_empty && b.begins,
                        ends: b.ends || b.is_empty && a.ends,
                        joins: a.joins || b.joins || a.ends && b.begins,
                    }
                })
            }
            HirKind::Alternation(parts) => parts.iter().fold(Steps::default(), |a, part| {
                let b = Steps::of(part, left, right);
                Steps {
                    is_empty: a.is_empty || b.is_empty,
                    begins: a.begins || b.begins,
                    ends: a.ends || b.ends,
                    joins: a.joins || b.joins,
                }
            }),
        }
    }
}

/// Whether the expression lists classes that have no character in common, each repeated without end.
fn matches_runs(hir: &Hir) -> bool {
    let parts = match hir.kind() {
        HirKind::Alternation(parts) => parts.as_slice(),
        _ => std::slice::from_ref(hir),
    };
    let mut seen = ClassUnicode::empty();
    parts.iter().all(|part| {
        let HirKind::Repetition(repetition) = part.kind() else { return false };
        let is_run = repetition.min == 1 && repetition.max.is_none() && repetition.greedy;
        let Some(class) = one_character(&repetition.sub) else { return false };
        let mut common = class.clone();
        common.intersect(&seen);
        seen.union(&class);
        is_run && common.ranges().is_empty()
    })
}

/// The characters of an expression that matches one of them.
fn one_character(hir: &Hir) -> Option<ClassUnicode> {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Literal(literal) => {
            let mut characters = std::str::from_utf8(&literal.0).ok()?.chars();
            let only = characters.next().filter(|_| characters.next().is_none())?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(only, only)]))
        }
        _ => None,
    }
}

fn contains(class: &Class, of: char) -> bool {
    match class {
        Class::Unicode(class) => {
            class.ranges().iter().any(|range| range.start() <= of && of <= range.end())
        }
        // A class of bytes is asked for only where Unicode is switched off.
        Class::Bytes(_) => true,
    }
}

/// Whether the expression matches the text that is `only`.
fn accepts(hir: &Hir, only: char) -> bool {
    let is_empty = |hir: &Hir| hir.properties().minimum_len() == Some(0);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => *literal.0 == *only.encode_utf8(&mut [0; 4]).as_bytes(),
        HirKind::Class(Class::Unicode(class)) => contains(&Class::Unicode(class.clone()), only),
        HirKind::Class(Class::Bytes(_)) => false,
        HirKind::Repetition(repetition) => {
            let takes_one =
                repetition.max != Some(0) && (repetition.min <= 1 || is_empty(&repetition.sub));
            takes_one && accepts(&repetition.sub, only)
        }
        HirKind::Capture(capture) => accepts(&capture.sub, only),
        HirKind::Concat(parts) => (0..parts.len()).any(|at| {
            let others = parts.iter().enumerate().filter(|(other, _)| *other != at);
            accepts(&parts[at], only) && others.into_iter().all(|(_, part)| is_empty(part))
        }),
        HirKind::Alternation(parts) => parts.iter().any(|part| accepts(part, only)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPT2: &str =
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    #[test]
    fn words_end_where_no_match_can_go_on() {
        let place = |text: &str, left, right| Expression::new(text).unwrap().place(left, right);
        for text in [GPT2, O200K] {
            assert_eq!(place(text, 'x', ' '), Place::Ends, "{text}");
            assert_eq!(place(text, 'x', '\n'), Place::Ends);
            assert_eq!(place(text, '.', ' '), Place::Ends);
            assert_eq!(place(text, ' ', ' '), Place::Unknown);
            assert_eq!(place(text, ' ', 'x'), Place::Unknown);
            assert_eq!(place(text, 'x', 'y'), Place::Unknown);
            assert_eq!(place(text, '\n', 'x'), Place::Unknown, "(?!\\S) sees the x");
        }
        assert_eq!(place(GPT2, '.', '\n'), Place::Ends);
        assert_eq!(place(O200K, '.', '\n'), Place::Unknown);
        assert_eq!(place(r"\p{N}", 'x', ' '), Place::Divides);
        assert_eq!(place(r"\p{N}{1,3}", '1', '2'), Place::Unknown);
        assert_eq!(place(r"\p{N}", '1', '2'), Place::Ends);
        assert_eq!(place("ab+c?", 'b', 'c'), Place::Unknown);
        assert_eq!(place("ab+c?", 'c', 'a'), Place::Divides);
        assert_eq!(place("(?:ab+c?)+", 'c', 'a'), Place::Unknown);
        assert_eq!(place("x y", 'x', ' '), Place::Unknown);
    }

    #[test]
    fn a_run_of_one_kind_is_two_runs_where_it_is_cut() {
        let place = |text: &str, left, right| Expression::new(text).unwrap().place(left, right);
        let lines = r"[^\n]+|[\n]+";
        assert_eq!(place(lines, 'x', ' '), Place::Divides);
        assert_eq!(place(lines, '\n', '\n'), Place::Divides);
        assert_eq!(place(lines, 'x', '\n'), Place::Ends);
        assert_eq!(place(r"\p{N}+", '1', '2'), Place::Divides);
        // Runs that share a character, are bounded, or hold more than one kind.
        for text in [r"[ab]+|[bc]+", r"[ab]{1,3}", r"[ab]+?", r" ?[ab]+", r"[ab]+c?"] {
            assert_eq!(place(text, 'a', 'b'), Place::Unknown, "{text}");
        }
    }

    #[test]
    fn words_end_where_a_match_begins() {
        let place = |text: &str, left, right| Expression::new(text).unwrap().place(left, right);
        assert_eq!(place(r"[\r\n]", 'x', '\n'), Place::Ends);
        assert_eq!(place(r"[\r\n]", 'x', ' '), Place::Divides);
        // What follows the right character may keep the match from happening.
        assert_eq!(place(r"\s+(?!\S)", 'x', ' '), Place::Divides);
        assert_eq!(place(r" y", 'x', ' '), Place::Divides);
    }

    #[test]
    fn expressions_that_look_around_are_not_judged() {
        let others =
            [r"(?<=a)b", r"\bx", r"^x", r"x$", r"x(?=y)", r"(?!\S)x", r"\s+(?!x)", r"(a)\1", "["];
        let others = others.into_iter().chain([r"x*|y", r"(?:(?!\S)|y)x", r"(?:y(?!\S))x"]);
        for text in others {
            assert!(Expression::new(text).is_none(), "{text}");
        }
    }
}
