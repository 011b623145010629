//! `evalkit bench` against real runners in processes of their own: what is kept, what is not, and that
//! nothing measured is lost.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::fixtures::proxy;
use evalkit::device::protocol::frame::Frame;
use evalkit::results::RunFolder;
use evalkit::results::measurement::{AttemptOutcome, Measurement};
use serde_json::{Value, json};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const EVALKIT: &str = env!("CARGO_BIN_EXE_evalkit");

/// Packages of the demo, a runner's store, and a folder of reports.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    packages: Vec<PathBuf>,
}

impl Lab {
    pub(crate) fn new(recipes: &[&str]) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let package = |recipe: &&str| {
            let path = folder.path().join(recipe);
            let status = Command::new(EVALKIT)
                .args(["--quiet", "package", "--recipe", recipe, "--output"])
                .arg(&path)
                .stdout(Stdio::null())
                .status();
            assert!(status.unwrap().success());
            path
        };
        let packages = recipes.iter().map(package).collect();
        Lab { folder, packages }
    }

    fn command(&self, device: &str, more: &[&str]) -> Command {
        let mut command = Command::new(EVALKIT);
        command.args(["--quiet", "bench"]).args(&self.packages);
        command.args(["--device", device, "--prompt-tokens", "8"]).args(more);
        if !more.contains(&"--generate") {
            command.args(["--generate", "8"]);
        }
        command.arg("--reports").arg(self.folder.path().join("reports"));
        command.env("EVALKIT_RUNNER_TOKEN", TOKEN);
        command.env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        command
    }

    pub(crate) fn bench(&self, device: &str, more: &[&str], code: i32) -> Output {
        let output = self.command(device, more).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        output
    }

    pub(crate) fn run_folder(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.folder.path().join("reports")).unwrap();
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders.pop().unwrap()
    }

    pub(crate) fn measurements(&self) -> Vec<Measurement> {
        RunFolder::read(&self.run_folder()).unwrap().measured
    }

    pub(crate) fn kept(&self, device: &str) -> usize {
        let outcomes = outcomes(&self.measurements(), device);
        outcomes.iter().filter(|outcome| **outcome == AttemptOutcome::Kept).count()
    }
}

/// What became of the repetitions on a device.
fn outcomes(all: &[Measurement], device: &str) -> Vec<AttemptOutcome> {
    let of = |one: &Measurement| match one {
        Measurement::Repetition(one) if one.attempt.device == device => {
            Some(one.attempt.outcome.clone())
        }
        _ => None,
    };
    all.iter().filter_map(of).collect()
}

/// A runner that listens.
pub(crate) struct Listening {
    child: Child,
    pub(crate) port: u16,
}

