#!/usr/bin/env bash
# How much memory a long text takes: the peak of a sweep of 16 windows on 1 GB of text, held against the
# peak of the same windows on a short text. At most 100 MB may lie between them.
#
#   benches/text_memory.sh [EVALKIT]
#
# Needs 1 GB in TMPDIR, which it gives back, and Linux's /proc. Exit code 1 where the limit is missed.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

evalkit=${1:-}
if [ -z "$evalkit" ]; then
    cargo build --release --quiet
    evalkit="${CARGO_TARGET_DIR:-target}/release/evalkit"
fi
# A program that keeps the whole text must not take the machine with it.
ulimit -v 8000000
cp datasets/demo/text.txt "$work/short.txt"
bytes=$(wc -c <"$work/short.txt")
for ((at = 0; at < 1000000000 / bytes + 1; at++)); do
    cat "$work/short.txt"
done >"$work/long.txt"

# The peak of one sweep in kB.
peak() {
    "$evalkit" sweep --model demo --text "$work/$1.txt" --context 256 --limit 16 --recipes palette4 \
        --reports "$work/reports-$1" --quiet >/dev/null &
    local pid=$! peak=0 now
    while now=$(grep -s VmHWM "/proc/$pid/status" | tr -dc 0-9) && [ -n "$now" ]; do
        peak=$now
        sleep 0.02
    done
    wait "$pid" || return 1
    echo "$peak"
}
short=$(peak short) || { echo "the sweep of the short text failed"; exit 1; }
long=$(peak long) || { echo "the sweep of the long text failed, in at most 8 GB"; exit 1; }
echo "peak with $bytes bytes of text: $short kB; with 1 GB: $long kB; more: $((long - short)) kB"
[ $((long - short)) -le 100000 ]
