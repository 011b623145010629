#!/usr/bin/env bash
# The pages of a demo sweep, and of a SmolLM2 sweep where EVALKIT_SMOLLM2 names the GGUF file, in a
# headless Chromium: what `pages.py` says; and one that sets two runs side by side.
#
#   tests/peers/pages.sh [--short] [SCREENSHOTS]
#
# The short form leaves SmolLM2 out.
#
# Needs Python 3.11, PyPI and a Chromium: the one that EVALKIT_BROWSER names, one that is installed,
# Debian's (as root), or Playwright's own.
set -euo pipefail
cd "$(dirname "$0")/../.."

short=
if [[ ${1:-} == --short ]]; then
    short=1
    shift
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
screenshots=${1:-$work/screenshots}

venv=${CARGO_TARGET_DIR:-target}/pages-venv
if [[ ! -e $venv/complete ]]; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet "playwright>=1.40"
    touch "$venv/complete"
fi

find_browser() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return
    done
    return 1
}
install_browser() {
    if [[ $EUID == 0 ]] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -qqy --no-install-recommends chromium && return
    fi
    "$venv/bin/playwright" install chromium
}
if [[ -z ${EVALKIT_BROWSER:-} ]] && ! EVALKIT_BROWSER=$(find_browser); then
    if ! install_browser >"$work/install.log" 2>&1; then
        tail -n 3 "$work/install.log"
        echo "skipped: pages in a browser: no Chromium is here, and none can be installed"
        exit 0
    fi
    EVALKIT_BROWSER=$(find_browser) || true
fi
export EVALKIT_BROWSER=${EVALKIT_BROWSER:-}
echo "browser: ${EVALKIT_BROWSER:-Playwright\'s own}"

cargo build --quiet --release
evalkit=${CARGO_TARGET_DIR:-target}/release/evalkit
sweep() { # name, arguments
    "$evalkit" --quiet sweep --reports "$work/$1-runs" "${@:2}" >/dev/null
    mkdir "$work/$1"
    "$evalkit" --quiet report "$work/$1-runs"/* --output "$work/$1"
    cmp "$work/$1/report.html" "$work/$1-runs"/*/report.html
}
pages=(demo two)
sweep demo --limit 24 --bits 8,4,3,2,1 --device host --generate 16 --prompt-tokens 16
sweep other --limit 16 --bits 4,2
"$evalkit" --quiet report "$work/other-runs"/* "$work/demo-runs"/* --output "$work/two"
if [[ -n $short ]]; then
    echo "SmolLM2's pages are part of the long form"
elif [[ -n ${EVALKIT_SMOLLM2:-} ]]; then
    text=../shared/datasets/wiki.test.raw
    [[ -e $text ]] || text=datasets/demo/text.txt
    sweep smollm2 --model "$EVALKIT_SMOLLM2" --text "$text" --protocol llama.cpp --limit 4 \
        --bits 4,2,1
    pages+=(smollm2)
else
    echo "skipped: pages of SmolLM2: EVALKIT_SMOLLM2 names no GGUF file"
fi

"$venv/bin/python" tests/peers/pages.py "$screenshots" "${pages[@]/#/$work/}"
