#!/usr/bin/env bash
# How long a report of 100,000 records takes, and how much memory: 2 s and 300 MB are the limits.
#
#   benches/report.sh [CELLS] [TOKENS]     50 variants, 16 tokens with a divergence per window
#
# Exit code 1 where a limit is missed; with EVALKIT_TINY none is held.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --release --quiet
python3 benches/make_store.py "$work/store" "${1:-50}" "${2:-16}"
python3 benches/figures.py report "${CARGO_TARGET_DIR:-target}/release/evalkit" "$work/store" "$work/out"
