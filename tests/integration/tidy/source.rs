//! The project's files, and Rust code without comments, strings and tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The repository's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder` with one of these endings: path from the root, and text.
pub fn files(folder: &str, endings: &[&str]) -> BTreeMap<String, String> {
    let mut open: Vec<PathBuf> = vec![root().join(folder)];
    let mut found = BTreeMap::new();
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // Swift's builds are `.build`, `.build-stub` and so on.
            let is_made = ["target", "reports", ".git"].contains(&name.as_str())
                || name.starts_with(".build");
            if path.is_dir() && !is_made {
                open.push(path);
            } else if path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending)) {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// All Rust files of the package.
pub fn rust() -> BTreeMap<String, String> {
    let folders = ["src", "tests", "benches", "examples"];
    folders.iter().flat_map(|folder| files(folder, &["rs"])).collect()
}

/// Whether `c` can be part of a Rust name.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length in bytes of the comment, string or character literal that `rest` starts with, if any.
/// `before` is the character before it.
fn literal(rest: &str, before: char) -> Option<usize> {
    let until = |end: &str, from: usize| rest[from..].find(end).map(|at| from + at);
    if rest.starts_with("//") {
        return Some(until("\n", 2).unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return until("*/", 2).map(|at| at + 2);
    }
    if rest.starts_with('r') && !is_word(before) {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return until(&end, hashes + 2).map(|at| at + end.len());
        }
    }
    let quote = rest.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    let mut chars = rest.char_indices().skip(1);
    let mut length = 0;
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(at + 1);
        }
        if c == '\\' {
            chars.next();
        }
        length += 1;
        // A lifetime is no literal: a character literal has one character, or an escape.
        if quote == '\'' && length == 1 && c != '\\' && !rest[at + c.len_utf8()..].starts_with('\'')
        {
            return None;
        }
    }
    None
}

/// Rust code with its comments and literals taken out; lines keep their numbers.
pub fn code(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match literal(rest, kept.chars().next_back().unwrap_or(' ')) {
            Some(length) => {
                kept.extend(rest[..length].chars().filter(|c| *c == '\n'));
                kept.push(' ');
                length
            }
            None => {
                kept.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    kept
}

/// The code before the file's tests. They come last in every file.
pub fn without_tests(code: &str) -> &str {
    let tests = code.match_indices("#[cfg(test)]").find(|(at, mark)| {
        let next = code[at + mark.len()..].split_once('{').map_or("", |(head, _)| head).trim();
        next.starts_with("mod ") && !next.contains(';')
    });
    tests.map_or(code, |(at, _)| &code[..at])
}

#[test]
fn code_has_no_comments_and_no_literals() {
    let text =
        "let a: &'a str = \"// \\\" b\"; // c\nlet d = ['\"', '\\'', r#\"\"e\"#]; /* f\n */ g";
    let kept: Vec<String> =
        code(text).lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(kept, ["let a: &'a str = ;", "let d = [ , , ];", "g"]);
    assert_eq!(
        without_tests("a #[cfg(test)] mod t; #[cfg(test)]\nmod u { b }"),
        "a #[cfg(test)] mod t; "
    );
}
