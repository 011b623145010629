//! The rules of the house that no compiler knows: sizes, opening words, which room may use which.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 400;

/// Every room of `src/` and the rooms that it may use.
const ROOMS: [(&str, &[&str]); 14] = [
    ("error", &[]),
    ("units", &[]),
    ("files", &["error", "units"]),
    ("checkpoint", &["error", "units"]),
    ("quantize", &["error", "units"]),
    ("model", &["checkpoint", "error"]),
    ("eval", &["checkpoint", "quantize", "model", "results", "error", "files", "units"]),
    ("package", &["checkpoint", "quantize", "model", "eval", "error", "files", "units"]),
    ("device", &["results", "package", "error", "files", "units"]),
    ("results", &["error", "files", "units"]),
    ("stats", &["units"]),
    ("compare", &["results", "stats", "units", "error"]),
    ("report", &["results", "stats", "compare", "units", "error"]),
    ("demo", &["checkpoint"]),
];

/// The rooms that may use every other.
const ROOFS: [&str; 3] = ["cli", "lib", "main"];

/// The only file with code that the compiler cannot check.
const UNSAFE: &str = "src/checkpoint/bytes.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder` with one of these endings, with their text, by path from the root.
fn files(folder: &str, endings: &[&str]) -> BTreeMap<String, String> {
    let mut open: Vec<PathBuf> = vec![root().join(folder)];
    let mut found = BTreeMap::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_made = ["target", "reports", ".git", ".build"].contains(&name.as_str());
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

fn rust() -> BTreeMap<String, String> {
    let folders = ["src", "tests", "benches"];
    folders.iter().flat_map(|folder| files(folder, &["rs"])).collect()
}

/// The lines of code, numbered from 1, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines());
    lines.map(|(at, line)| (at, line.split("//").next().unwrap_or_default()))
}

/// The words that follow `before` in a line: `a` and `b` after `x::` in `x::a x::{b, c::d}`, with
/// `c`.
fn after<'a>(line: &'a str, before: &str) -> Vec<&'a str> {
    let is_end = |c: char| !(c.is_alphanumeric() || c == '_');
    let word = |text: &'a str| text.trim().split(is_end).next().unwrap_or_default();
    let mut words = Vec::new();
    for rest in line.split(before).skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => words.extend(list.split(',').map(word)),
            None => words.push(word(rest)),
        }
    }
    words
}

/// Fails with every breach at once.
fn none(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn no_file_is_over_400_lines() {
    let files = files("", &["rs", "py", "sh", "swift"]);
    assert!(files.len() > 50, "only {} files found", files.len());
    let lines = files.iter().map(|(name, text)| (name, text.lines().count()));
    let long = lines.filter(|(_, count)| *count > MAX_LINES);
    none(long.map(|(name, count)| format!("{name} has {count} lines")).collect());
}

#[test]
fn functions_over_70_lines_and_what_else_clippy_finds_are_errors() {
    let clippy = std::fs::read_to_string(root().join("clippy.toml")).unwrap();
    assert!(clippy.contains("too-many-lines-threshold = 70\n"), "{clippy}");
    let cargo = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lints = cargo.split("[lints.clippy]").nth(1).unwrap();
    for lint in ["too_many_lines", "unwrap_used", "print_stdout", "print_stderr", "exit", "todo"] {
        assert!(lints.contains(&format!("{lint} = ")), "{lint} is not among the lints");
    }
    let allowed = rust().into_iter().filter(|(name, text)| {
        name != "tests/integration/tidy.rs" && text.contains("too_many_lines")
    });
    none(allowed.map(|(name, _)| format!("{name} allows long functions")).collect());
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let silent = rust().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none(silent.map(|(name, _)| format!("{name} does not open with `//! `")).collect());
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let mut breaches = Vec::new();
    for (name, text) in files("src", &["rs"]) {
        let room = name["src/".len()..].split(['/', '.']).next().unwrap_or_default();
        if ROOFS.contains(&room) {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(known, _)| *known == room) else {
            breaches.push(format!("{name}: the room `{room}` is not in the table"));
            continue;
        };
        for (at, line) in code(&text) {
            for used in after(line, "crate::") {
                let is_room = ROOMS.iter().any(|(known, _)| *known == used);
                if used != room && (is_room || ROOFS.contains(&used)) && !allowed.contains(&used) {
                    breaches.push(format!("{name}:{at}: `{room}` may not use `{used}`"));
                }
            }
        }
    }
    none(breaches);
}

#[test]
fn commands_never_import_one_another() {
    let files = files("src/cli", &["rs"]);
    let command = |(name, text): (&String, &String)| {
        let stem = Path::new(name).file_stem().unwrap().to_string_lossy().into_owned();
        text.starts_with(&format!("//! `evalkit {stem}`")).then_some(stem)
    };
    let commands: Vec<String> = files.iter().filter_map(command).collect();
    assert!(commands.contains(&"sweep".to_owned()), "found only the commands {commands:?}");
    let mut breaches = Vec::new();
    for (name, text) in &files {
        if name == "src/cli/mod.rs" {
            continue;
        }
        for (at, line) in code(text) {
            for used in after(line, "super::").into_iter().chain(after(line, "cli::")) {
                let is_own = name.ends_with(&format!("/{used}.rs"));
                if !is_own && commands.iter().any(|command| command == used) {
                    breaches.push(format!("{name}:{at}: uses the command `{used}`"));
                }
            }
        }
    }
    none(breaches);
}

#[test]
fn unsafe_code_is_in_one_file() {
    let mut breaches = Vec::new();
    for (name, text) in rust() {
        let keyword = ["un", "safe"].concat();
        let uses = |line: &str| {
            let is_end = |c: char| !(c.is_alphanumeric() || c == '_');
            line.split('"').step_by(2).any(|part| part.split(is_end).any(|word| word == keyword))
        };
        let lines = code(&text).filter(|(_, line)| uses(line));
        if name != UNSAFE {
            breaches.extend(lines.map(|(at, _)| format!("{name}:{at}")));
        }
    }
    none(breaches);
}

#[test]
fn nothing_is_left_to_do_or_to_debug() {
    let macros = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let mut breaches = Vec::new();
    for (name, text) in rust() {
        for (at, line) in code(&text) {
            let left = macros.iter().filter(|found| line.contains(found.as_str()));
            breaches.extend(left.map(|found| format!("{name}:{at}: {found}…)")));
        }
    }
    none(breaches);
}
