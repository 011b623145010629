//! `evalkit devices` and `inspect --device`, as they are typed.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use crate::fixtures::fake_runner::{FakeRunner, TOKEN};
use crate::fixtures::pretend_mac::{PretendMac, UDID};
use crate::fixtures::{Place, Tiny, run, told};
use serde_json::{Value, json};

fn shown(command: &mut std::process::Command) -> Value {
    shown_with_code(command, 0)
}

fn shown_with_code(command: &mut std::process::Command, code: i32) -> Value {
    serde_json::from_slice(&run(command.args(["--format", "json"]), code).stdout).unwrap()
}

/// The program without this machine's phones, tools and settings.
fn alone(place: &Place, args: &[&str]) -> std::process::Command {
    let mut command = place.evalkit(args);
    command
        .env("USBMUXD_SOCKET_ADDRESS", "UNIX:/nowhere/mux")
        .env("HOME", place.path("home"))
        .env("PATH", "/nowhere")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("EVALKIT_RUNNER_TOKEN");
    command
}

#[test]
fn this_machine_is_listed_where_there_is_no_phone_and_no_usbmuxd() {
    let place = Place::new(&Tiny::default(), 20);
    let found = shown(&mut alone(&place, &["devices"]));
    let rows = found["tables"][0]["rows"].as_array().unwrap();
    assert_eq!(rows[0]["target"], "host");
    assert!(found["warnings"][0].as_str().unwrap().contains("no usbmuxd"), "{found}");
    for format in ["terminal", "markdown", "html", "csv"] {
        let output = run(alone(&place, &["devices", "--format"]).arg(format), 0);
        assert!(String::from_utf8_lossy(&output.stdout).contains("host"), "{format}");
    }
}

#[test]
fn usbmuxd_is_not_asked_unless_phones_are_wanted() {
    let place = Place::new(&Tiny::default(), 20);
    let found = shown(&mut alone(&place, &["devices", "--device", "host"]));
    assert!(!found.to_string().contains("usbmuxd"), "{found}");
}

#[test]
fn a_runner_that_answers_is_described_by_the_table_and_one_that_does_not_says_why() {
    let place = Place::new(&Tiny::default(), 20);
    let fake = FakeRunner::start(&[]);
    let target = format!("tcp:127.0.0.1:{}", fake.port);
    let ask = |token: &str, code: i32| {
        let mut command = alone(&place, &["devices", "--device", &target, "--token", token]);
        shown_with_code(&mut command, code)["tables"][0]["rows"][0].clone()
    };
    let row = ask(TOKEN, 0);
    assert_eq!(row["model"], "iPhone 13 Pro (iPhone14,2)");
    assert_eq!((&row["chip"], &row["memory_bytes"]), (&"A15".into(), &(6_u64 << 30).into()));
    assert_eq!(row["runner"], "fake 1, simulated");
    let row = ask("ffffffffffffffffffffffffffffffff", 3);
    assert_eq!(row["runner"], "no answer");
    let why_not = row["why_not"].as_str().unwrap();
    assert!(why_not.contains("--token") && !why_not.contains(&target), "{row}");
    let mut command = alone(&place, &["devices", "--device", &target]);
    let found = shown(command.env("EVALKIT_RUNNER_TOKEN", TOKEN));
    assert_eq!(found["tables"][0]["rows"][0]["runner"], "fake 1, simulated");
}

#[test]
fn a_phone_that_is_named_and_absent_is_the_surroundings_and_a_bad_name_is_input() {
    let place = Place::new(&Tiny::default(), 20);
    let output = run(&mut alone(&place, &["devices", "--device", "usb:0000"]), 3);
    assert!(told(&output).contains("no usbmuxd at"), "{}", told(&output));
    let output = run(&mut alone(&place, &["devices", "--device", "phone"]), 2);
    assert!(told(&output).contains("expected host, usb"), "{}", told(&output));
    let output = run(&mut alone(&place, &["devices", "--token", "x"]), 2);
    assert!(told(&output).contains("32 hexadecimal digits"), "{}", told(&output));
}

#[test]
fn installing_says_what_it_needs() {
    let place = Place::new(&Tiny::default(), 20);
    for (flag, text) in [("--bundle-id", "bad id!"), ("--team", ""), ("--device", "host")] {
        let output = run(&mut alone(&place, &["devices", "install", flag, text]), 2);
        assert!(told(&output).contains("expected a"), "{}", told(&output));
    }
    let output = run(&mut alone(&place, &["devices", "install"]), 3);
    assert!(told(&output).contains("needs a Mac") && told(&output).contains("hint: on a Mac"));
}

