#!/usr/bin/env bash
# Holds evalkit against programs that others wrote: k-means tables, int8 activations and packages
# against coremltools, decoding steps against another interpreter of Core ML programs, types of GGUF
# files against the gguf package, tokenizers against llama.cpp, real models against llama.cpp and
# transformers, pages in a browser, Core ML's stand-in against its selectors, usbmux against its other
# clients, and the Swift runner, alone and driven by evalkit.
#
#   tests/peers/run.sh [--short]
#
# The short form takes at most 90 seconds per check, or part of it: fewer packages, no installation of a
# toolchain. Needs Python 3.11 and PyPI; what a check needs beyond that it says itself.
set -euo pipefail
cd "$(dirname "$0")/../.."
steps_title="peer checks"
. .ci/steps.sh

short=()
if [[ ${1:-} == --short ]]; then
    short=(--short)
    export EVALKIT_SHORT=1
fi
packages=$(mktemp -d)
steps_cleanup() { rm -rf "$packages"; }
venv=${CARGO_TARGET_DIR:-target}/peers-venv

install_coremltools() {
    [[ -e $venv/complete ]] && return
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet coremltools==9.0 "numpy<2.3" safetensors
    touch "$venv/complete"
}

packages_of_layers() {
    EVALKIT_PACKAGES_OUT=$packages cargo test --quiet --release --lib package::peers
    "$venv/bin/python" tests/peers/package_coremltools.py "$packages"/*.mlpackage
}

packages_of_models() {
    tests/peers/packages.sh "${short[@]}" "$packages/models"
    "$venv/bin/python" tests/peers/package_coremltools.py "$packages"/models/*/*.mlpackage
}

ggml_blocks() {
    local blocks=$packages/ggml_blocks.json
    "$venv/bin/pip" install --quiet gguf==0.19.0
    "$venv/bin/python" tests/golden/make_blocks.py --blocks 400 --seed 1 "$blocks"
    EVALKIT_GGML_BLOCKS=$blocks cargo test --quiet --release --lib gguf::blocks
}

interpreter() {
    local path=${EVALKIT_INTERPRETER_PATH:-../shared/coreml/tools/run_mlpackage.py}
    if [[ ! -e $path ]]; then
        echo "skipped: steps against another interpreter: none at $path (EVALKIT_INTERPRETER_PATH)"
        return
    fi
    EVALKIT_INTERPRETER="$venv/bin/python $path" \
        cargo test --quiet --release --test integration steps:: -- --nocapture
}

step "coremltools" install_coremltools
step "k-means tables, against coremltools" "$venv/bin/python" tests/peers/kmeans_coremltools.py
step "int8 activations, against coremltools" "$venv/bin/python" tests/peers/activations_coremltools.py
step "the demo's text, against its grammar" "$venv/bin/python" datasets/demo/generate.py --check
step "packages of single layers, against coremltools" packages_of_layers
step "packages of models, against coremltools" packages_of_models
step "decoding steps, against another interpreter" interpreter
step "types of GGUF files, against the gguf package" ggml_blocks
step "tokenizers, against llama.cpp" tests/peers/vocabularies.sh "${short[@]}"
step "real models, against llama.cpp and transformers" tests/peers/real_models.sh "${short[@]}"
step "pages, in a browser" tests/peers/pages.sh "${short[@]}"
step "kernels for ARM, emulated" tests/peers/neon.sh
step "scripts and workflows" tests/peers/scripts.sh "${short[@]}"
step "Core ML's stand-in, against its selectors" tests/peers/coreml_selectors.py
step "usbmux, against other clients" tests/peers/usbmux.sh "${short[@]}"
step "the Swift runner" tests/peers/swift.sh "${short[@]}"
step "a Mac and a phone, simulated" tests/peers/mac.sh
