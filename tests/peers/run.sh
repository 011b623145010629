#!/usr/bin/env bash
# Holds the committed golden data against the programs it came from: k-means tables and int8
# activations against coremltools, the demo's text against its grammar. Then packages of every kind
# against coremltools, the packages of every architecture and design too, and their steps against
# another interpreter of Core ML programs where there is one.
#
# Needs Python 3.11 and PyPI. The Rust tests read the same golden data; only the packages need cargo.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=${CARGO_TARGET_DIR:-target}/peers-venv
if [[ ! -e $venv/complete ]]; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet coremltools==9.0 "numpy<2.3" safetensors
    touch "$venv/complete"
fi

echo "k-means tables, against coremltools:"
"$venv/bin/python" tests/peers/kmeans_coremltools.py
echo "int8 activations, against coremltools:"
"$venv/bin/python" tests/peers/activations_coremltools.py
echo "the demo's text, against its grammar:"
"$venv/bin/python" datasets/demo/generate.py --check

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
echo "packages, against coremltools:"
EVALKIT_PACKAGES_OUT=$packages cargo test --quiet --release --lib package::peers
"$venv/bin/python" tests/peers/package_coremltools.py "$packages"/*.mlpackage

echo "packages of whole models, against coremltools:"
tests/peers/packages.sh "$packages/models"
"$venv/bin/python" tests/peers/package_coremltools.py "$packages"/models/*/*.mlpackage

interpreter=${EVALKIT_INTERPRETER_PATH:-../shared/coreml/tools/run_mlpackage.py}
if [[ -e $interpreter ]]; then
    echo "32 steps of every package, against $(basename "$interpreter"):"
    EVALKIT_INTERPRETER="$venv/bin/python $interpreter" \
        cargo test --quiet --release --test integration steps:: -- --nocapture
else
    echo "skipped: no interpreter of Core ML programs at $interpreter (EVALKIT_INTERPRETER_PATH)"
fi

echo "pages, in a browser:"
tests/peers/pages.sh

echo "usbmux, against the clients and the usbmuxd of others:"
tests/peers/usbmux.sh
echo "the Swift runner:"
tests/peers/swift.sh
echo "the whole way to a phone, simulated:"
tests/peers/phone.sh
