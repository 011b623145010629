//! Interrupted runs: killed, stopped, torn, damaged; the same command then leaves the bytes of an
//! uninterrupted run, or says why it will not.
#![allow(clippy::unwrap_used, clippy::print_stderr)]
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fixtures::{Place, Tiny, run, told};
use evalkit::results::Store;

const RECIPES: [&str; 8] = [
    "--recipes",
    "palette4,palette2-g16-a8,palette1",
    "--calibrate",
    "other.txt",
    "--calibration-windows",
    "3",
    "--activation-range",
    "minmax",
];

/// Tokens of 24 windows.
const MANY_TOKENS: usize = 15 * 24;

/// A place whose walk has many passes, and the arguments that make it so.
fn many_passes() -> (Place, Vec<String>) {
    let place = Place::new(&Tiny::default(), MANY_TOKENS);
    let mut args: Vec<String> = RECIPES.map(String::from).into();
    args.extend(["--threads".into(), "2".into(), "--memory".into()]);
    args.push(place.budget(1, &[&RECIPES[..], &["--threads", "2"]].concat()));
    (place, args)
}

fn sweep(place: &Place, args: &[String]) -> Command {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    place.sweep(&args)
}

/// What an uninterrupted run of the same command leaves, in a place of its own.
fn uninterrupted(model: &Tiny, tokens: usize, args: &[String]) -> String {
    let place = Place::new(model, tokens);
    run(&mut sweep(&place, args), 0);
    place.records()
}

/// Bytes in the only run's `records.jsonl`; 0 before there is one.
fn recorded(place: &Place) -> u64 {
    let entry = std::fs::read_dir(place.path("reports")).ok().and_then(|mut dir| dir.next());
    let path = entry.and_then(Result::ok).map(|entry| entry.path().join("records.jsonl"));
    path.and_then(|path| path.metadata().ok()).map_or(0, |meta| meta.len())
}

