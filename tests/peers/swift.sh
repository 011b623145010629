#!/usr/bin/env bash
# Builds and tests the Swift runner (device-runner/), type-checks its Core ML engine and the app against
# stand-ins for Apple's modules, tests the engine on them, and checks the Xcode project. Leaves a runner
# that tests/peers/swift_runner.sh starts.
#
#   tests/peers/swift.sh [--short]
#
# The short form type-checks, tests, and checks the project, and gives up on what takes more than 90 s.
#
# Needs Swift 6, or root and network to install it (see swift_toolchain.sh), and for the project
# Python 3 and PyPI. Where there is no Swift and none can be had it says so and succeeds.
set -euo pipefail
cd "$(dirname "$0")/../.."
swift=$PWD/tests/peers/swift_toolchain.sh

"$swift" || { code=$?; [[ $code -eq 77 ]] && exit 0; exit "$code"; }

types=("$swift" env EVALKIT_STUB_APPLE=check
    swift build --package-path device-runner --scratch-path device-runner/.build-stub-check)
engine=("$swift" env EVALKIT_STUB_APPLE=tests
    swift test --quiet --package-path device-runner --scratch-path device-runner/.build-stub-tests)

xcode_project() {
    echo "the app: its Xcode project"
    local venv=${CARGO_TARGET_DIR:-target}/swift-venv
    if [[ ! -e $venv/complete ]]; then
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet pbxproj
        touch "$venv/complete"
    fi
    "$venv/bin/python" tests/peers/swift_project.py device-runner/xcode
}

# Runs a command for at most 90 s; the first argument says what it does.
briefly() {
    local code=0 start=$SECONDS
    echo "$1"
    timeout 90 "${@:2}" || code=$?
    if [[ $code -eq 124 ]]; then
        echo "skipped: $1: not done within 90 s"
        return 0
    fi
    echo "$1: $((SECONDS - start)) s"
    return "$code"
}

if [[ ${1:-} == --short ]]; then
    briefly "the Swift runner and the app, type-checked against stand-ins" "${types[@]}"
    briefly "the Swift runner, its tests" "$swift" swift test --quiet --package-path device-runner
    briefly "the Swift runner, its Core ML engine on stand-ins" "${engine[@]}"
    xcode_project
    exit 0
fi

echo "the Swift runner: build and tests"
"$swift" swift build --package-path device-runner --build-tests
"$swift" swift test --quiet --package-path device-runner --skip-build
"$swift" swift build --package-path device-runner --configuration release --product evalkit-runner

echo "the Swift runner and the app: type-checked as on Apple's systems, against stand-ins"
"${types[@]}"

echo "the Swift runner: its Core ML engine, on stand-ins"
"${engine[@]}"

xcode_project

echo "the Swift runner: started"
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
export EVALKIT_RUNNER_TOKEN=00000000000000000000000000000000
tests/peers/swift_started.py tests/peers/swift_runner.sh "$store"
echo "started with: tests/peers/swift_runner.sh --listen 127.0.0.1:0 --store FOLDER --engine simulated"
