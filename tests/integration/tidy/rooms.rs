//! Which room of `src/` may use which, and that no files use one another in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Modules, Uses, rooms};
use super::none;
use super::source::files;

/// Every room of `src/` and the rooms that it may use.
const ROOMS: [(&str, &[&str]); 18] = [
    ("run", &BELOW_RUN),
    ("escape", &[]),
    ("error", &["escape"]),
    ("units", &[]),
    ("files", &["error", "units"]),
    ("checkpoint", &["error", "units", "files"]),
    ("quantize", &["error", "units"]),
    ("model", &["checkpoint", "error"]),
    ("eval", &["checkpoint", "quantize", "model", "results", "error", "units", "files"]),
    ("calibrate", &EVAL_AND_BELOW),
    ("allocate", &EVAL_AND_BELOW),
    ("package", &["checkpoint", "quantize", "model", "eval", "error", "units", "files"]),
    ("device", &["results", "package", "error", "units", "files"]),
    ("results", &["error", "units", "files"]),
    ("stats", &["units"]),
    ("compare", &["results", "stats", "units", "error"]),
    ("report", &["results", "stats", "compare", "units", "error", "escape"]),
    ("demo", &["checkpoint", "error"]),
];

const EVAL_AND_BELOW: [&str; 8] =
    ["eval", "checkpoint", "quantize", "model", "results", "error", "units", "files"];

const BELOW_RUN: [&str; 17] = [
    "escape",
    "error",
    "units",
    "files",
    "checkpoint",
    "quantize",
    "model",
    "eval",
    "calibrate",
    "allocate",
    "package",
    "device",
    "results",
    "stats",
    "compare",
    "report",
    "demo",
];

/// What may use every room, and what no room may use.
const ROOFS: [&str; 3] = ["cli", "lib", "main"];

/// The circle that stays: a builder, and the call that it is building.
const BUILDER_AND_CALL: [&str; 2] = ["src/package/mil/call.rs", "src/package/mil/function.rs"];

fn room(name: &str) -> &str {
    name["src/".len()..].split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let mut breaches = Vec::new();
    for (name, text) in files("src", &["rs"]) {
        let room = room(&name);
        if ROOFS.contains(&room) {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(known, _)| *known == room) else {
            breaches.push(format!("{name}: the room `{room}` is not in the table"));
            continue;
        };
        for used in rooms(&name, &text) {
            let used = used.as_str();
            let is_room = ROOFS.contains(&used) || ROOMS.iter().any(|(known, _)| *known == used);
            if used != room && is_room && !allowed.contains(&used) {
                breaches.push(format!("{name}: `{room}` may not use `{used}`"));
            }
        }
    }
    none(breaches);
}

#[test]
fn every_room_of_the_table_exists() {
    let exists: BTreeSet<String> =
        files("src", &["rs"]).keys().map(|name| room(name).to_owned()).collect();
    let absent = ROOMS.iter().filter(|(room, _)| !exists.contains(*room));
    none(absent.map(|(room, _)| format!("there is no src/{room}.rs and no src/{room}/")).collect());
}

/// The files that can be reached from `start` by going from a file to those that it uses.
fn reached_from<'a>(uses: &'a Uses, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = uses[start].iter().map(String::as_str).collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(uses[file].iter().map(String::as_str));
        }
    }
    reached
}

/// The circles among files: every largest set of files that all reach one another.
fn circles(uses: &Uses) -> BTreeSet<BTreeSet<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|file| (file.as_str(), reached_from(uses, file))).collect();
    let circle = |file: &&str| -> BTreeSet<&str> {
        reached[file].iter().copied().filter(|other| reached[other].contains(file)).collect()
    };
    reached.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

/// A module's `mod.rs` holds its central types, which the files below it use, and hands work down to
/// those files. What it hands down is no step of a circle; every other use of one file by another is.
#[test]
fn no_files_use_one_another_in_a_circle() {
    let modules = Modules::read();
    let mut uses = modules.uses();
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 1000, "imports are not found");
    for (front, used) in &mut uses {
        used.retain(|file| !modules.is_below(file, front));
    }
    let allowed = BTreeSet::from(BUILDER_AND_CALL);
    let found = circles(&uses).into_iter().filter(|circle| *circle != allowed);
    let text = |circle: BTreeSet<&str>| {
        let steps = circle.iter().flat_map(|file| {
            let next = uses[*file].iter().filter(|next| circle.contains(next.as_str()));
            next.map(move |next| format!("\n  {file} uses {next}"))
        });
        format!("a circle of {} files:{}", circle.len(), steps.collect::<String>())
    };
    none(found.map(text).collect());
}

#[test]
fn circles_are_found() {
    let uses = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a"), ("e", "e")];
    let uses: Uses =
        uses.map(|(file, used)| (file.to_owned(), BTreeSet::from([used.to_owned()]))).into();
    let found = circles(&uses);
    assert_eq!(found, BTreeSet::from([BTreeSet::from(["b", "c"]), BTreeSet::from(["e"])]));
}

#[test]
fn commands_never_import_one_another() {
    let files = files("src/cli", &["rs"]);
    let commands: BTreeSet<&String> =
        files.iter().filter(|(_, text)| text.starts_with("//! `evalkit ")).map(|f| f.0).collect();
    assert!(commands.len() > 10, "found only the commands {commands:?}");
    let modules = Modules::read();
    let mut breaches = Vec::new();
    for (name, used) in modules.uses() {
        let is_asked = name.starts_with("src/cli/") && name != "src/cli/mod.rs";
        let commands = used.iter().filter(|file| commands.contains(file));
        let foreign = commands.filter(|file| is_asked && !modules.is_below(file, &name));
        breaches.extend(foreign.map(|file| format!("{name} uses the command {file}")));
    }
    none(breaches);
}
