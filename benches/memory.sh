#!/usr/bin/env bash
# How much memory a sweep takes: a checkpoint of 6.2 GB, three variants, held against the sum that
# `--dry-run` prints and against a quarter of the file.
#
#   benches/memory.sh
#
# Needs 7 GB in TMPDIR, which it gives back. Exit code 1 where a limit is missed.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --release --quiet
python3 benches/make_checkpoint.py "$work/model"
head -c 20000 datasets/demo/text.txt >"$work/text.txt"
sweep() {
    "${CARGO_TARGET_DIR:-target}/release/evalkit" sweep --model "$work/model" \
        --text "$work/text.txt" --context 128 --limit 2 --bits 4,2,1 --reports "$work/reports" "$@"
}
sweep --dry-run --format json >"$work/predicted.json"
sweep >/dev/null
python3 benches/figures.py memory "$work"/reports/*/sessions.jsonl "$work/predicted.json" \
    "$work/model/model.safetensors"
