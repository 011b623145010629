//! Runners that misbehave: every fault ends in an outcome of its kind in bounded time, nothing runs
//! twice, and the next job succeeds.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::fixtures::fake_runner::{FakeRunner, Fault, TOKEN};
use evalkit::device::client::answer::Logits;
use evalkit::device::client::outcome::LossReason;
use evalkit::device::client::{
    Limits, Options, Package, RequestOutcome, Runner, Target, Token, new_job,
};
use evalkit::device::protocol::message::{Code, Job};
use evalkit::device::protocol::result::Generated;

const MIB: usize = 1 << 20;

fn options() -> Options {
    let limits = Limits {
        handshake: Duration::from_millis(300),
        silence: Duration::from_millis(300),
        request: Duration::from_secs(5),
        put: Duration::from_secs(1),
        load: Duration::from_secs(1),
        job: Duration::from_secs(2),
        token: Duration::ZERO,
        reconnect: Duration::from_secs(2),
        losses: 3,
    };
    Options { token: Some(TOKEN.parse().unwrap()), limits, ..Options::default() }
}

fn target(fake: &FakeRunner) -> Target {
    Target::Tcp { host: "127.0.0.1".into(), port: fake.port }
}

fn connected(faults: &[Fault]) -> (FakeRunner, Runner) {
    let fake = FakeRunner::start(faults);
    let runner = Runner::connect(&target(&fake), &options()).unwrap();
    (fake, runner)
}

fn generate(runner: &mut Runner) -> RequestOutcome<Generated> {
    runner.generate(&new_job(), &[1, 2], 4, 0).unwrap()
}

fn succeeds(runner: &mut Runner) {
    match generate(runner) {
        RequestOutcome::Finished(done) => {
            assert_eq!((done.value.ids.len(), done.replayed), (4, false))
        }
        other => panic!("the next job failed: {other:?}"),
    }
}

#[test]
fn greetings_that_go_wrong_are_told_apart_and_say_how_to_mend_them() {
    for (fault, part) in [
        (Fault::Version, "speaks version 2"),
        (Fault::SilentGreeting, "no greeting came within"),
        (Fault::GarbageGreeting, "violates the protocol"),
    ] {
        let fake = FakeRunner::start(&[fault]);
        let error = Runner::connect(&target(&fake), &options()).unwrap_err();
        assert!(error.to_string().contains(part), "{fault:?}: {error}");
        assert!(error.exit().code() == 3 && error.advice().is_some(), "{fault:?}: {error}");
        succeeds(&mut Runner::connect(&target(&fake), &options()).unwrap());
    }
    let fake = FakeRunner::start(&[Fault::CloseAtOnce; 30]);
    let error = Runner::connect(&target(&fake), &options()).unwrap_err();
    assert!(error.to_string().contains("closed the connection without a greeting"), "{error}");
    assert!(error.exit().code() == 3 && error.advice().is_some(), "{error}");
    let fake = FakeRunner::start(&[]);
    let wrong = Options { token: Some(Token::random()), ..options() };
    let error = Runner::connect(&target(&fake), &wrong).unwrap_err();
    assert!(error.advice().unwrap().contains("--token"), "{error}");
    let absent = Target::Tcp { host: "127.0.0.1".into(), port: 1 };
    let error = Runner::connect(&absent, &options()).unwrap_err();
    assert!(error.to_string().contains("nothing listens there"), "{error}");
}

#[test]
fn a_runner_that_is_busy_for_a_moment_is_waited_for() {
    let (fake, mut runner) = connected(&[Fault::Busy]);
    succeeds(&mut runner);
    assert_eq!(fake.state.lock().unwrap().sessions, 2);
}

#[test]
fn a_runner_that_closes_connections_before_it_greets_is_greeted_again() {
    let (fake, mut runner) = connected(&[Fault::CloseAtOnce; 2]);
    succeeds(&mut runner);
    assert_eq!(fake.state.lock().unwrap().sessions, 3);
}

