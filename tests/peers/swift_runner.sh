#!/usr/bin/env bash
# Starts the Swift runner that swift.sh built, with the arguments given: evalkit-runner's own, see
# --help. Its standard streams, signals, exit code and network are this process's.
#
#   EVALKIT_RUNNER_TOKEN=... swift_runner.sh --listen 127.0.0.1:0 --store FOLDER --engine simulated
set -euo pipefail
peers=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$peers/../.." && pwd)
binary=$repo/device-runner/.build/release/evalkit-runner
if [[ ! -x $binary ]]; then
    echo "error: $binary is not built" >&2
    echo "hint: tests/peers/swift.sh builds it" >&2
    exit 3
fi
# The store must be visible to the runner at the path that it is given.
arguments=()
while [[ $# -gt 0 ]]; do
    arguments+=("$1")
    if [[ $1 == --store && $# -gt 1 ]]; then
        mkdir -p "$2"
        store=$(cd "$2" && pwd)
        arguments+=("$store")
        export EVALKIT_SWIFT_BIND=$store${EVALKIT_SWIFT_BIND:+:$EVALKIT_SWIFT_BIND}
        shift
    fi
    shift
done
cd "$repo"
exec "$peers/swift_toolchain.sh" "$binary" "${arguments[@]}"
