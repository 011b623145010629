//! Tests of Apple's tools, with recorded JSON and with scripts in place of the tools.

use std::os::unix::fs::PermissionsExt;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::device::protocol::token::Token;
use crate::device::transport::usbmux::Attached;

const LIST: &str = include_str!("fixtures/list.json");
const LOCKED: &str = include_str!("fixtures/locked.json");
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

/// A script that writes `json` to the file named by `--json-output`.
fn writes(json: &str, code: i32) -> String {
    format!(
        "while [ \"$1\" != --json-output ]; do shift; done\ncat > \"$2\" <<'END'\n{json}\nEND\nexit {code}"
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
    let (_folder, tool) = fake(&writes(LOCKED, 1), "");
    let error = tool.launch("A", BUNDLE_ID, &Token::random()).unwrap_err();
    assert_eq!(error.exit().code(), 3);
    assert!(error.to_string().starts_with("the phone is locked\nhint: unlock"), "{error}");
}

#[test]
fn a_tool_that_is_absent_hangs_or_writes_no_json_fails_with_its_last_line() {
    let (_folder, tool) = fake("echo it broke >&2; exit 70", "");
    let error = tool.list().unwrap_err().to_string();
    assert!(error.contains("devicectl failed: it broke"), "{error}");
    let (_folder, tool) = fake("exit 0", "");
    assert!(tool.list().unwrap_err().to_string().contains("it printed nothing"));
    let (_folder, tool) = fake("exec sleep 30", "");
    let error = tool.json(&["x".into()], Duration::from_millis(100)).unwrap_err();
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
    let (folder, tool) = fake(&writes(json, 0), "exit 0");
    let token = Token::random();
    let mut steps = Vec::new();
    install(&tool, &order(folder.path()), &token, &mut |step| steps.push(step.to_owned())).unwrap();
    assert_eq!(steps, ["build", "install", "launch"]);
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[0].contains("-destination id=A-1")
            && lines[0].ends_with("DEVELOPMENT_TEAM=TEAM build")
    );
    assert!(lines[1].contains("xcrun devicectl device install app --json-output"), "{}", lines[1]);
    assert!(lines[1].contains("--device A-1") && lines[1].ends_with("EvalRunner.app"));
    assert!(lines[2].contains("--terminate-existing") && lines[2].contains(token.as_str()));
    assert!(lines[2].ends_with("my.runner"));
}

#[test]
fn a_personal_team_is_told_to_sign_without_entitlements_and_can() {
    let output = "echo 'error: Personal development teams, including \"A B\", do not support the \
                Increased Memory Limit capability.'; exit 65";
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
