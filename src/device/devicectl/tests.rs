//! Tests of Apple's tools, with recorded JSON and with scripts in place of the tools.

use std::os::unix::fs::PermissionsExt;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::tool::Devicectl;
use super::*;
use crate::device::protocol::token::Token;
use crate::device::transport::usbmux::Attached;

const LIST: &str = include_str!("fixtures/list.json");
const LIST_5: &str = include_str!("fixtures/list-5.json");
const LOCKED: &str = include_str!("fixtures/locked.json");
const NOT_MOUNTED: &str = include_str!("fixtures/not_mounted.json");
const FAILURES: &str = include_str!("fixtures/failures.json");

fn tools_in(folder: &Path) -> Tool {
    Tool { xcrun: folder.join("xcrun"), xcodebuild: folder.join("xcodebuild") }
}

/// A folder with these scripts as `xcrun` and `xcodebuild`.
fn fake(xcrun: &str, xcodebuild: &str) -> (tempfile::TempDir, Tool) {
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in [("xcrun", xcrun), ("xcodebuild", xcodebuild)] {
        // `cp` writes it: a file that a thread of this process holds open cannot be run.
        let path = folder.path().join(name);
        let script =
            format!("#!/bin/sh\necho {name} \"$@\" >> {}/log\n{script}\n", folder.path().display());
        let text = folder.path().join("text");
        std::fs::write(&text, script).unwrap();
        assert!(Command::new("cp").arg(&text).arg(&path).status().unwrap().success());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let tool = tools_in(folder.path());
    (folder, tool)
}

/// What devicectl prints before it fails, and may print before it succeeds.
const PROGRESS: &str = "10:04:12  Acquired tunnel connection to device.
10:04:12  Enabling developer disk image services.
10:04:12  Acquired usage assertion.";

/// The command lines that the scripts saw, with JSON for the path of the JSON.
fn log(folder: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    let masked = |line: &str| {
        let word =
            |word: &str| if word.ends_with("/result.json") { "JSON" } else { word }.to_owned();
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    log.lines().map(masked).collect()
}

/// A script that writes `json` to the file named by `--json-output`.
fn writes(json: &str, code: i32) -> String {
    format!(
        "echo '{PROGRESS}'\nwhile [ \"$1\" != --json-output ]; do shift; done\n\
         cat > \"$2\" <<'END'\n{json}\nEND\nexit {code}"
    )
}

#[test]
fn a_list_with_absent_fields_is_read_without_its_simulators() {
    let (_folder, tool) = fake(&writes(LIST, 0), "");
    let list = tool.list().unwrap();
    assert_eq!(list.len(), 6);
    assert_eq!(list[0].product_type.as_deref(), Some("iPhone14,2"));
    let errors: Vec<Option<DeviceError>> = list.iter().map(ListedDevice::device_error).collect();
    let expected = [
        None,
        Some(DeviceError::NotTrusted),
        Some(DeviceError::DeveloperModeOff),
        Some(DeviceError::UnsupportedOs),
        None,
        None,
    ];
    assert_eq!(errors, expected);
}

#[test]
fn phones_are_merged_by_udid_however_it_is_written() {
    let (_folder, tool) = fake(&writes(LIST, 0), "");
    let attached = |id, udid: &str, is_usb| Attached { id, udid: udid.into(), is_usb };
    let attached = [
        attached(1, "00008110000a1b2c3d4e001e", true),
        attached(2, "00008110-000A1B2C3D4E001E", false),
        attached(3, "unknown", true),
    ];
    let phones = merged(&attached, &tool.list().unwrap());
    let found: Vec<_> = phones.iter().map(|p| (p.is_attached, p.listed.is_some())).collect();
    assert_eq!(found, [(true, true), (true, false), (false, true), (false, true), (false, true)]);
}

#[test]
fn known_failures_are_recognised_by_code_and_text_and_each_has_a_hint() {
    let cases: Vec<(String, Option<String>)> = serde_json::from_str(FAILURES).unwrap();
    for (output, expected) in cases {
        let found = DeviceError::of(&output).map(|error| error.to_string());
        assert_eq!(found, expected, "{output}");
    }
}

#[test]
fn the_json_tells_the_failure_and_progress_lines_never_do() {
    let launch = |json: &str| {
        let (_folder, tool) = fake(&writes(json, 1), "");
        let error = tool.launch("A", BUNDLE_ID, &Token::random()).unwrap_err();
        assert_eq!(error.exit().code(), 3);
        error.to_string()
    };
    assert!(launch(LOCKED).starts_with("the phone is locked\nhint: unlock"), "{}", launch(LOCKED));
    assert!(
        launch(NOT_MOUNTED).contains("image is not mounted\nhint: see that Developer Mode is on")
    );
    let absent = r#"{"info": {"outcome": "failed"}, "error": {"code": 10002, "userInfo":
        {"NSLocalizedFailureReason": {"string": "The requested application x is not installed."}}}}"#;
    assert!(launch(absent).starts_with("the runner app is not installed"), "{}", launch(absent));
    let unknown = r#"{"info": {"outcome": "failed"}, "error": {"code": 1, "userInfo": {
        "NSLocalizedDescription": {"string": "The operation failed."}, "NSUnderlyingError": {"error": {
        "userInfo": {"NSLocalizedDescription": {"string": "Mercury is in retrograde."}}}}}}}"#;
    let expected = "devicectl failed: The operation failed. Mercury is in retrograde.\nhint: ";
    assert!(launch(unknown).starts_with(expected), "{}", launch(unknown));
    for (json, expected) in [
        (r#"{"error": {"userInfo": {"NSLocalizedDescription": "Plain."}}}"#, "Plain."),
        (r#"{"error": {"code": 24004, "domain": "CoreDeviceError"}}"#, "24004 CoreDeviceError"),
    ] {
        let expected = format!("devicectl failed: {expected}\n");
        assert!(launch(json).starts_with(&expected), "{}", launch(json));
    }
    let (_folder, tool) = fake(&format!("echo '{PROGRESS}'; echo 'ERROR: no' >&2; exit 1"), "");
    let error = tool.list().unwrap_err().to_string();
    assert!(error.starts_with("devicectl failed: ERROR: no\n"), "{error}");
}

#[test]
fn both_spellings_of_a_list_are_read_and_simulators_and_macs_are_left_out() {
    let (_old, old) = fake(&writes(LIST, 0), "");
    let (_new, new) = fake(&writes(LIST_5, 0), "");
    let (old, new) = (old.list().unwrap(), new.list().unwrap());
    assert_eq!(new.len(), 2);
    assert_eq!(new[0], old[0]);
    assert_eq!(new[1].os.as_deref(), Some("18.7.8"));
    assert_eq!(new[1].device_error(), Some(DeviceError::DeveloperModeOff));
}

#[test]
fn options_of_ours_stand_right_behind_the_subcommand() {
    let (folder, tool) = fake(&writes(r#"{"result": {"passcodeRequired": true}}"#, 0), "");
    tool.list().unwrap();
    // As usbmuxd writes it, and as devicectl wants it.
    assert_eq!(tool.is_locked("00008110000A1B2C3D4E001E").unwrap(), Some(true));
    let token = Token::random();
    tool.launch("A-1", "my.runner", &token).unwrap();
    let common = "--quiet --json-output JSON";
    let expected = [
        format!("xcrun devicectl list devices {common} --timeout 10"),
        format!(
            "xcrun devicectl device info lockState {common} --device 00008110-000A1B2C3D4E001E"
        ),
        format!(
            "xcrun devicectl device process launch {common} --device A-1 --terminate-existing my.runner"
        ),
    ];
    assert_eq!(log(folder.path()), expected);
}

#[test]
fn a_tool_that_is_absent_hangs_or_writes_no_json_fails_with_its_last_line() {
    let (_folder, tool) = fake("echo it broke >&2; exit 70", "");
    let error = tool.list().unwrap_err().to_string();
    assert!(error.contains("devicectl failed: it broke"), "{error}");
    let (_folder, tool) = fake("exit 0", "");
    assert!(tool.list().unwrap_err().to_string().contains("it printed nothing"));
    let (_folder, tool) = fake("exec sleep 30", "");
    let patience = Duration::from_millis(100);
    let slow = Devicectl { patience, ..Devicectl::new(&["x"], []) };
    let error = tool.json(&slow).unwrap_err();
    assert!(error.to_string().contains("did not end within"), "{error}");
    let absent = tools_in(Path::new("/nowhere"));
    assert!(absent.list().unwrap_err().advice().unwrap().contains("install Xcode"));
}

fn order(folder: &Path) -> InstallOrder {
    let project = folder.join("P.xcodeproj");
    std::fs::create_dir_all(&project).unwrap();
    InstallOrder {
        udid: "A-1".into(),
        team: Some("TEAM".into()),
        bundle_id: "my.runner".into(),
        is_entitled: true,
        project,
        derived: folder.join("derived"),
    }
}

#[test]
fn an_install_builds_installs_and_launches_with_the_token() {
    let json = r#"{"info":{"outcome":"success"},"result":{"process":{"processIdentifier":41}}}"#;
    let xcrun = format!(
        "echo \"$DEVICECTL_CHILD_EVALKIT_RUNNER_TOKEN\" >> \"$0-child\"\n{}",
        writes(json, 0)
    );
    let (folder, tool) = fake(&xcrun, "exit 0");
    let token = Token::random();
    let mut steps = Vec::new();
    install(&tool, &order(folder.path()), &token, &mut |step| steps.push(step.to_owned())).unwrap();
    assert_eq!(steps, ["build", "install", "launch"]);
    let at = folder.path().display();
    let expected = [
        format!(
            "xcodebuild -project {at}/P.xcodeproj -scheme EvalRunner -configuration Release -destination \
             id=A-1 -derivedDataPath {at}/derived -allowProvisioningUpdates \
             -allowProvisioningDeviceRegistration PRODUCT_BUNDLE_IDENTIFIER=my.runner \
             DEVELOPMENT_TEAM=TEAM build"
        ),
        format!(
            "xcrun devicectl device install app --quiet --json-output JSON --device A-1 \
             {at}/derived/Build/Products/Release-iphoneos/EvalRunner.app"
        ),
        "xcrun devicectl device process launch --quiet --json-output JSON --device A-1 \
         --terminate-existing my.runner"
            .to_owned(),
    ];
    // No argument holds the token: arguments are in the list of processes, for everyone to read.
    assert_eq!(log(folder.path()), expected);
    let child = std::fs::read_to_string(folder.path().join("xcrun-child")).unwrap();
    assert_eq!(child, format!("\n{}\n", token.as_str()), "only the launch is given the token");
}

#[test]
fn a_personal_team_is_told_to_sign_without_entitlements_and_can() {
    let output = "echo 'error: Personal development teams, including \"A B\", do not support the \
                Extended Virtual Addressing and Increased Memory Limit capabilities.'; \
                echo \"error: No profiles for 'my.runner' were found\"; exit 65";
    let (folder, tool) = fake("exit 0", output);
    let order = InstallOrder { is_entitled: false, ..order(folder.path()) };
    let error = install(&tool, &order, &Token::random(), &mut |_| ()).unwrap_err();
    assert!(error.advice().unwrap().contains("--without-entitlements"), "{error}");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.trim_end().ends_with("CODE_SIGN_ENTITLEMENTS= build"), "{log}");
}

#[test]
fn a_build_that_fails_has_a_hint_and_nothing_is_installed() {
    let output = "echo 'note: building'; echo 'error: No Accounts: add one'; echo '** BUILD FAILED **'; exit 65";
    let (folder, tool) = fake("exit 0", output);
    let error = install(&tool, &order(folder.path()), &Token::random(), &mut |_| ()).unwrap_err();
    assert!(error.to_string().starts_with("build: Xcode knows no Apple account"), "{error}");
    assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap().lines().count(), 1);
}

#[test]
fn an_xcode_that_is_too_old_or_not_there_is_refused_with_the_version_that_is_needed() {
    let require = |xcodebuild: &str| {
        let (_folder, tool) = fake("", xcodebuild);
        require_xcode(&tool).map_err(|error| error.to_string())
    };
    assert_eq!(require("echo Xcode 16.3; echo Build version 16E140"), Ok(()));
    assert_eq!(require("echo Xcode 26.0"), Ok(()));
    let error = require("echo Xcode 16.2; echo Build version 16C5032a").unwrap_err();
    assert!(error.starts_with("expected Xcode 16.3 or later, found 16.2: "), "{error}");
    assert!(error.contains("hint: install Xcode 16.3 or later"), "{error}");
    let error = require(
        "echo \"xcode-select: error: tool 'xcodebuild' requires Xcode, but active developer directory \
         '/Library/Developer/CommandLineTools' is a command line tools instance\" >&2; exit 1",
    );
    assert!(error.unwrap_err().contains("hint: install Xcode, then run: sudo xcode-select -s"));
    let error = require("echo You have not agreed to the Xcode license agreements. >&2; exit 69");
    assert!(error.unwrap_err().contains("sudo xcodebuild -license accept"));
}
