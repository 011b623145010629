#!/usr/bin/env bash
# Builds and tests the Swift runner (device-runner/), type-checks its Core ML engine and the app against
# stand-ins for Apple's modules, tests the engine on them, and checks the Xcode project. Leaves a runner
# that tests/peers/swift_runner.sh starts.
#
#   tests/peers/swift.sh [--short]
#
# The short form only builds and runs the runner's tests, with a Swift 6 that is here already, and gives
# up after 90 seconds.
#
# Needs Swift 6, or root and network to install it (see swift_toolchain.sh), and for the project
# Python 3 and PyPI. Where there is no Swift and none can be had it says so and succeeds.
set -euo pipefail
cd "$(dirname "$0")/../.."
swift=$PWD/tests/peers/swift_toolchain.sh

"$swift" || { code=$?; [[ $code -eq 77 ]] && exit 0; exit "$code"; }

if [[ ${1:-} == --short ]]; then
    echo "the Swift runner: build and tests, for at most 90 s"
    code=0
    timeout 90 "$swift" swift test --quiet --package-path device-runner || code=$?
    if [[ $code -eq 124 ]]; then
        echo "skipped: the Swift runner: its tests were not built and run within 90 s"
        exit 0
    fi
    exit "$code"
fi

echo "the Swift runner: build and tests"
"$swift" swift build --package-path device-runner --build-tests
"$swift" swift test --quiet --package-path device-runner --skip-build
"$swift" swift build --package-path device-runner --configuration release --product evalkit-runner

echo "the Swift runner and the app: type-checked as on Apple's systems, against stand-ins"
"$swift" env EVALKIT_STUB_APPLE=check \
    swift build --package-path device-runner --scratch-path device-runner/.build-stub-check

echo "the Swift runner: its Core ML engine, on stand-ins"
"$swift" env EVALKIT_STUB_APPLE=tests \
    swift test --quiet --package-path device-runner --scratch-path device-runner/.build-stub-tests

echo "the app: its Xcode project"
venv=${CARGO_TARGET_DIR:-target}/swift-venv
if [[ ! -e $venv/complete ]]; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet pbxproj
    touch "$venv/complete"
fi
"$venv/bin/python" tests/peers/swift_project.py device-runner/xcode

echo "the Swift runner: started"
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
export EVALKIT_RUNNER_TOKEN=00000000000000000000000000000000
tests/peers/swift_started.py tests/peers/swift_runner.sh "$store"
echo "started with: tests/peers/swift_runner.sh --listen 127.0.0.1:0 --store FOLDER --engine simulated"
