//! A runner as a child process: a script that carries its standard input and output to the scripted
//! runner, and ends when that closes the connection.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::time::{Duration, Instant};

use crate::fixtures::fake_runner::{FakeRunner, Fault, TOKEN};
use evalkit::device::client::{Limits, Options, RequestOutcome, Runner, Target, new_job};
use evalkit::device::protocol::message::Job;
use evalkit::device::transport::child::Program;

const BRIDGE: &str = "exec 3<>/dev/tcp/127.0.0.1/$0; exec 4<&0; cat <&4 >&3 & cat <&3; \
    echo the end >&2; kill $!; exit 9";

fn child(script: &str, port: u16) -> Options {
    let arguments = vec!["-c".into(), script.into(), port.to_string().into()];
    let program = Program { path: "bash".into(), arguments, variables: Vec::new() };
    let limits = Limits {
        handshake: Duration::from_secs(5),
        silence: Duration::from_secs(2),
        reconnect: Duration::from_secs(5),
        ..Limits::default()
    };
    Options { program: Some(program), limits, ..Options::default() }
}

fn connected(faults: &[Fault]) -> (FakeRunner, Runner) {
    let fake = FakeRunner::start(faults);
    fake.state.lock().unwrap().is_open = true;
    let runner = Runner::connect(&Target::Host, &child(BRIDGE, fake.port)).unwrap();
    (fake, runner)
}

#[test]
fn a_child_that_dies_in_a_job_is_started_again_and_its_end_is_told() {
    let (_fake, mut runner) = connected(&[Fault::Interrupt]);
    let job = new_job();
    let killed = match runner.generate(&job, &[1], 2, 0).unwrap() {
        RequestOutcome::Killed(killed) => killed,
        other => panic!("{other:?}"),
    };
    let told = &killed.message;
    assert!(told.contains("exit status: 9") && told.contains("the end"), "{told}");
    let next = Job { attempt: killed.attempt + 1, ..job };
    let done = runner.generate(&next, &[1], 2, 0).unwrap().finished().unwrap();
    assert_eq!(done.attempt, 2);
}

#[test]
fn a_restart_is_a_fresh_process_and_an_exit_leaves_none() {
    let (fake, mut runner) = connected(&[]);
    runner.restart().unwrap();
    assert_eq!(fake.state.lock().unwrap().sessions, 2, "another process has connected");
    runner.describe().unwrap().finished().unwrap();
    runner.exit().unwrap().finished().unwrap();
    assert_eq!(fake.state.lock().unwrap().sessions, 2, "an exit connects no other");
}

#[test]
fn a_program_that_is_absent_or_is_no_runner_says_what_it_said() {
    let absent = Program { path: "/nowhere/x".into(), arguments: vec![], variables: vec![] };
    let options = Options { program: Some(absent), ..Options::default() };
    let error = Runner::connect(&Target::Host, &options).unwrap_err();
    assert!(error.to_string().contains("cannot start /nowhere/x"), "{error}");
    let options = child("echo no such model >&2; exit 4", 0);
    let error = Runner::connect(&Target::Host, &options).unwrap_err();
    assert!(error.to_string().contains("exit status: 4"), "{error}");
    assert!(error.to_string().contains("no such model"), "{error}");
}

#[test]
fn a_request_and_its_answer_take_little() {
    let fake = FakeRunner::start(&[]);
    let token = Some(TOKEN.parse().unwrap());
    let target = Target::Tcp { host: "127.0.0.1".into(), port: fake.port };
    let mut runner = Runner::connect(&target, &Options { token, ..Options::default() }).unwrap();
    let begun = Instant::now();
    for _ in 0..500 {
        runner.describe().unwrap().finished().unwrap();
    }
    let each = begun.elapsed() / 500;
    eprintln!("a request and its answer: {each:?}");
    assert!(each < Duration::from_millis(50), "{each:?}");
}
