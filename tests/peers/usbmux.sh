#!/usr/bin/env bash
# The usbmux client beside the clients of others, against a fake usbmuxd that they accept, and
# against Debian's own usbmuxd with no phone attached. No phone is needed.
#
#   tests/peers/usbmux.sh [--short]
#
# Needs the fake (EVALKIT_FAKE_USBMUXD; diff_real_fake.py may stand in its folder), Python, and
# Debian's packages, which it installs where it may. Whatever is absent is said to be skipped. The
# short form leaves out pymobiledevice3, and Debian's usbmuxd itself.
set -euo pipefail
cd "$(dirname "$0")/../.."

short=${1:-}
fake=${EVALKIT_FAKE_USBMUXD:-../shared/device/fake_usbmuxd.py}
if [[ ! -e $fake ]]; then
    echo "skipped: usbmux against other clients: no fake usbmuxd at $fake (EVALKIT_FAKE_USBMUXD)"
    exit 0
fi
evalkit=${CARGO_TARGET_DIR:-target}/release/evalkit
[[ -x $evalkit ]] || cargo build --quiet --release
udid=00008110-000A1B2C3D4E001E
work=$(mktemp -d)
children=()
finish() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

install() {
    command -v idevice_id >/dev/null && command -v iproxy >/dev/null && command -v usbmuxd >/dev/null && return
    [[ $EUID == 0 ]] && command -v apt-get >/dev/null || return 1
    apt-get update -qq && apt-get install -qqy --no-install-recommends \
        libimobiledevice-utils libusbmuxd-tools usbmuxd >/dev/null
}

wait_for() { # what, command...
    local what=$1
    shift
    for _ in $(seq 100); do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "$what did not come up"
    exit 1
}

same() { # who, what it said
    if ! grep -q "$udid" <<<"$2"; then
        echo "$1 does not list $udid: $2"
        exit 1
    fi
    echo "  $1 lists $udid"
}

listed() {
    USBMUXD_SOCKET_ADDRESS=$1 "$evalkit" devices --device all --timeout 2 --format csv
}

# A port that says one line, as an app on the phone would.
python3 -c '
import socket
s = socket.create_server(("127.0.0.1", 0))
open("'"$work"'/port.new", "w").write(str(s.getsockname()[1]))
import os; os.rename("'"$work"'/port.new", "'"$work"'/port")
while True:
    c, _ = s.accept(); c.sendall(b"from the phone\n"); c.close()' &
children+=($!)
wait_for "the port" test -s "$work/port"
python3 "$fake" "$work/mux" --device "$udid:47193=127.0.0.1:$(cat "$work/port")" \
    2>/dev/null &
children+=($!)
wait_for "the fake usbmuxd" test -S "$work/mux"

echo "against the fake:"
for address in "UNIX:$work/mux" "$work/mux"; do
    same "evalkit devices ($(cut -c1-5 <<<"$address"))" "$(listed "$address")"
done
if install; then
    export USBMUXD_SOCKET_ADDRESS=UNIX:$work/mux
    same idevice_id "$(idevice_id -l)"
    iproxy 47993:47193 >/dev/null 2>&1 &
    children+=($!)
    wait_for iproxy bash -c 'exec 3<>/dev/tcp/127.0.0.1/47993 && read -r line <&3 && [[ $line == "from the phone" ]]'
    echo "  iproxy carries what the port says"
    said=$(sleep 1 | timeout 5 inetcat 47193 || true) # it wants a pipe
    [[ $said == "from the phone" ]] || { echo "inetcat said: $said"; exit 1; }
    echo "  inetcat carries what the port says"
    unset USBMUXD_SOCKET_ADDRESS
else
    echo "skipped: usbmux against idevice_id, iproxy and inetcat: they cannot be installed"
fi

if [[ -n $short ]]; then
    echo "pymobiledevice3 and Debian's usbmuxd are part of the long form"
    exit 0
fi
venv=${CARGO_TARGET_DIR:-target}/usbmux-venv
if [[ ! -e $venv/complete ]]; then
    if python3 -m venv --clear "$venv" &&
        timeout 150 "$venv/bin/pip" install --quiet "pymobiledevice3==11.45.0" 2>/dev/null; then
        touch "$venv/complete"
    fi
fi
if [[ -e $venv/complete ]]; then
    same pymobiledevice3 "$(timeout 60 "$venv/bin/pymobiledevice3" usbmux list --simple --usbmux "$work/mux")"
else
    echo "skipped: usbmux against pymobiledevice3: it cannot be installed"
fi

if ! command -v usbmuxd >/dev/null || ! unshare -m true 2>/dev/null; then
    echo "skipped: usbmux against Debian's usbmuxd: it cannot be run here"
    exit 0
fi
echo "against Debian's usbmuxd, with no phone:"
unshare -m bash -c 'mount -t tmpfs none /run && exec usbmuxd -f -p -n' >/dev/null 2>&1 &
real=$!
children+=("$real")
wait_for usbmuxd test -S "/proc/$real/root/run/usbmuxd"
said=$(listed "/proc/$real/root/run/usbmuxd")
if ! grep -q '^host,' <<<"$said" || grep -q '^usb' <<<"$said"; then
    echo "expected this machine and no phone: $said"
    exit 1
fi
USBMUXD_SOCKET_ADDRESS=/proc/$real/root/run/usbmuxd "$evalkit" devices --device usb 2>"$work/said" &&
    { echo "a phone was found"; exit 1; }
grep -q 'no phone is attached' "$work/said" || { cat "$work/said"; exit 1; }
echo "  evalkit devices lists no phone, and says so"
differ=$(dirname "$fake")/diff_real_fake.py
if [[ -e $differ ]]; then
    python3 "$fake" "$work/none" 2>/dev/null &
    children+=($!)
    wait_for "the fake usbmuxd" test -S "$work/none"
    python3 "$differ" "/proc/$real/root/run/usbmuxd" "$work/none" | tail -1
fi
