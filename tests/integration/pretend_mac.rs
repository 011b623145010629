//! The way to a phone on a pretend Mac, whose tools parse arguments and fail as Apple's do: `devices`,
//! `devices install`, `bench` and `sweep`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use serde_json::{Value, json};

use crate::fixtures::muxd::Muxd;
use crate::fixtures::pretend_mac::{PretendMac, UDID};
use crate::fixtures::{run, told};
use evalkit::results::RunFolder;
use evalkit::results::measurement::Measurement;

fn rows(mac: &PretendMac, mux: Option<&Muxd>) -> Vec<Value> {
    let mut command = mac.evalkit(mux, &["devices", "--timeout", "5", "--format", "json"]);
    let found: Value = serde_json::from_slice(&run(&mut command, 0).stdout).unwrap();
    found["tables"][0]["rows"].as_array().unwrap().clone()
}

#[test]
fn devices_are_listed_alike_whatever_the_version_of_devicectls_json() {
    let phones = json!([
        {}, {"udid": "00008130-000000000000002E", "name": "off", "developer_mode": "disabled"},
        {"udid": "11111111-2222-3333-4444-555555555555", "platform": "macOS"},
        {"udid": "75BD17D7-0A6C-48A1-9768-568ACF690500", "reality": "simulated"},
    ]);
    for (version, omits) in [(2, false), (3, false), (4, false), (5, false), (5, true)] {
        let state = json!({"json_version": version, "omits_deprecated": omits, "phones": phones});
        let Some(mac) = PretendMac::new(state) else { return };
        let rows = rows(&mac, None);
        let targets: Vec<&str> = rows.iter().map(|row| row["target"].as_str().unwrap()).collect();
        let usb = format!("usb:{UDID}");
        assert_eq!(targets, ["host", &usb, "usb:00008130-000000000000002E"], "version {version}");
        assert_eq!((&rows[1]["name"], &rows[1]["os"]), (&"A phone".into(), &"iOS 26.1".into()));
        assert_eq!(rows[1]["model"], "iPhone 13 Pro (iPhone14,2)");
        assert!(
            rows[2]["why_not"].as_str().unwrap().starts_with("Developer Mode is off"),
            "{rows:?}"
        );
        let (line, _) = mac.log().into_iter().next().unwrap();
        assert!(line.starts_with("xcrun devicectl list devices --quiet --json-output "), "{line}");
        assert!(line.ends_with(" --timeout 10"), "{line}");
    }
}

