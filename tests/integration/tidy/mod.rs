//! The rules of the house that no compiler knows: sizes, opening words, which room may use which.

mod imports;
mod rooms;
mod source;

use source::{code, files, is_word, root, rust, without_tests};

const MAX_LINES: usize = 400;

/// Bound on the lines of all files in `src/cli/`: arguments, bars, tables and signals take no more.
const MAX_CLI_LINES: usize = 3500;

const MAX_README_WORDS: usize = 1200;

/// The only file with code that the compiler cannot check.
const UNSAFE: [&str; 2] = ["src/checkpoint/bytes.rs", "src/model/gemm.rs"];

/// The files that may write to stdout or stderr: the command line's writer, which knows closed pipes, and
/// the runner's protocol on stdout.
const WRITERS: [&str; 2] = ["src/cli/output.rs", "src/device/host/serve.rs"];

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
fn the_command_line_is_small() {
    let lines: usize = files("src/cli", &["rs"]).values().map(|text| text.lines().count()).sum();
    assert!(lines <= MAX_CLI_LINES, "src/cli/ has {lines} lines, expected at most {MAX_CLI_LINES}");
}

#[test]
fn the_readme_is_short() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let words = text.split_ascii_whitespace().count();
    assert!(words <= MAX_README_WORDS, "README.md has {words} words, expected at most 1,200");
}

#[test]
fn a_module_with_files_below_it_is_a_mod_rs() {
    let files = rust();
    let beside = files.keys().filter(|name| {
        let folder = format!("{}/", name.trim_end_matches(".rs"));
        files.keys().any(|other| other.starts_with(&folder))
    });
    none(beside.map(|name| format!("{name} belongs in its folder, as mod.rs")).collect());
}

#[test]
fn comments_point_to_nothing_outside_the_repository() {
    let outside = ["DESIGN", "STYLE.md", "PLAN.md", "invariant I"];
    let breaches = files("src", &["rs"]).into_iter().flat_map(|(name, text)| {
        let named = outside.iter().filter(|named| text.contains(*named));
        named.map(|named| format!("{name} names `{named}`")).collect::<Vec<_>>()
    });
    none(breaches.collect());
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
    let allowed = rust().into_iter().filter(|(_, text)| code(text).contains("too_many_lines"));
    none(allowed.map(|(name, _)| format!("{name} allows long functions")).collect());
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let silent = rust().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none(silent.map(|(name, _)| format!("{name} does not open with `//! `")).collect());
}

#[test]
fn unsafe_code_is_in_two_files() {
    let mut breaches = Vec::new();
    for (name, text) in rust() {
        let keyword = ["un", "safe"].concat();
        let uses = |line: &str| line.split(|c| !is_word(c)).any(|word| word == keyword);
        if !UNSAFE.contains(&name.as_str()) {
            let code = code(&text);
            let lines = (1..).zip(code.lines()).filter(|(_, line)| uses(line));
            breaches.extend(lines.map(|(at, _)| format!("{name}:{at}")));
        }
    }
    none(breaches);
}

#[test]
fn one_file_writes_for_the_command_line() {
    let mut breaches = Vec::new();
    for (name, text) in files("src", &["rs"]) {
        let code = code(&text);
        let code = without_tests(&code);
        if !WRITERS.contains(&name.as_str()) {
            let lines = (1..).zip(code.lines());
            let writes = |line: &str| line.contains("stdout()") || line.contains("stderr()");
            let lines = lines.filter(|(_, line)| writes(line) && !line.contains("use_stderr()"));
            breaches.extend(lines.map(|(at, line)| format!("{name}:{at}: {}", line.trim())));
        }
    }
    none(breaches);
}

#[test]
fn nothing_is_left_to_do_or_to_debug() {
    let macros = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let mut breaches = Vec::new();
    for (name, text) in rust() {
        for (at, line) in (1..).zip(code(&text).lines()) {
            let left = macros.iter().filter(|found| line.contains(found.as_str()));
            breaches.extend(left.map(|found| format!("{name}:{at}: {found}…)")));
        }
    }
    none(breaches);
}
