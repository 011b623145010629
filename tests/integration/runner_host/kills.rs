//! The process killed within a job, as a phone's system does: nothing runs twice unseen.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Runner, demo, generate, job, load};

/// Waits until the journal has the start of a job.
fn wait_for_start(runner: &Runner, job: &str) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let text = std::fs::read_to_string(runner.store.join("journal.jsonl")).unwrap();
        if text.contains(job) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the job does not start");
}

/// Starts `ask` with a new job until a kill comes before its end; gives the job's name.
fn killed_within(runner: &mut Runner, needs_model: bool, ask: impl Fn(&str) -> Value) -> String {
    for _ in 0..50 {
        let mut client = runner.session();
        client.send_package(demo());
        if needs_model {
            client.load(&demo().content.package(), &job());
        }
        let job = job();
        client.begin(ask(&job));
        wait_for_start(runner, &job);
        runner.kill_and_restart();
        let text = std::fs::read_to_string(runner.store.join("journal.jsonl")).unwrap();
        if text.lines().filter(|line| line.contains(&job)).count() == 1 {
            return job;
        }
    }
    panic!("every job ended before it was killed");
}

#[test]
fn a_load_within_which_the_process_was_killed_is_known_as_that() {
    let mut runner = Runner::start();
    let package = demo().content.package();
    let job = killed_within(&mut runner, false, |job| load(&package, job, 1));
    let mut client = runner.session();
    let failed = client.fails(load(&package, &job, 1), "interrupted");
    assert_eq!((&failed["attempt"], &failed["replayed"]), (&json!(1), &json!(true)));
    client.fails(generate(&super::client::job(), 1, 1), "not_loaded");
    let done = client.done(load(&package, &job, 2));
    assert_eq!((&done["attempt"], &done["replayed"]), (&json!(2), &json!(false)));
    let again = client.done(load(&package, &job, 3));
    assert_eq!((&again["attempt"], &again["replayed"]), (&json!(2), &json!(true)));
    client.done(generate(&super::client::job(), 1, 2));
}

#[test]
fn a_generation_within_which_the_process_was_killed_runs_again_only_when_asked() {
    let mut runner = Runner::start();
    let package = demo().content.package();
    let job = killed_within(&mut runner, true, |job| generate(job, 4, 250));
    let mut client = runner.session();
    for attempt in [1, 4] {
        let failed = client.fails(generate(&job, attempt, 250), "interrupted");
        assert_eq!(failed["attempt"], 4);
    }
    client.fails(generate(&job, 5, 249), "bad_request");
    client.fails(generate(&job, 5, 250), "not_loaded");
    client.load(&package, &super::client::job());
    let done = client.done(generate(&job, 5, 250));
    assert_eq!((&done["attempt"], &done["replayed"]), (&json!(5), &json!(false)));
    drop(client);
    runner.still_works();
}
