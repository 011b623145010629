#!/usr/bin/env bash
# What a sweep of a model shaped like gpt-oss-20b takes: three of its layers, all 32 experts each,
# and its vocabulary, with 4, 2 and 1 bits beside the reference on 4 windows of 256 tokens.
#
#   benches/gpt_oss.sh
#
# Needs 4 GB in TMPDIR, which it gives back. Exit code 1 where memory is over a limit. Times are
# wall clock: on a machine that others use they say little.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
layers=3

cargo build --release --quiet
python3 benches/make_gpt_oss.py "$work/model" --layers "$layers"
head -c 4000 datasets/demo/text.txt >"$work/text.txt"
sweep() {
    "${CARGO_TARGET_DIR:-target}/release/evalkit" sweep --model "$work/model" \
        --text "$work/text.txt" --context 256 --limit 4 --bits 4,2,1 --reports "$work/reports" "$@"
}
sweep --dry-run --format json >"$work/predicted.json"
sweep
python3 benches/gpt_oss_figures.py "$work"/reports/*/sessions.jsonl "$work/predicted.json" "$layers"
