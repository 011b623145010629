"""devicectl of the pretend Mac: lists phones, tells whether they are locked, installs and launches."""

import json
import os
import pathlib
import plistlib
import signal
import subprocess
import sys
import time

import arguments
import failures

PHONE = {
    "udid": "00008110-000A1B2C3D4E001E",
    "name": "A phone",
    "product_type": "iPhone14,2",
    "platform": "iOS",
    "reality": "physical",
    "os": "26.1",
    "pairing": "paired",
    "connection": "connected",
    "developer_mode": "enabled",
    "image_mounted": True,
    "is_locked": False,
    "is_full": False,
    "free_apps": 0,
    "trusts_developer": True,
    "apps": [],
}


def main(mac, words):
    subcommand, options, positional = arguments.parse(words)
    work = {
        ("list", "devices"): list_devices,
        ("device", "info", "lockState"): lock_state,
        ("device", "info", "details"): details,
        ("device", "install", "app"): install,
        ("device", "process", "launch"): launch,
    }[subcommand]
    progress = (lambda line: None) if "--quiet" in options else say
    document = {"info": {
        "arguments": ["devicectl", *words],
        "commandType": "devicectl." + ".".join(subcommand),
        "environment": {"TERM": "xterm-256color"},
        "jsonVersion": mac["json_version"],
        "outcome": "success",
        "version": "518.31",
    }}
    try:
        document["result"] = work(mac, options, positional, progress)
    except failures.Failure as failure:
        document["info"]["outcome"] = "failed"
        document["error"] = failure.to_json()
        print(failure.to_text(), file=sys.stderr)
    target = options.get("--json-output")
    if target == "-":
        print(json.dumps(document, indent=2))
    elif target:
        pathlib.Path(target).write_text(json.dumps(document, indent=2))
    sys.exit(0 if "result" in document else 1)


def say(line):
    print(time.strftime("%H:%M:%S"), f" {line}", flush=True)


def phones(mac):
    """All devices with their defaults; changes of `apps` last."""
    for phone in mac["phones"]:
        for name, value in PHONE.items():
            phone.setdefault(name, list(value) if isinstance(value, list) else value)
    return mac["phones"]


def chosen(mac, options, progress):
    """The named device, reached and ready for developer services."""
    wanted = options["--device"]
    phone = next((one for one in phones(mac) if wanted in (one["udid"], one["name"])), None)
    if phone is None:
        raise failures.not_found(wanted)
    if phone["pairing"] != "paired":
        raise failures.not_paired()
    if phone["connection"] == "unavailable":
        raise failures.unreachable()
    progress("Acquired tunnel connection to device.")
    return phone


def with_image(phone, progress):
    progress("Enabling developer disk image services.")
    if phone["developer_mode"] != "enabled":
        raise failures.developer_mode_off()
    if not phone["image_mounted"]:
        raise failures.image_not_mounted(phone["is_locked"])
    progress("Acquired usage assertion.")


def list_devices(mac, options, _positional, _progress):
    described = [describe(mac, options, phone) for phone in phones(mac)]
    result = {"devices": described}
    if mac["json_version"] >= 5 and not omits_deprecated(mac, options):
        fields = ["hardwareProperties", "deviceProperties", "connectionProperties"]
        result["_deprecationNotice"] = {"deprecatedFields": fields, "replacement": "properties"}
    return result


def details(mac, options, _positional, progress):
    return describe(mac, options, chosen(mac, options, progress))


def omits_deprecated(mac, options):
    return mac["json_version"] >= 5 and (mac["omits_deprecated"] or "--omit-deprecated-fields-in-json" in options)


def describe(mac, options, phone):
    """One device in the spelling of the JSON's version. What a phone does not tell is left out."""
    known = {key: value for key, value in phone.items() if value is not None}
    device = {"identifier": "C51610FF-15B1-5989-A8A3-DE2EDFACEB5B", "visibilityClass": "default"}
    pick = lambda **names: {new: known[old] for new, old in names.items() if old in known}
    if not omits_deprecated(mac, options):
        device["hardwareProperties"] = pick(udid="udid", productType="product_type", platform="platform",
                                            reality="reality")
        device["deviceProperties"] = pick(name="name", osVersionNumber="os", developerModeStatus="developer_mode")
        device["connectionProperties"] = pick(pairingState="pairing", tunnelState="connection")
    if mac["json_version"] >= 5:
        properties = {
            "hardware": pick(udid="udid", productType="product_type", platform="platform", reality="reality"),
            "state": pick(name="name"),
            "software": {},
            "connection": pick(pairingState="pairing", state="connection"),
        }
        if "developer_mode" in known:
            mode = {"mode": 1} if known["developer_mode"] == "enabled" else {}
            properties["state"]["developerModeStatus"] = {known["developer_mode"]: mode}
        if "os" in known:
            parts = [int(part) for part in known["os"].split(".")]
            version = {"stringValue": known["os"], "components": parts + [0] * (5 - len(parts))}
            properties["software"]["osVersionNumber"] = version
        device["properties"] = properties
    return device


def lock_state(mac, options, _positional, progress):
    phone = chosen(mac, options, progress)
    return {"passcodeRequired": phone["is_locked"], "unlockedSinceBoot": True}


def install(mac, options, positional, progress):
    phone = chosen(mac, options, progress)
    info = plistlib.loads((pathlib.Path(positional[0]) / "Info.plist").read_bytes())
    bundle_id = info["CFBundleIdentifier"]
    with_image(phone, progress)
    if info["signature"] == "expired":
        raise failures.install("expired", bundle_id)
    if phone["is_full"]:
        raise failures.install("full", bundle_id)
    if info["team"] == "personal" and phone["free_apps"] >= 3:
        raise failures.install("too many", bundle_id)
    phone["apps"] = sorted({*phone["apps"], bundle_id})
    mac.keep()
    return {"installedApplications": [{"bundleID": bundle_id, "launchServicesIdentifier": "unknown"}]}


def launch(mac, options, positional, progress):
    phone, bundle_id = chosen(mac, options, progress), positional[0]
    with_image(phone, progress)
    if bundle_id not in phone["apps"]:
        raise failures.launch("absent", bundle_id)
    if phone["is_locked"]:
        raise failures.launch("locked", bundle_id)
    if not phone["trusts_developer"]:
        raise failures.launch("untrusted", bundle_id)
    return {"process": {"processIdentifier": start(mac, options)}}


def start(mac, options):
    """Starts the app with the variables that are meant for it. A running one goes on, or is ended first."""
    file = mac.folder / "app.pid"
    pid = int(file.read_text()) if file.exists() else None
    if pid and is_running(pid):
        if "--terminate-existing" not in options:
            return pid
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 5
        while is_running(pid) and time.monotonic() < until:
            time.sleep(0.01)
    if not mac["app"]:
        return 4242
    prefix = "DEVICECTL_CHILD_"
    # As on a phone: nothing of the Mac's environment but what is asked for.
    variables = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    if "--environment-variables" in options:
        variables.update(json.loads(options["--environment-variables"]))
    else:
        variables.update({name.removeprefix(prefix): value for name, value in os.environ.items()
                          if name.startswith(prefix)})
    with open(mac.folder / "app.log", "ab") as log:
        app = subprocess.Popen(mac["app"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables,
                               start_new_session=True)
    file.write_text(str(app.pid))
    return app.pid


def is_running(pid):
    """Whether a process runs; one that ended and was not waited for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")
