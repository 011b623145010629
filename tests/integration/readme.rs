//! What the README claims is true when typed: its table, its commands, its plan.
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
    let start = README.find("# evalkit sweep --plan plan.toml").unwrap();
    let plan = &README[start..start + README[start..].find("```").unwrap()];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, plan).unwrap();
    let reports = folder.path().join("reports");
    let mut command = evalkit();
    command.args(["sweep", "--limit", "2", "--plan"]).arg(&path).arg("--reports").arg(&reports);
    let table = stdout(&mut command);
    assert!(table.contains("int8+embed:int8+head:int8"), "{table}");
}

#[test]
fn every_command_and_every_file_that_is_named_exists() {
    let commands = [
        "sweep",
        "perplexity",
        "quantize",
        "package",
        "verify",
        "inspect",
        "check",
        "baseline",
        "devices",
        "bench",
        "runner",
        "report",
        "completions",
    ];
    for command in commands {
        assert!(README.contains(&format!("evalkit {command}")), "{command} is not in the README");
        stdout(evalkit().args([command, "--help"]));
    }
    let links = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        let (file, section) = link.split_once('#').unwrap_or((link, ""));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        assert!(path.exists(), "{} is linked but absent", path.display());
        let anchor = |title: &str| title.trim_start_matches(['#', ' ']).to_lowercase();
        let anchor = |title: &str| anchor(title).replace(' ', "-").replace([',', '.'], "");
        if !section.is_empty() {
            let page = std::fs::read_to_string(path).unwrap();
            let mut titles = page.lines().filter(|line| line.starts_with('#'));
            assert!(titles.any(|title| anchor(title) == section), "{link}: no such section");
        }
    }
}
