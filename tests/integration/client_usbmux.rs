//! The usbmux client against a usbmuxd that is not ours: a fake that Debian's own clients accept.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use crate::fixtures::fake_runner::{FakeRunner, Fault, TOKEN};
use crate::fixtures::muxd::Muxd;
use evalkit::device::client::link::APP_PORT;
use evalkit::device::client::outcome::LossReason;
use evalkit::device::client::{
    Limits, Options, Package, RequestOutcome, Runner, Target, Token, TokenStore, new_job,
};
use evalkit::device::transport::usbmux::{Mux, MuxError, PhoneEvent, ResultCode};

const UDID: &str = "00008110-000A1B2C3D4E001E";
const OTHER: &str = "00008130-000000000000001E";

/// Short limits, over this usbmuxd.
fn options(muxd: &Muxd) -> Options {
    let limits = Limits {
        handshake: Duration::from_secs(2),
        silence: Duration::from_millis(500),
        request: Duration::from_secs(5),
        put: Duration::from_secs(5),
        load: Duration::from_secs(5),
        job: Duration::from_secs(5),
        token: Duration::ZERO,
        reconnect: Duration::from_secs(3),
        losses: 3,
    };
    let token = Some(TOKEN.parse().unwrap());
    Options { token, mux: Some(muxd.address()), limits, ..Options::default() }
}

#[test]
fn phones_are_listed_and_reached_and_a_closed_port_is_refused() {
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(muxd) = Muxd::start(&[(UDID, echo.local_addr().unwrap().port()), (OTHER, 1)]) else {
        return;
    };
    std::thread::spawn(move || {
        let (mut stream, _) = echo.accept().unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
    });
    let mut mux = Mux::open(&muxd.address()).unwrap();
    let phones = mux.list().unwrap();
    let udids: Vec<&str> = phones.iter().map(|phone| phone.udid.as_str()).collect();
    assert_eq!(udids, [UDID, OTHER]);
    let mut socket = mux.connect(phones[0].id, APP_PORT).unwrap();
    socket.set_read_timeout(Duration::from_secs(5)).unwrap();
    socket.write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    socket.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    let refused = |id, port| Mux::open(&muxd.address()).unwrap().connect(id, port).unwrap_err();
    let number = |fault: MuxError| match fault {
        MuxError::Refused(number) => number,
        other => panic!("{other}"),
    };
    assert_eq!(number(refused(phones[0].id, 5)), ResultCode::ConnectionRefused);
    assert_eq!(number(refused(phones[1].id, APP_PORT)), ResultCode::ConnectionRefused);
    assert_eq!(number(refused(99, APP_PORT)), ResultCode::BadDevice);
}

#[test]
fn a_listener_is_told_who_comes_and_goes() {
    let Some(muxd) = Muxd::start(&[(UDID, 1)]) else { return };
    let mut listener = Mux::open(&muxd.address()).unwrap().listen().unwrap();
    let mut next = || listener.next(Duration::from_secs(5)).unwrap().expect("an event");
    let PhoneEvent::Attached(phone) = next() else { panic!("expected a phone") };
    assert_eq!(phone.udid, UDID);
    muxd.toggle();
    assert_eq!(next(), PhoneEvent::Detached(phone.id));
    muxd.toggle();
    assert_eq!(next(), PhoneEvent::Attached(phone));
    assert_eq!(listener.next(Duration::from_millis(50)).unwrap(), None);
}