/// Lets the child run until the records have grown past `bytes`; `false` if it ended before.
fn runs_past(child: &mut Child, place: &Place, bytes: u64) -> bool {
    while child.try_wait().unwrap().is_none() {
        if recorded(place) > bytes {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn killed_again_and_again_a_run_ends_with_the_records_of_an_uninterrupted_one() {
    let (place, args) = many_passes();
    let whole = uninterrupted(&Tiny::default(), MANY_TOKENS, &args);
    let mut kills = 0;
    loop {
        let mut child = sweep(&place, &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.as_mut().unwrap();
        // A step that is no multiple of a record's size, so that kills meet different moments.
        let step = (kills * 937) % 5000;
        if !runs_past(child, &place, recorded(&place) + step) {
            assert_eq!(child.wait().unwrap().code(), Some(0));
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills >= 4, "only {kills} kills before the end");
    assert!(place.records() == whole, "records differ after {kills} kills");
}

#[test]
fn cut_after_any_byte_a_run_ends_with_the_records_of_an_uninterrupted_one() {
    let (place, args) = many_passes();
    run(&mut sweep(&place, &args), 0);
    let whole = place.records();
    let file = place.run_folder().join("records.jsonl");
    let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at + 1).collect();
    let last_window = ends[ends.len() - 5];
    let cuts = [0, 1, ends[0], ends[0] + 9, ends[3], whole.len() / 3, whole.len() / 2];
    for kept in cuts.into_iter().chain([last_window, ends[ends.len() - 3] + 5, whole.len() - 1]) {
        std::fs::write(&file, &whole[..kept]).unwrap();
        let said = told(&run(&mut sweep(&place, &args), 0));
        let torn = kept - ends.iter().rfind(|&&end| end <= kept).copied().unwrap_or(0);
        let note = format!("removed the last {torn} bytes of the records");
        assert_eq!(said.contains(&note), torn > 0, "cut after {kept}: {said}");
        assert!(place.records() == whole, "records differ when cut after {kept} bytes");
    }
}

/// Deep enough that a signal arrives before the walk ends.
fn deep() -> Tiny {
    Tiny { layers: 24, ..Tiny::default() }
}

const DEEP_TOKENS: usize = 15 * 12;

/// A run on a deep model that Ctrl-C stopped inside its walk.
fn stopped() -> Place {
    let place = Place::new(&deep(), DEEP_TOKENS);
    let mut child =
        place.sweep(&RECIPES).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.starts_with("writing records to reports/"), "{said}");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    stderr.read_to_string(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(
        said.ends_with("error: interrupted\nhint: run the same command again to continue\n"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
    place
}

fn deep_records() -> String {
    uninterrupted(&deep(), DEEP_TOKENS, &RECIPES.map(String::from))
}

#[test]
fn stopped_by_ctrl_c_a_walk_goes_on_at_its_layer() {
    let place = stopped();
    let folder = place.run_folder();
    assert!(folder.join("walk.state").exists());
    let sessions = std::fs::read_to_string(folder.join("sessions.jsonl")).unwrap();
    assert!(sessions.contains("\"outcome\":\"interrupted\""), "{sessions}");
    // What a kill leaves of a state that was being written.
    std::fs::write(folder.join(".walk.state.1.part"), "half").unwrap();
    let said = told(&run(&mut place.sweep(&RECIPES), 0));
    assert!(said.contains("continuing at layer ") && said.contains(" of 24"), "{said}");
    assert!(place.records() == deep_records());
    assert!(!folder.join("walk.state").exists() && !folder.join(".walk.state.1.part").exists());
}

#[test]
fn a_damaged_state_is_ignored() {
    let place = stopped();
    let whole = deep_records();
    let folder = place.run_folder();
    let (state, records) = (folder.join("walk.state"), folder.join("records.jsonl"));
    let (kept, begun) = (std::fs::read(&state).unwrap(), std::fs::read(&records).unwrap());
    let flipped = |at: usize| {
        let mut bytes = kept.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    // Magic, version, key, next layer, lanes, a hash of codes, hidden states, the hash of it all.
    let mut damaged: Vec<Vec<u8>> =
        [0, 8, 12, 44, 48, 52, kept.len() / 2, kept.len() - 1].map(flipped).into();
    damaged.extend([Vec::new(), kept[..kept.len() / 3].to_vec(), kept[..kept.len() - 1].to_vec()]);
    for bytes in damaged {
        std::fs::write(&state, bytes).unwrap();
        std::fs::write(&records, &begun).unwrap();
        let said = told(&run(&mut place.sweep(&RECIPES), 0));
        assert!(!said.contains("going on"), "{said}");
        assert!(place.records() == whole);
    }
}

/// Every file of a folder with its content.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|p| (p.clone(), std::fs::read(p).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn a_checkpoint_or_text_replaced_between_the_halves_is_refused_and_nothing_is_lost() {
    let place = stopped();
    let before = content(&place.run_folder());
    let refused = |what: &str| {
        let output = run(&mut place.sweep(&RECIPES), 2);
        let said = told(&output);
        let folder = place.run_folder();
        let folder = folder.file_name().unwrap().to_string_lossy();
        let start = format!(
            "error: reports/{folder}: the {what} has changed since this run began: its hash "
        );
        assert!(said.starts_with(&start), "{said}");
        let hint = "hint: its records are kept; to measure again, move the folder away or name \
                    another with --reports\n";
        assert!(said.ends_with(hint) && output.stdout.is_empty(), "{said}");
        assert!(content(&place.run_folder()) == before, "the folder was touched");
    };
    Tiny { seed: 2, ..deep() }.write(&place.model());
    refused("model");
    deep().write(&place.model());
    let text = std::fs::read_to_string(place.path("text.txt")).unwrap();
    std::fs::write(place.path("text.txt"), text.replacen('a', "b", 1)).unwrap();
    refused("text");
    std::fs::write(place.path("text.txt"), text).unwrap();
    let said = told(&run(&mut place.sweep(&RECIPES), 0));
    assert!(said.contains("continuing at layer "), "{said}");
    assert!(place.records() == deep_records());
}

#[test]
fn a_disk_that_fills_up_ends_the_run_and_loses_nothing() {
    let (place, args) = many_passes();
    let whole = uninterrupted(&Tiny::default(), MANY_TOKENS, &args);
    let unlimited = sweep(&place, &args);
    // Some shells count blocks of 512 bytes, others of 1,024: a third of the records, or two.
    let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", whole.len() / 1536);
    let mut limited = Command::new("sh");
    limited.args(["-c", &limit, "sh"]);
    limited.arg(unlimited.get_program()).args(unlimited.get_args());
    limited.current_dir(place.path("."));
    let output = run(&mut limited, 3);
    let said = told(&output);
    assert!(said.contains("/records.jsonl: cannot append: File too large (os error 27)"), "{said}");
    let hint =
        "hint: nothing measured before is lost; free disk space and run the same command again\n";
    assert!(said.ends_with(hint) && output.stdout.is_empty(), "{said}");
    let kept = place.records();
    assert!(kept.contains("\"kind\":\"window\"") && whole.starts_with(&kept), "{kept}");
    run(&mut sweep(&place, &args), 0);
    assert!(place.records() == whole);
}

#[test]
fn records_that_are_a_device_are_refused() {
    let place = Place::new(&Tiny::default(), 100);
    run(&mut place.sweep(&RECIPES), 0);
    let records = place.run_folder().join("records.jsonl");
    std::fs::remove_file(&records).unwrap();
    let device = if cfg!(target_os = "linux") { "/dev/full" } else { "/dev/null" };
    std::os::unix::fs::symlink(device, &records).unwrap();
    let said = told(&run(&mut place.sweep(&RECIPES), 3));
    let expected = "/records.jsonl: expected a file to append to, found a device or pipe\n";
    assert!(said.ends_with(expected), "{said}");
}

#[test]
fn a_report_folder_that_cannot_be_made_is_refused() {
    let place = Place::new(&Tiny::default(), 100);
    std::fs::write(place.path("file"), "in the way").unwrap();
    let mut cases = vec![("file", "Not a directory"), ("file/below", "Not a directory")];
    if cfg!(target_os = "linux") {
        cases.push(("/proc/reports", "No such file"));
    }
    for (reports, cause) in cases {
        let output = run(&mut place.sweep(&["--reports", reports]), 2);
        let said = told(&output);
        assert!(said.starts_with(&format!("error: {reports}/")), "{said}");
        assert!(said.contains(&format!("cannot create: {cause}")), "{said}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(std::fs::read_to_string(place.path("file")).unwrap(), "in the way");
}

#[test]
fn a_second_run_on_one_folder_is_refused_while_the_first_holds_it() {
    let place = Place::new(&Tiny::default(), 100);
    run(&mut place.sweep(&RECIPES), 0);
    let held = Store::open(&place.run_folder()).unwrap();
    let said = told(&run(&mut place.sweep(&RECIPES), 3));
    assert!(
        said.contains("/records.jsonl: another evalkit is writing this folder\nhint: "),
        "{said}"
    );
    drop(held);
    let said = told(&run(&mut place.sweep(&RECIPES), 0));
    assert!(said.starts_with("everything was already measured, in reports/"), "{said}");
}
