//! What README and docs claim is true when typed: the demo's table, commands, flags, the plan, links,
//! and the messages that troubleshooting quotes.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::process::Command;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

/// Numbers in the README's table may be off by this share: another processor rounds differently.
const TOLERANCE: f64 = 0.02;

fn evalkit() -> Command {
    Command::new(env!("CARGO_BIN_EXE_evalkit"))
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let talk = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?} failed: {talk}");
    String::from_utf8(output.stdout).unwrap()
}

/// The rows of the table between two markers, cell by cell.
fn rows(markdown: &str) -> Vec<Vec<String>> {
    let rows = markdown.lines().filter(|line| line.starts_with("| "));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn numbers(cell: &str) -> Vec<f64> {
    let words = cell.split(|c: char| !(c.is_ascii_digit() || ".e-".contains(c)));
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_demo_table_is_what_the_command_prints() {
    let start = README.find("<!-- evalkit: reports/demo ladder -->").unwrap();
    let end = start + README[start..].find("<!-- /evalkit -->").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = evalkit();
    command
        .args(["sweep", "--limit", "16", "--format", "markdown", "--reports"])
        .arg(folder.path());
    let (claimed, found) = (rows(&README[start..end]), rows(&stdout(&mut command)));
    assert_eq!(claimed.len(), found.len(), "rows");
    for (claimed, found) in claimed.iter().flatten().zip(found.iter().flatten()) {
        let (a, b) = (numbers(claimed), numbers(found));
        assert_eq!(a.len(), b.len(), "{claimed} was claimed, {found} found");
        if a.is_empty() {
            assert_eq!(claimed, found);
        }
        for (a, b) in a.iter().zip(&b) {
            let allowed = TOLERANCE * a.abs().max(b.abs()) + 0.01;
            assert!((a - b).abs() <= allowed, "{claimed} was claimed, {found} found");
        }
    }
}

#[test]
fn the_plan_runs_as_it_stands() {
    let page = std::fs::read_to_string(root().join("docs/sweep.md")).unwrap();
    let start = page.find("# evalkit sweep --plan plan.toml").unwrap();
    let plan = &page[start..start + page[start..].find("```").unwrap()];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, plan).unwrap();
    let reports = folder.path().join("reports");
    let mut command = evalkit();
    command.args(["sweep", "--limit", "2", "--plan"]).arg(&path).arg("--reports").arg(&reports);
    let table = stdout(&mut command);
    assert!(table.contains("int8+embed:int8+head:int8"), "{table}");
}

const COMMANDS: [&str; 14] = [
    "sweep",
    "perplexity",
    "inspect",
    "calibrate",
    "quantize",
    "package",
    "verify",
    "devices",
    "bench",
    "runner",
    "report",
    "check",
    "baseline",
    "completions",
];

/// Flags on the pages that are of other programs.
const OTHER_FLAGS: [&str; 11] = [
    "--example",
    "--bench",
    "--release",
    "--locked",
    "--path",
    "--no-deps",
    "--open",
    "--features",
    "--sanitizer",
    "--merge",
    "--help",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and every page of docs, with its path from the root.
fn pages() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let names = docs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut paths: Vec<String> = names.map(|name| format!("docs/{name}")).collect();
    paths.extend(["README.md", "reports/METHOD.md", "datasets/README.md"].map(str::to_owned));
    paths.sort();
    let read = |path: String| {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The name by which a page links to one of its titles, as GitHub makes it.
fn anchor(title: &str) -> String {
    let title = title.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

#[test]
fn every_command_is_in_the_readme_and_has_a_help_text() {
    for command in COMMANDS {
        assert!(README.contains(&format!("`evalkit {command}`")), "{command} is not in the README");
        stdout(evalkit().args([command, "--help"]));
    }
}

#[test]
fn the_readme_is_short() {
    let words = README.split_whitespace().count();
    assert!(words <= 1200, "{words} words");
}

#[test]
fn every_link_leads_to_a_file_and_a_section_that_exist() {
    for (page, text) in pages() {
        let folder = root().join(&page).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, section) = link.split_once('#').unwrap_or((link, ""));
            let path = if file.is_empty() { root().join(&page) } else { folder.join(file) };
            assert!(path.exists(), "{page}: {link} is linked but absent");
            if !section.is_empty() {
                let target = std::fs::read_to_string(path).unwrap();
                let mut titles = target.lines().filter(|line| line.starts_with('#'));
                assert!(titles.any(|title| anchor(title) == section), "{page}: {link}: no section");
            }
        }
    }
}

#[test]
fn every_flag_exists() {
    let subcommands = ["devices install", "baseline accept", "baseline list"];
    let helped = COMMANDS
        .iter()
        .chain(&subcommands)
        .map(|command| stdout(evalkit().args(command.split(' ')).arg("--help")));
    let help: String = helped.collect();
    let known = flags(&help);
    for (page, text) in pages() {
        for flag in flags(&text) {
            let is_known = known.contains(&flag) || OTHER_FLAGS.contains(&flag);
            assert!(is_known, "{page}: {flag} is in no help text");
        }
    }
}

/// Every word that begins with two dashes and a letter.
fn flags(text: &str) -> Vec<&str> {
    let is_flag = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let words = text.split(|c: char| !is_flag(c));
    words.filter(|word| word.starts_with("--") && word.len() > 3).collect()
}

#[test]
fn every_message_that_is_quoted_is_in_the_sources() {
    let mut sources = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                None => folders.push(path),
                Some(end) if end == "rs" => {
                    sources.push_str(&std::fs::read_to_string(path).unwrap());
                }
                Some(_) => {}
            }
        }
    }
    // A line that ends in a backslash goes on where the next begins to say something.
    let joined: Vec<&str> = sources.split("\\\n").map(str::trim_start).collect();
    let joined = joined.concat();
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let quoted = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let quoted: Vec<&str> = quoted.collect();
    assert!(quoted.len() > 50, "{} messages", quoted.len());
    for message in quoted {
        for fixed in message.split('…').map(str::trim).filter(|fixed| !fixed.is_empty()) {
            assert!(joined.contains(fixed), "{message:?}: {fixed:?} is in no source");
        }
    }
}