#[test]
fn answers_that_violate_the_protocol_end_the_request_and_the_next_job_succeeds() {
    for fault in [Fault::LongFrame, Fault::GarbageAnswer, Fault::OtherId] {
        let (_fake, mut runner) = connected(&[fault]);
        match generate(&mut runner) {
            RequestOutcome::Gone(gone) => {
                assert_eq!(gone.reason, LossReason::ProtocolViolation, "{fault:?}")
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        succeeds(&mut runner);
    }
}

#[test]
fn a_job_is_asked_for_again_after_a_cut_and_answered_from_the_journal() {
    for fault in [Fault::CutJob, Fault::SilentJob] {
        let (fake, mut runner) = connected(&[fault]);
        match generate(&mut runner) {
            RequestOutcome::Finished(done) => assert_eq!((done.attempt, done.replayed), (1, true)),
            other => panic!("{fault:?}: {other:?}"),
        }
        assert_eq!(fake.state.lock().unwrap().runs, 1, "nothing runs twice");
        succeeds(&mut runner);
    }
}

#[test]
fn a_job_whose_process_ended_is_killed_and_runs_again_as_another_attempt() {
    let (fake, mut runner) = connected(&[Fault::Interrupt]);
    let job = new_job();
    let killed = match runner.generate(&job, &[1], 2, 0).unwrap() {
        RequestOutcome::Killed(killed) => killed,
        other => panic!("{other:?}"),
    };
    assert_eq!(killed.attempt, 1);
    let next = Job { attempt: killed.attempt + 1, ..job };
    let done = runner.generate(&next, &[1], 2, 0).unwrap().finished().unwrap();
    assert_eq!((done.attempt, done.replayed), (2, false));
    assert_eq!(fake.state.lock().unwrap().runs, 2);
}

#[test]
fn a_job_that_never_ends_is_overdue_and_one_that_is_stopped_stops() {
    let (_fake, mut runner) = connected(&[Fault::EndlessJob]);
    match generate(&mut runner) {
        RequestOutcome::Gone(gone) => {
            assert_eq!(gone.reason, LossReason::Overdue);
            assert!(gone.message.contains("did not answer generate within 2s"), "{gone:?}");
        }
        other => panic!("{other:?}"),
    }
    succeeds(&mut runner);

    let fake = FakeRunner::start(&[Fault::EndlessJob]);
    let options = options();
    let mut runner = Runner::connect(&target(&fake), &options).unwrap();
    let stop = options.stop.clone();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::SeqCst);
    });
    let error = runner.generate(&new_job(), &[1], 2, 0).unwrap_err();
    stopper.join().unwrap();
    assert_eq!(error.exit().code(), 130);
}

#[test]
fn logits_come_with_their_score() {
    let (_fake, mut runner) = connected(&[]);
    let outcome = runner.score(&new_job(), &[1, 2, 3], &[0, 2]).unwrap();
    let (scored, logits) = outcome.finished().unwrap().value;
    assert_eq!(scored.nll_nats.len(), 2);
    let expected = [0, 2].map(|position| Logits { position, values: vec![0.5; 3] });
    assert_eq!(logits, expected);
}

/// A package of a large file, a small one and an empty one.
fn package(folder: &std::path::Path, bytes: usize) -> Package {
    let mut state = 1_u64;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(bytes)
    .collect();
    std::fs::create_dir_all(folder.join("m.mlpackage/Data")).unwrap();
    std::fs::write(folder.join("m.mlpackage/Data/weight.bin"), large).unwrap();
    std::fs::write(folder.join("model.json"), "{}").unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    Package::open(folder).unwrap()
}