impl Listening {
    pub(crate) fn start(store: &Path) -> Listening {
        let mut child = Command::new(EVALKIT)
            .args(["--quiet", "runner", "--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .env("EVALKIT_RUNNER_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let address = line["listening"].as_str().unwrap();
        Listening { port: address.rsplit(':').next().unwrap().parse().unwrap(), child }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Changes the JSON of answers.
pub(crate) fn edit(frame: &mut Frame, change: impl Fn(&mut Value)) {
    if let Frame::Control(bytes) = frame {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        *bytes = serde_json::to_vec(&value).unwrap();
    }
}

#[test]
fn the_host_is_measured_once_and_more_repetitions_go_on_where_it_ended() {
    let lab = Lab::new(&["palette4-g16-s", "palette2-g16-s"]);
    let output = lab.bench("host", &["--repetitions", "2", "--format", "json"], 0);
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = page["tables"][0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!((&row["kept"], &row["correctness"]), (&json!(2), &json!("correct")));
        assert!(row["decode_tokens_per_s"]["point"].as_f64().unwrap() > 0.0);
        assert!(row["footprint_peak_bytes"].as_f64().unwrap() > 1e6);
    }
    let measured = lab.measurements();
    let alone = measured.iter().filter_map(|one| match one {
        Measurement::DecodeAlone(one) => Some(one),
        _ => None,
    });
    let alone: Vec<_> = alone.collect();
    assert_eq!(alone.len(), 2, "each package was loaded once with decode alone");
    assert!(alone.iter().all(|one| one.loaded.functions == ["decode"] && one.fresh_process));
    let notes = page["tables"][0]["notes"].to_string();
    let told = notes.matches("peak memory with decode alone").count();
    assert!(told == 2 || cfg!(not(target_os = "linux")), "{notes}");
    let visits: Vec<(usize, String)> = lab
        .measurements()
        .iter()
        .filter_map(|one| match one {
            Measurement::Repetition(one) if one.attempt.outcome == AttemptOutcome::Kept => {
                Some((one.attempt.visit, one.attempt.package.clone()))
            }
            _ => None,
        })
        .collect();
    let [a, b, c, d] = &visits[..] else { panic!("{visits:?}") };
    assert!(a.1 == d.1 && b.1 == c.1 && a.1 != b.1, "A B B A: {visits:?}");
    let before = std::fs::read(lab.run_folder().join("measurements.jsonl")).unwrap();
    lab.bench("host", &["--repetitions", "2"], 0);
    assert_eq!(std::fs::read(lab.run_folder().join("measurements.jsonl")).unwrap(), before);
    lab.bench("host", &["--repetitions", "3"], 0);
    assert_eq!(lab.kept("host"), 6);
    let after = std::fs::read(lab.run_folder().join("measurements.jsonl")).unwrap();
    assert!(after.starts_with(&before));
}

#[test]
fn a_device_that_vanishes_costs_nothing_that_was_measured_and_no_other_device() {
    let lab = Lab::new(&["palette4-g16-s"]);
    let store = lab.folder.path().join("store");
    let mut phone = Listening::start(&store);
    let device = format!("tcp:127.0.0.1:{}", phone.port);
    let both = format!("{device},host");
    let mut bench = lab.command(&both, &["--repetitions", "40"]);
    let mut bench = bench.stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let reports = lab.folder.path().join("reports");
    let is_begun = || {
        let mut runs = std::fs::read_dir(&reports).into_iter().flatten().flatten();
        runs.any(|run| run.path().join("measurements.jsonl").exists())
    };
    while !(is_begun() && lab.kept(&device) >= 2) {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    phone.child.kill().unwrap();
    phone.child.wait().unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(3), "a device kept less than was asked");
    let kept = lab.kept(&device);
    assert!((2..40).contains(&kept), "{kept}");
    let outcomes = outcomes(&lab.measurements(), &device);
    let last = outcomes.last().unwrap();
    assert!(
        matches!(last, AttemptOutcome::Gone { .. } | AttemptOutcome::NotStarted { .. })
            || kept == outcomes.len() / 2,
        "{last:?}"
    );
    assert_eq!(lab.kept("host"), 40, "the other device was measured");
}

#[test]
fn a_runner_that_was_replaced_and_computes_something_else_is_wrong_and_its_speeds_are_struck_out() {
    let lab = Lab::new(&["palette4-g16-s"]);
    let phone = Listening::start(&lab.folder.path().join("store"));
    let is_replaced = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&is_replaced);
    let change = move |frame: &mut Frame| match frame {
        _ if !now.load(Ordering::SeqCst) => {}
        Frame::Logits { values, .. } => values.reverse(),
        frame => edit(frame, |answer| {
            if let Some(runner) = answer.pointer_mut("/result/runner") {
                *runner = json!("another runner");
            }
        }),
    };
    let device = format!("tcp:127.0.0.1:{}", proxy::start(phone.port, Arc::new(change)));
    lab.bench(&device, &["--repetitions", "1"], 0);
    is_replaced.store(true, Ordering::SeqCst);
    let output = lab.bench(&device, &["--repetitions", "1", "--format", "markdown"], 1);
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains("| WRONG |") && page.contains("~~"), "{page}");
    is_replaced.store(false, Ordering::SeqCst);
    lab.bench(&device, &["--repetitions", "1"], 0);
}

#[test]
fn what_a_simulation_measured_is_never_continued_by_another_runner() {
    let lab = Lab::new(&["palette4-g16-s"]);
    let phone = Listening::start(&lab.folder.path().join("store"));
    let simulates = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&simulates);
    let change = move |frame: &mut Frame| {
        edit(frame, |answer| {
            if let Some(simulated) = answer.pointer_mut("/result/simulated") {
                *simulated = json!(now.load(Ordering::SeqCst));
            }
        });
    };
    let port = proxy::start(phone.port, Arc::new(change));
    let device = format!("tcp:127.0.0.1:{port}");
    lab.bench(&device, &["--repetitions", "1"], 0);
    simulates.store(false, Ordering::SeqCst);
    let output = lab.bench(&device, &["--repetitions", "2"], 2);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("in this run were simulated on") && told.contains("--reports"), "{told}");
    assert_eq!(lab.kept(&device), 1, "nothing was measured");
    lab.bench(&device, &["--repetitions", "1"], 2);
    simulates.store(true, Ordering::SeqCst);
    lab.bench(&device, &["--repetitions", "2"], 0);
    assert_eq!(lab.kept(&device), 2);
}