/// What is wrong, further arguments of `devices install`, and what is said: the error and its hint.
type Case = (&'static str, Value, &'static [&'static str], &'static str, &'static str);

const TEAM: &[&str] = &["--team", "ABCDE12345"];
const NO_TEAM: &[&str] = &[];
const OWN_ID: &[&str] = &["--team", "ABCDE12345", "--bundle-id", "com.me.runner"];
const FREE_TEAM: &[&str] =
    &["--team", "ABCDE12345", "--bundle-id", "com.me.runner", "--without-entitlements"];

fn xcode_cases() -> Vec<Case> {
    vec![
        (
            "no Xcode",
            json!({"xcode": "none"}),
            TEAM,
            "Xcode's tools are not installed",
            "install Xcode, open it",
        ),
        (
            "command line tools only",
            json!({"xcode": "command line tools"}),
            TEAM,
            "the command line tools are selected instead of Xcode",
            "sudo xcode-select -s /Applications/Xcode.app",
        ),
        (
            "old Xcode",
            json!({"xcode": "16.2"}),
            TEAM,
            "expected Xcode 16.3 or later, found 16.2",
            "install Xcode 16.3",
        ),
        (
            "licence not accepted",
            json!({"licence_accepted": false}),
            TEAM,
            "Xcode's licence was not accepted",
            "sudo xcodebuild -license accept",
        ),
        (
            "no platform",
            json!({"has_ios_platform": false}),
            TEAM,
            "build: Xcode lacks the platform iOS",
            "xcodebuild -downloadPlatform iOS",
        ),
        (
            "Mac full",
            json!({"mac_is_full": true}),
            TEAM,
            "build: the disk of this Mac is full",
            "free some space",
        ),
    ]
}

fn signing_cases() -> Vec<Case> {
    vec![
        ("no team", json!({}), NO_TEAM, "build: no team was named to sign the app", "--team"),
        (
            "no account",
            json!({"account": "none"}),
            TEAM,
            "build: Xcode knows no Apple account",
            "add your Apple ID",
        ),
        (
            "free team",
            json!({"account": "personal"}),
            OWN_ID,
            "build: the team may not sign the memory entitlements",
            "--without-entitlements",
        ),
        (
            "another team's identifier",
            json!({"taken_bundle_ids": ["dev.evalkit.runner"]}),
            TEAM,
            "build: there is no profile for the app's bundle identifier",
            "--bundle-id",
        ),
        (
            "expired profile",
            json!({"signs_expired": true}),
            TEAM,
            "install: the app's signature has expired",
            "Download Manual Profiles",
        ),
    ]
}

/// A Mac with this phone.
fn phone(phone: Value) -> Value {
    json!({ "phones": [phone] })
}

/// Phones that are not ready.
fn readiness_cases() -> Vec<Case> {
    vec![
        (
            "not paired",
            phone(json!({"pairing": "unpaired"})),
            TEAM,
            "the phone does not trust this Mac",
            "tap Trust",
        ),
        (
            "away",
            phone(json!({"connection": "unavailable"})),
            TEAM,
            "the phone cannot be reached",
            "with a cable",
        ),
        (
            "old iOS",
            phone(json!({"os": "17.4"})),
            TEAM,
            "the phone's iOS is too old",
            "needs iOS 18",
        ),
        (
            "Developer Mode off",
            phone(json!({"developer_mode": "disabled"})),
            TEAM,
            "Developer Mode is off on the phone",
            "Privacy & Security",
        ),
        (
            "Developer Mode off, which the list does not show",
            phone(json!({"developer_mode": null})),
            TEAM,
            "install: Developer Mode is off on the phone",
            "Privacy & Security",
        ),
    ]
}

/// Phones that refuse the app.
fn refusal_cases() -> Vec<Case> {
    let full = "install: the phone's storage is full";
    let image = "install: the phone's developer disk image is not mounted";
    vec![
        (
            "image",
            phone(json!({"image_mounted": false})),
            TEAM,
            image,
            "see that Developer Mode is on",
        ),
        (
            "image, for the phone is locked",
            phone(json!({"image_mounted": false, "is_locked": true})),
            TEAM,
            "install: the phone is locked",
            "unlock the phone",
        ),
        (
            "locked",
            phone(json!({"is_locked": true})),
            TEAM,
            "launch: the phone is locked",
            "unlock the phone",
        ),
        ("full", phone(json!({"is_full": true})), TEAM, full, "iPhone Storage"),
        (
            "three apps of a free team",
            json!({"account": "personal", "phones": [{"free_apps": 3}]}),
            FREE_TEAM,
            "install: the phone has as many apps of a free team as it allows",
            "delete one of the apps",
        ),
        (
            "developer not trusted",
            phone(json!({"trusts_developer": false})),
            TEAM,
            "launch: the phone does not trust the app's developer",
            "VPN & Device Management",
        ),
    ]
}

fn all_cases() -> Vec<Case> {
    [xcode_cases(), signing_cases(), readiness_cases(), refusal_cases()].concat()
}

#[test]
fn every_failure_of_an_installation_is_explained_in_every_version_of_the_json() {
    for version in [2, 5] {
        for (what, mut state, args, error, hint) in all_cases() {
            state["json_version"] = json!(version);
            if state["phones"].is_null() {
                state["phones"] = json!([{}]);
            }
            let Some(mac) = PretendMac::new(state) else { return };
            let output = run(&mut mac.install(None, args), 3);
            let said = told(&output);
            let last = said.rfind("error: ").map_or("", |at| &said[at..]);
            assert!(last.starts_with(&format!("error: {error}")), "{what}: {said}");
            assert!(last.contains("\nhint: ") && last.contains(hint), "{what}: {said}");
            let kept = mac.path("home/.config/evalkit/tokens");
            assert!(!kept.exists(), "{what}: a token of an installation that failed is kept");
        }
    }
}

#[test]
fn a_phone_that_is_away_does_not_stand_in_the_way_of_the_one_that_is_here() {
    let away = json!({"udid": "00008130-000000000000002E", "connection": "unavailable"});
    let state = json!({"phones": [away, {"is_full": true}]});
    let Some(mac) = PretendMac::new(state) else { return };
    let output = run(&mut mac.install(None, TEAM), 3);
    assert!(told(&output).contains("the phone's storage is full"), "{}", told(&output));
    let output = run(&mut mac.install(None, &["--device", "00008130-000000000000002E"]), 3);
    assert!(told(&output).contains("the phone cannot be reached"), "{}", told(&output));
}

/// Installs under an identifier of one's own, as a free team must.
fn installed() -> Option<(PretendMac, Muxd)> {
    let state = json!({
        "account": "personal", "taken_bundle_ids": ["dev.evalkit.runner"], "phones": [{}],
    });
    let (mac, muxd) = PretendMac::with_app(state)?;
    let output = run(&mut mac.install(Some(&muxd), FREE_TEAM), 0);
    assert!(told(&output).contains("answers on"), "{}", told(&output));
    Some((mac, muxd))
}

/// The measurements of the only run.
fn measurements(mac: &PretendMac) -> Vec<Measurement> {
    let mut folders = std::fs::read_dir(mac.path("reports")).unwrap();
    RunFolder::read(&folders.next().unwrap().unwrap().path()).unwrap().measured
}

/// Asserts that devices were measured, and that all of them say that they are simulated.
fn all_simulated(mac: &PretendMac) {
    let all = measurements(mac);
    let is_simulated = |one: &Measurement| match one {
        Measurement::Device(seen) => Some(seen.description.simulated),
        _ => None,
    };
    let devices: Vec<bool> = all.iter().filter_map(is_simulated).collect();
    assert!(!devices.is_empty() && devices.iter().all(|simulated| *simulated), "{all:?}");
}

#[test]
fn an_installed_app_is_measured_and_launched_again_under_its_own_identifier() {
    let Some((mac, muxd)) = installed() else { return };
    let row = &rows(&mac, Some(&muxd))[1];
    assert_eq!((&row["target"], &row["why_not"]), (&format!("usb:{UDID}").into(), &Value::Null));
    assert!(row["runner"].as_str().unwrap().ends_with(", simulated"), "{row}");
    let package = ["--quiet", "package", "--recipe", "palette4-g16-s", "--output", "p"];
    run(&mut mac.evalkit(None, &package), 0);
    let bench =
        ["--quiet", "bench", "p", "--device", "usb", "--repetitions", "2", "--reports", "reports"];
    let mut bench = mac.evalkit(Some(&muxd), &bench);
    bench.args(["--prompt-tokens", "8", "--generate", "4", "--format", "markdown"]);
    let page = String::from_utf8(run(&mut bench, 0).stdout).unwrap();
    assert!(page.contains(&format!("SIMULATED: On usb:{UDID}")), "{page}");
    all_simulated(&mac);

    let token = std::fs::read_to_string(
        mac.path("home/.config/evalkit/tokens").join(UDID.replace('-', "").to_lowercase()),
    );
    let token = token.unwrap();
    let log = mac.log();
    assert!(
        !log.iter().any(|(line, _)| line.contains(token.trim())),
        "a command line has the token"
    );
    let launches: Vec<_> =
        log.iter().filter(|(line, _)| line.contains(" process launch ")).collect();
    assert!(launches.len() >= 2, "bench launches the app anew before each visit: {log:?}");
    for (line, variables) in launches {
        assert!(line.ends_with("--terminate-existing com.me.runner"), "{line}");
        assert_eq!(variables, &["DEVICECTL_CHILD_EVALKIT_RUNNER_TOKEN"]);
    }
}

#[test]
fn a_sweep_measures_on_the_phone_and_says_that_it_is_simulated() {
    let Some((mac, muxd)) = installed() else { return };
    let sweep = [
        "--quiet",
        "sweep",
        "--limit",
        "2",
        "--bits",
        "4",
        "--device",
        "usb",
        "--reports",
        "reports",
    ];
    let mut sweep = mac.evalkit(Some(&muxd), &sweep);
    sweep.args([
        "--repetitions",
        "1",
        "--prompt-tokens",
        "8",
        "--generate",
        "4",
        "--format",
        "markdown",
    ]);
    let page = String::from_utf8(run(&mut sweep, 0).stdout).unwrap();
    assert!(page.contains("SIMULATED"), "{page}");
    all_simulated(&mac);
}

#[test]
fn an_app_that_was_closed_is_opened_and_one_that_was_deleted_says_what_to_do() {
    let Some((mac, muxd)) = installed() else { return };
    let package = ["--quiet", "package", "--recipe", "palette4-g16-s", "--output", "p"];
    run(&mut mac.evalkit(None, &package), 0);
    let bench = |code: i32| {
        let bench = ["--quiet", "bench", "p", "--device", "usb", "--repetitions", "1"];
        let mut bench = mac.evalkit(Some(&muxd), &bench);
        bench.args(["--prompt-tokens", "8", "--generate", "4", "--reports", "reports"]);
        run(&mut bench, code);
    };
    mac.kill_app();
    bench(0);
    all_simulated(&mac);

    mac.kill_app();
    let mut state = mac.state();
    state["phones"][0]["apps"] = json!([]);
    mac.set(&state);
    std::fs::remove_dir_all(mac.path("reports")).unwrap();
    bench(3);
    let all = measurements(&mac);
    let reason = all.iter().find_map(|one| match one {
        Measurement::FailedStep(failed) => Some(failed.reason.clone()),
        _ => None,
    });
    let (what, hint) = ("the runner app is not installed", "evalkit devices install");
    assert!(reason.is_some_and(|why| why.contains(what) && why.contains(hint)), "{all:?}");
}
