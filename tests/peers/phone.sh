#!/usr/bin/env bash
# The whole way to a phone without one: evalkit bench, over a fake usbmuxd that real clients accept,
# to the Swift runner's process with its simulated engine. What comes back must say `simulated`.
#
# The fake is EVALKIT_FAKE_USBMUXD [default: ../shared/device/fake_usbmuxd.py]; swift.sh must have
# built the runner. Where one is missing, says so and ends well.
set -euo pipefail
cd "$(dirname "$0")/../.."

fake=${EVALKIT_FAKE_USBMUXD:-../shared/device/fake_usbmuxd.py}
if [[ ! -e $fake ]]; then
    echo "skipped: the way to a phone: no fake usbmuxd at $fake (EVALKIT_FAKE_USBMUXD)"
    exit 0
fi
if [[ ! -x device-runner/.build/release/evalkit-runner ]]; then
    echo "skipped: the way to a phone: no Swift runner is built; tests/peers/swift.sh builds it"
    exit 0
fi

work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

evalkit=${CARGO_TARGET_DIR:-target}/release/evalkit
cargo build --quiet --release
udid=00008110-000A11111111801E
EVALKIT_RUNNER_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export EVALKIT_RUNNER_TOKEN
setsid tests/peers/swift_runner.sh --listen 127.0.0.1:0 --store "$work/store" --engine simulated \
    >"$work/listening" 2>"$work/runner.log" &
pids+=($!)
for _ in $(seq 300); do [[ -s $work/listening ]] && break; sleep 0.1; done
port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/listening")
[[ -n $port ]] || { echo "the Swift runner did not start:"; cat "$work/runner.log"; exit 1; }
setsid python3 "$fake" "$work/usbmuxd" --device "$udid:47193=127.0.0.1:$port" 2>"$work/fake.log" &
pids+=($!)
for _ in $(seq 100); do [[ -S $work/usbmuxd ]] && break; sleep 0.1; done
export USBMUXD_SOCKET_ADDRESS=UNIX:$work/usbmuxd

for recipe in palette4-g16-s palette2-g16-s; do
    "$evalkit" --quiet package --recipe $recipe --output "$work/$recipe" >/dev/null
done
"$evalkit" --quiet devices --device "usb:$udid"
"$evalkit" --quiet bench "$work"/palette* --device "usb:$udid" --repetitions 6 \
    --reports "$work/reports" --format markdown | tee "$work/table.md"

python3 - "$work" "$udid" <<'PYTHON'
import json, pathlib, sys
work, udid = pathlib.Path(sys.argv[1]), sys.argv[2]
table = (work / "table.md").read_text()
assert f"SIMULATED: On usb:{udid}" in table, "the title does not say that it is simulated"
rows = [line for line in table.splitlines() if line.startswith("| palette") and "measured" in line]
assert not rows, f"a simulated number is called measured: {rows}"
[file] = work.glob("reports/*/measurements.jsonl")
lines = [json.loads(line) for line in file.read_text().splitlines()]
devices = [line for line in lines if line["kind"] == "device"]
assert devices and all(one["description"]["simulated"] for one in devices), devices
kept = [line for line in lines if line["kind"] == "repetition" and line["outcome"] == "kept"]
assert len(kept) == 12, f"expected 12 kept repetitions, found {len(kept)}"
truths = [line for line in lines if line["kind"] == "correctness_check"]
assert len(truths) == 2 and not any(one["holds"] for one in truths), truths
print(f"{len(kept)} repetitions from {devices[0]['description']['runner']}, all marked simulated")
PYTHON