#[test]
fn a_runner_on_a_phone_is_used_and_a_package_survives_the_cable() {
    let fake = FakeRunner::start(&[Fault::CutAfter(3 << 20)]);
    let Some(muxd) = Muxd::start(&[(UDID, fake.port)]) else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weight.bin"), vec![7; 8 << 20]).unwrap();
    let package = Package::open(folder.path()).unwrap();
    let mut runner = Runner::connect(&"usb".parse().unwrap(), &options(&muxd)).unwrap();
    let mut is_pulled = false;
    let mut plug = None;
    let mut hear = |done, _| {
        // Pulled in the middle, and put back while the client waits for it.
        if done > 1 << 20 && !is_pulled {
            is_pulled = true;
            muxd.toggle();
            let id = muxd.id().to_string();
            plug = Some(std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(700));
                Command::new("kill").args(["-USR1", &id]).status().unwrap();
            }));
        }
    };
    let sent = runner.send(&package, &mut hear).unwrap().finished().unwrap().value;
    plug.unwrap().join().unwrap();
    assert_eq!(sent.losses, 1);
    assert!(fake.state.lock().unwrap().received <= 9 << 20);
    let described = runner.describe().unwrap().finished().unwrap().value;
    assert_eq!(described.device.model_identifier, "iPhone14,2");
}

#[test]
fn a_phone_that_stays_away_is_gone_and_the_other_goes_on() {
    let (one, two) = (FakeRunner::start(&[Fault::CutJob]), FakeRunner::start(&[]));
    let Some(first) = Muxd::start(&[(UDID, one.port)]) else { return };
    let Some(second) = Muxd::start(&[(OTHER, two.port)]) else { return };
    let connect = |muxd: &Muxd| Runner::connect(&Target::Usb(None), &options(muxd)).unwrap();
    let (mut lost, mut kept) = (connect(&first), connect(&second));
    first.toggle();
    match lost.generate(&new_job(), &[1], 2, 0).unwrap() {
        RequestOutcome::Gone(gone) => {
            assert_eq!(gone.reason, LossReason::Detached, "{}", gone.message);
            assert!(gone.after >= Duration::from_secs(2), "{:?}", gone.after);
        }
        other => panic!("{other:?}"),
    }
    kept.generate(&new_job(), &[1], 2, 0).unwrap().finished().unwrap();
    first.toggle();
    lost.generate(&new_job(), &[1], 2, 0).unwrap().finished().unwrap();
}

#[test]
fn the_token_that_is_stored_for_a_phone_comes_before_the_one_of_the_environment() {
    let fake = FakeRunner::start(&[]);
    let Some(muxd) = Muxd::start(&[(UDID, fake.port)]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let tokens = TokenStore::in_folder(folder.path());
    let token = || Some(TOKEN.parse().unwrap());
    let (given, other) = (options(&muxd), Some(Token::random()));
    let unstored = Options { token: None, tokens: Some(tokens.clone()), ..given };
    let connect = |options: &Options| Runner::connect(&Target::Usb(None), options);
    let of_environment = Options { fallback_token: token(), ..unstored.clone() };
    drop(connect(&of_environment).unwrap());
    tokens.keep(UDID, &token().unwrap(), "dev.evalkit.runner").unwrap();
    drop(connect(&Options { fallback_token: other.clone(), ..unstored.clone() }).unwrap());
    let wrong = Options { token: other, fallback_token: token(), ..unstored };
    let refused = connect(&wrong).unwrap_err();
    assert!(
        refused.advice().unwrap().contains("give the runner's token"),
        "the flag wins: {refused}"
    );
}

#[test]
fn a_phone_without_a_token_or_an_app_or_that_is_absent_says_what_to_do() {
    let Some(muxd) = Muxd::start(&[(UDID, 1)]) else { return };
    let hint = |target: &str, options: &Options| {
        let error = Runner::connect(&target.parse().unwrap(), options).unwrap_err();
        error.advice().unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    let options = options(&muxd);
    assert!(hint("usb", &options).contains("open the evalkit runner app"));
    assert!(hint("usb:1234", &options).contains(UDID));
    let empty = tempfile::tempdir().unwrap();
    let tokens = TokenStore::in_folder(empty.path());
    let none = Options { token: None, tokens: Some(tokens), ..options };
    let without_token = hint("usb", &none);
    assert!(without_token.contains("--token"), "{without_token}");
    assert!(without_token.contains("evalkit devices install"), "{without_token}");
    let away = Options { mux: Some("/nowhere/mux".parse().unwrap()), ..none };
    assert!(hint("usb", &away).contains("usbmuxd"));
}
