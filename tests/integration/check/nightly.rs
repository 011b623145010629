//! The page about nightly jobs says what works: its commands are read from it and run.

use std::path::Path;
use std::process::Command;

use super::night::Nights;
use crate::fixtures::run;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci.md"));

/// The contents of the page's blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let of = PAGE.split("```").skip(1).step_by(2);
    of.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// Runs a line of the page in a shell that finds the program.
fn shell(nights: &Nights, line: &str) {
    let program = assert_cmd::cargo::cargo_bin!("evalkit");
    let folder = Path::new(&program).parent().unwrap();
    let path = std::env::join_paths(
        [folder.to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut command = Command::new("sh");
    command.args(["-euc", line]).current_dir(nights.path("evalkit")).env("PATH", path.unwrap());
    command.env("HOME", nights.path(".")).env("GITHUB_RUN_ID", "1234");
    command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
    run(&mut command, 0);
}

#[test]
fn the_commands_of_the_page_run_as_they_stand() {
    let nights = Nights::new();
    std::fs::create_dir(nights.path("evalkit")).unwrap();
    let [plan] = blocks("toml")[..] else { panic!("expected one plan") };
    std::fs::write(nights.path("evalkit/nightly.toml"), plan).unwrap();
    let once = blocks("sh").into_iter().flat_map(str::lines);
    once.for_each(|line| shell(&nights, line));

    let [job] = blocks("yaml")[..] else { panic!("expected one CI file") };
    let steps = job.lines().filter_map(|line| line.trim_start().strip_prefix("run: evalkit "));
    let steps: Vec<&str> = steps.collect();
    assert_eq!(steps.len(), 3, "{steps:?}");
    steps.iter().for_each(|step| shell(&nights, &format!("evalkit {step}")));
    assert!(nights.path("evalkit/check/junit.xml").exists());

    let [line] = blocks("cron")[..] else { panic!("expected one cron line") };
    let command = line.trim().splitn(6, ' ').last().unwrap().replace("\\%", "%");
    shell(&nights, &command);
    let said = std::fs::read_to_string(nights.path("evalkit/last.txt")).unwrap();
    assert!(said.contains("no regression"), "{said}");
}

#[test]
fn the_plan_of_the_page_shows_the_defaults() {
    let [plan] = blocks("toml")[..] else { panic!("expected one plan") };
    let plan: toml::Table = plan.parse().unwrap();
    let shown = plan["check"].as_table().unwrap();
    for (key, limit) in evalkit::compare::DEFAULTS {
        let shown = &shown[key];
        let text = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
        assert_eq!(text, limit, "{key}");
    }
}