#[test]
fn a_device_that_is_not_reached_says_what_to_do_and_is_exit_3_even_if_all_is_measured() {
    let lab = Lab::new(&["palette4-g16-s"]);
    let away = "tcp:127.0.0.1:1";
    let mut bench = Command::new(EVALKIT);
    bench.arg("bench").args(&lab.packages).args(["--device", "host,tcp:127.0.0.1:1"]);
    bench.args(["--prompt-tokens", "8", "--generate", "8", "--repetitions", "1", "--reports"]);
    bench.arg(lab.folder.path().join("reports")).env("EVALKIT_RUNNER_TOKEN", TOKEN);
    bench.env("XDG_CACHE_HOME", lab.folder.path().join("cache"));
    let output = bench.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("error: ")).collect();
    let [line] = lines[..] else { panic!("{told}") };
    assert!(line.starts_with(&format!("error: {away} was not reached: nothing listens")), "{line}");
    assert!(line.contains("; start the runner"), "{line}");
    let reason = lab.measurements().into_iter().find_map(|one| match one {
        Measurement::FailedStep(failed) => Some(failed.reason),
        _ => None,
    });
    assert!(reason.unwrap().contains("; start the runner"));
    assert_eq!(lab.kept("host"), 1);

    let phone = Listening::start(&lab.folder.path().join("store"));
    let device = format!("tcp:127.0.0.1:{}", phone.port);
    lab.bench(&device, &["--repetitions", "1"], 0);
    lab.bench(&device, &["--repetitions", "1"], 0);
    let refused = "f".repeat(32);
    let mut other = lab.command(&device, &["--repetitions", "1"]);
    let other = other.env("EVALKIT_RUNNER_TOKEN", refused).output().unwrap();
    assert_eq!(other.status.code(), Some(3), "another token: {other:?}");
    drop(phone);
    lab.bench(&device, &["--repetitions", "1"], 3);
    lab.bench(&device, &["--repetitions", "2"], 3);
}

#[test]
fn a_warm_device_is_waited_for_and_heat_that_rises_disturbs_a_repetition() {
    let lab = Lab::new(&["palette4-g16-s"]);
    let phone = Listening::start(&lab.folder.path().join("store"));
    let change = |from: usize, until: usize| -> Arc<proxy::Change> {
        let seen = AtomicUsize::new(0);
        Arc::new(move |frame: &mut Frame| {
            edit(frame, |answer| {
                if let Some(after) = answer.pointer_mut("/result/after")
                    && answer_is_generated(after)
                {
                    let at = seen.fetch_add(1, Ordering::SeqCst);
                    let hot = (from..until).contains(&at);
                    after["thermal"] = json!(if hot { "serious" } else { "nominal" });
                }
                if let Some(before) = answer.pointer_mut("/result/before") {
                    before["thermal"] = json!("nominal");
                }
            });
        })
    };
    // Answers with an `after`: the load that is checked, load and generation of decode alone, then load,
    // warm-up and repetition in turns.
    let port = proxy::start(phone.port, change(5, 6));
    let device = format!("tcp:127.0.0.1:{port}");
    lab.bench(&device, &["--repetitions", "2"], 0);
    let reasons: Vec<AttemptOutcome> = outcomes(&lab.measurements(), &device);
    let rejected =
        reasons.iter().filter(|outcome| matches!(outcome, AttemptOutcome::Rejected { .. }));
    assert_eq!((rejected.count(), lab.kept(&device)), (1, 2), "{reasons:?}");

    let hot = |frame: &mut Frame| {
        edit(frame, |answer| {
            if answer.pointer("/result/at_ms").is_some() {
                answer["result"]["thermal"] = json!("fair");
            }
        });
    };
    let port = proxy::start(phone.port, Arc::new(hot));
    let device = format!("tcp:127.0.0.1:{port}");
    lab.bench(&device, &["--repetitions", "1", "--wait", "0s"], 3);
    let of = |one: &Measurement| match one {
        Measurement::Load(load) if load.attempt.device == device => {
            load.attempt.outcome.reason().map(|(how, why)| format!("{how}: {why}"))
        }
        _ => None,
    };
    let told: Vec<String> = lab.measurements().iter().filter_map(of).collect();
    assert_eq!(told, ["not started: the thermal state is fair"]);
}

fn answer_is_generated(after: &Value) -> bool {
    after.is_object()
}

#[test]
fn no_device_is_exit_3_and_bad_questions_are_exit_2() {
    let lab = Lab::new(&["palette4-g16-s"]);
    let table = String::from_utf8(lab.bench("tcp:127.0.0.1:1", &[], 3).stdout).unwrap();
    assert!(table.contains("nothing listens there"), "{table}");
    for (more, part) in [
        (&["--generate", "100000"][..], "the cache holds 256 tokens"),
        (&["--repetitions", "0"], "1 repetition"),
        (&["--sustained", "soon"], "expected a time such as 10m"),
        (&["--compute-units", "gpu"], "expected one of cpu, cpu-and-gpu"),
        (&["--text", "/nowhere.txt"], "/nowhere.txt"),
    ] {
        let output = lab.command("host", more).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {told}");
        assert!(told.contains(part), "{more:?}: {told}");
    }
}

#[test]
fn packages_whose_files_are_not_those_that_were_written_are_not_measured() {
    let lab = Lab::new(&["palette4-g16-s"]);
    let weights = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin";
    let path = lab.packages[0].join(weights);
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let told = String::from_utf8(lab.bench("host", &["--repetitions", "1"], 2).stderr).unwrap();
    assert!(told.contains("weight.bin: expected SHA-256 "), "{told}");
    std::fs::write(&path, whole).unwrap();
    let tokenizer = lab.packages[0].join("tokenizer.json");
    std::fs::remove_file(&tokenizer).unwrap();
    let told = String::from_utf8(lab.bench("host", &["--repetitions", "1"], 2).stderr).unwrap();
    assert!(told.contains("tokenizer.json: the file is missing"), "{told}");
}
