#!/usr/bin/env bash
# A Mac with a phone, without either: `evalkit devices install`, `devices` and `bench` on the pretend Mac
# (pretend_mac/), over a fake usbmuxd that real clients accept. The launched app is the Swift runner's
# process with its simulated engine, or `evalkit runner --simulated` where no Swift runner is built. What comes
# back must say `simulated`, and no command line may show the token.
#
# The fake is EVALKIT_FAKE_USBMUXD [default: ../shared/device/fake_usbmuxd.py]; swift.sh builds the Swift
# runner. Where something is missing, says so and ends well.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD

fake=${EVALKIT_FAKE_USBMUXD:-../shared/device/fake_usbmuxd.py}
if [[ ! -e $fake ]]; then
    echo "skipped: a Mac and a phone: no fake usbmuxd at $fake (EVALKIT_FAKE_USBMUXD)"
    exit 0
fi

work=$(mktemp -d)
pids=()
finish() {
    # The app is the leader of a group of its own.
    [[ ! -e $work/app.pid ]] || kill -TERM -- "-$(cat "$work/app.pid")" 2>/dev/null || true
    for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

evalkit=$(realpath "${CARGO_TARGET_DIR:-target}")/release/evalkit
cargo build --quiet --release
udid=00008110-000A1B2C3D4E001E
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
runner=(--listen "127.0.0.1:$port" --store "$work/store")
if [[ -x device-runner/.build/release/evalkit-runner ]]; then
    # The toolchain is in this machine's cache, not in the pretend Mac's.
    cache=${EVALKIT_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/evalkit-ci}
    app=(env "EVALKIT_CI_CACHE=$cache" "$root/tests/peers/swift_runner.sh" "${runner[@]}" --engine simulated)
else
    echo "skipped: the Swift runner as the app: none is built; tests/peers/swift.sh builds it"
    app=("$evalkit" runner "${runner[@]}" --simulated)
fi

mkdir "$work/bin" "$work/home" "$work/store"
for tool in xcrun xcodebuild xcode-select; do
    ln -s "$root/tests/peers/pretend_mac/pretend_mac.py" "$work/bin/$tool"
done
# Xcode 27's JSON without the fields that it announces to remove, and a free team.
python3 - "$work" "${app[@]}" <<'PYTHON'
import json, pathlib, sys
state = {"xcode": "27.0", "json_version": 5, "omits_deprecated": True, "account": "personal",
         "taken_bundle_ids": ["dev.evalkit.runner"], "phones": [{}], "app": sys.argv[2:]}
(pathlib.Path(sys.argv[1]) / "state.json").write_text(json.dumps(state))
PYTHON
setsid python3 "$fake" "$work/usbmuxd" --device "$udid:47193=127.0.0.1:$port" 2>"$work/fake.log" &
pids+=($!)
for _ in $(seq 100); do [[ -S $work/usbmuxd ]] && break; sleep 0.1; done

# The program on the pretend Mac.
on_mac() {
    env -u EVALKIT_RUNNER_TOKEN -u XDG_CACHE_HOME PATH="$work/bin:$PATH" HOME="$work/home" \
        XDG_CONFIG_HOME="$work/home/.config" TMPDIR="$work" EVALKIT_PRETEND_MAC="$work" USBMUXD_SOCKET_ADDRESS="UNIX:$work/usbmuxd" \
        "$evalkit" --quiet "$@"
}

install=(devices install --team ABCDE12345 --sources "$root")
if on_mac "${install[@]}" --bundle-id com.me.runner 2>"$work/refused"; then
    echo "a free team was allowed to sign the memory entitlements"
    exit 1
fi
grep -q -- "--without-entitlements" "$work/refused"
on_mac "${install[@]}" --bundle-id com.me.runner --without-entitlements
on_mac devices --device "usb:$udid"
for recipe in palette4-g16-s palette2-g16-s; do
    on_mac package --recipe $recipe --output "$work/$recipe" >/dev/null
done
on_mac bench "$work"/palette* --device "usb:$udid" --repetitions 6 \
    --reports "$work/reports" --format markdown | tee "$work/table.md"
on_mac sweep --limit 2 --bits 4 --device usb --repetitions 2 \
    --reports "$work/sweeps" --format markdown | tee "$work/sweep.md"

python3 - "$work" "$udid" <<'PYTHON'
import json, pathlib, sys
work, udid = pathlib.Path(sys.argv[1]), sys.argv[2]
kept = []
for page, reports, expected in [("table.md", "reports", 12), ("sweep.md", "sweeps", 2)]:
    table = (work / page).read_text()
    assert f"SIMULATED: On usb:{udid}" in table, f"{page}: the title does not say that it is simulated"
    rows = [line for line in table.splitlines() if line.startswith("| palette") and "| measured |" in line]
    assert not rows, f"{page}: a simulated number is called measured: {rows}"
    [file] = work.glob(f"{reports}/*/measurements.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    devices = [line for line in lines if line["kind"] == "device"]
    assert devices and all(one["description"]["simulated"] for one in devices), devices
    here = [line for line in lines if line["kind"] == "repetition" and line["outcome"] == "kept"]
    assert len(here) == expected, f"{page}: expected {expected} kept repetitions, found {len(here)}"
    kept += here
[token] = [path.read_text().strip() for path in work.glob("home/.config/evalkit/tokens/0*")]
log = (work / "log.jsonl").read_text()
assert token not in log, "a command line shows the token"
calls = [json.loads(line) for line in log.splitlines()]
launches = [call["arguments"] for call in calls if "launch" in call["arguments"]]
assert len(launches) > 1 and all(words[-1] == "com.me.runner" for words in launches), launches
print(f"{len(kept)} repetitions from {devices[0]['description']['runner']}, {len(launches)} launches, "
      "all marked simulated")
PYTHON