#[test]
fn a_transfer_that_is_cut_goes_on_and_sends_at_most_one_chunk_again() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = 24 * MIB + 12345;
    let package = package(folder.path(), bytes);
    let (fake, mut runner) = connected(&[Fault::CutAfter(bytes / 2)]);
    let mut last = (0, 0);
    let sent =
        runner.send(&package, &mut |done, of| last = (done, of)).unwrap().finished().unwrap();
    assert_eq!(sent.value.losses, 1);
    let state = fake.state.lock().unwrap();
    let size = package.manifest.size_bytes();
    assert_eq!((last, sent.value.size_bytes), ((size, size), size));
    assert!(state.received <= size as usize + MIB, "{} of {size}", state.received);
    assert_eq!(state.files["m.mlpackage/Data/weight.bin"].len(), bytes);
    assert_eq!(state.placed.as_deref(), Some(package.name.as_str()));
    drop(state);
    let again = runner.send(&package, &mut |_, _| ()).unwrap().finished().unwrap().value;
    assert_eq!((again.sent_bytes, again.held_bytes), (0, size), "it is in place");
}

#[test]
fn a_file_that_is_taken_but_never_answered_is_overdue() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), MIB);
    let (_fake, mut runner) = connected(&[Fault::EndlessPut]);
    match runner.send(&package, &mut |_, _| ()).unwrap() {
        RequestOutcome::Gone(gone) => {
            assert_eq!(gone.reason, LossReason::Overdue);
            assert!(gone.message.contains("did not answer put within 1s"), "{gone:?}");
        }
        other => panic!("{other:?}"),
    }
    succeeds(&mut runner);
}

#[test]
fn a_runner_that_keeps_nothing_of_what_it_takes_is_not_sent_it_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), 4 * MIB);
    let (fake, mut runner) = connected(&[Fault::ForgetPut; 30]);
    match runner.send(&package, &mut |_, _| ()).unwrap() {
        RequestOutcome::Gone(gone) => assert_eq!(gone.reason, LossReason::Closed),
        other => panic!("{other:?}"),
    }
    assert_eq!(fake.state.lock().unwrap().sessions, 4);
}

#[test]
fn a_full_disk_is_said_before_everything_is_sent_and_the_next_job_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), 64 * MIB);
    let (_fake, mut runner) = connected(&[Fault::FullAfter(2 * MIB)]);
    let mut sent = 0;
    match runner.send(&package, &mut |done, _| sent = done).unwrap() {
        RequestOutcome::Refused(refused) => assert_eq!(refused.code, Code::NoSpace),
        other => panic!("{other:?}"),
    }
    assert!(sent < 64 * MIB as u64);
    succeeds(&mut runner);
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_refused_by_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), MIB);
    std::fs::write(folder.path().join("model.json"), "[]").unwrap();
    let (_fake, mut runner) = connected(&[]);
    match runner.send(&package, &mut |_, _| ()).unwrap() {
        RequestOutcome::Refused(refused) => assert_eq!(refused.code, Code::Hash),
        other => panic!("{other:?}"),
    }
    std::fs::write(folder.path().join("model.json"), "longer").unwrap();
    let error = runner.send(&package, &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("changed while it was sent"), "{error}");
    succeeds(&mut runner);
}

#[test]
fn sending_is_fast() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path(), 256 * MIB);
    let (_fake, mut runner) = connected(&[]);
    let begun = Instant::now();
    let mut all_sent = None;
    let mut hear = |done, _| {
        if done >= 256 * MIB as u64 {
            all_sent.get_or_insert_with(Instant::now);
        }
    };
    let sent = runner.send(&package, &mut hear).unwrap().finished().unwrap().value;
    let rate = |time: Duration| sent.size_bytes as f64 / time.as_secs_f64() / 1e6;
    let bare = rate(all_sent.unwrap() - begun);
    let rate = rate(begun.elapsed());
    eprintln!(
        "sent at {bare:.0} MB/s, at {rate:.0} MB/s with the scripted runner's hashing after it"
    );
    assert!(rate > 10.0, "{rate:.0} MB/s");
}