#[test]
fn a_phone_to_install_on_is_named_as_devices_lists_it() {
    let Some(mac) = PretendMac::new(json!({"phones": [{"is_full": true}]})) else { return };
    for name in ["usb", &format!("usb:{UDID}"), UDID] {
        let output = run(&mut mac.install(None, &["--team", "ABCDE12345", "--device", name]), 3);
        assert!(told(&output).contains("the phone's storage is full"), "{}", told(&output));
    }
}

#[test]
fn a_list_says_what_is_still_missing() {
    let cases = [
        (json!({"xcode": "16.2", "phones": [{}]}), "expected Xcode 16.3 or later, found 16.2"),
        (json!({"phones": [{"os": "17.5"}]}), "the phone's iOS is too old"),
        (json!({"xcode": "command line tools"}), "sudo xcode-select -s /Applications/Xcode.app"),
        (json!({"xcode": "command line tools"}), "the command line tools are selected"),
    ];
    for (state, expected) in cases {
        let Some(mac) = PretendMac::new(state) else { return };
        let found = run(&mut mac.evalkit(None, &["devices", "--format", "json"]), 0);
        let found = String::from_utf8(found.stdout).unwrap();
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn a_fit_is_predicted_by_identifier_and_by_name_for_checkpoints_and_packages() {
    let place = Place::new(&Tiny::default(), 20);
    let inspect = |device: &str, more: &[&str]| {
        let mut command = place.evalkit(&["inspect", "model", "--device", device]);
        shown(command.args(more))
    };
    let found = inspect("iPhone14,2", &[]);
    assert_eq!(found["tables"], inspect("iphone 13 pro", &[])["tables"]);
    let row = &found["tables"][3]["rows"][0];
    assert_eq!(row["predicted_fit"], "predicted to fit");
    let read = row["read_bytes"].as_f64().unwrap();
    assert_eq!(row["predicted_ceiling_tokens_per_s"].as_f64().unwrap(), 34.1e9 / read);
    let notes = found["notes"].to_string();
    assert!(notes.contains("Never decide") && notes.contains("a guess"), "{notes}");
    let chosen = inspect("iPhone14,2", &["--recipes", "palette4,int8", "--context", "16"]);
    assert_eq!(chosen["tables"][3]["rows"].as_array().unwrap().len(), 2);
    assert_eq!(chosen["tables"][3]["rows"][0]["cache_bytes"], 2 * 2 * 2 * 2 * 16 * 16);

    run(
        place
            .evalkit(&["package", "--recipe", "palette4", "--output", "out"])
            .args(["--max-sequence-length", "64"]),
        0,
    );
    let packed = shown(&mut place.evalkit(&["inspect", "out", "--device", "iPhone14,2"]));
    assert_eq!(packed["tables"][0]["rows"][0]["predicted_fit_entitled"], "predicted to fit");

    let output = run(&mut place.evalkit(&["inspect", "model", "--device", "iPhone 13 Por"]), 2);
    assert!(told(&output).contains("iPhone 13 Pro"), "{}", told(&output));
}

#[test]
fn a_sweep_looks_for_its_devices_before_it_scores() {
    let place = Place::new(&Tiny::default(), 60);
    for (arguments, code, part) in [
        ("usb:0000", 3, "usbmuxd"),
        ("tcp:127.0.0.1:1 --token 0123456789abcdef0123456789abcdef", 3, "nothing listens there"),
        ("tcp:127.0.0.1:1", 3, "the runner's token is not known"),
        ("host --generate 65", 2, "the cache holds 128 tokens"),
        ("host --repetitions 0", 2, "1 repetition"),
    ] {
        let sweep = ["sweep", "--model", "model", "--text", "text.txt", "--context", "16"];
        let mut sweep = alone(&place, &sweep);
        sweep.args(["--recipes", "palette4", "--device"]).args(arguments.split_whitespace());
        let told = told(&run(&mut sweep, code));
        assert!(told.contains(part), "{arguments}: {told}");
        assert!(!place.path("reports").exists(), "{arguments}: something was scored");
    }
}
