#!/usr/bin/env bash
# Decode speed of SmolLM2-135M at 2 bits beside llama.cpp's Q2_K on the same cores, as tokens/s.
#
#   EVALKIT_SMOLLM2=SmolLM2-135M-Instruct.Q4_1.gguf benches/llamacpp.sh
#
# llama-bench and llama-quantize are taken from the folder LLAMA_BIN or from PATH; where they are
# missing, llama.cpp is built under target/llama.cpp at LLAMA_TAG (git, cmake, a C++ compiler).
# THREADS (default: all cores) holds for both. Memory
# that evalkit holds beside the mapped file goes to stderr. The machine should have nothing else to do.
#
# The two do not compute the same: llama.cpp rounds activations to int8 and its Q2_K has a head of
# more bits; evalkit keeps activations in f32 and the head at fp16.
set -euo pipefail

: "${EVALKIT_SMOLLM2:?the path of SmolLM2-135M-Instruct as GGUF}"
: "${LLAMA_TAG:=master}"
: "${THREADS:=$(getconf _NPROCESSORS_ONLN)}"
cd "$(dirname "$0")/.."
work=target/llama.cpp
mkdir -p "$work"

if [ -z "${LLAMA_BIN:-}" ] && command -v llama-bench > /dev/null; then
    LLAMA_BIN=$(dirname "$(command -v llama-bench)")
fi
if [ -z "${LLAMA_BIN:-}" ]; then
    [ -d "$work/source" ] || git clone --quiet --depth 1 --branch "$LLAMA_TAG" \
        https://github.com/ggml-org/llama.cpp "$work/source"
    cmake -S "$work/source" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF >&2
    cmake --build "$work/build" --target llama-bench llama-quantize -j "$THREADS" >&2
    LLAMA_BIN=$work/build/bin
fi

model=$work/q2_k.gguf
[ -f "$model" ] || "$LLAMA_BIN/llama-quantize" --allow-requantize "$EVALKIT_SMOLLM2" "$model" \
    Q2_K "$THREADS" > "$work/quantize.log" 2>&1
theirs=$("$LLAMA_BIN/llama-bench" -m "$model" -t "$THREADS" -p 0 -n 64 -r 5 -o json |
    sed -n 's/.*"avg_ts": *\([0-9.]*\).*/\1/p')

# criterion's middle estimate of elements, which are tokens, per second.
ours=$(RAYON_NUM_THREADS=$THREADS cargo bench --bench decode -- 'Q4_1/palette2' |
    sed -n 's|.*thrpt: *\[[0-9.]* elem/s \([0-9.]*\) elem/s.*|\1|p' | head -n 1)

echo "llama.cpp Q2_K          $theirs tokens/s"
echo "evalkit palette2-g16-s  $ours tokens/s"
awk "BEGIN { printf \"ratio                   %.2f\n\", $ours / $theirs }"
