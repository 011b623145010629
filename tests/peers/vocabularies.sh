#!/usr/bin/env bash
# Tokenizers of GGUF files, against llama.cpp's own tests and its own splitter of words.
#
#   tests/peers/vocabularies.sh [--short]
#
# Takes llama.cpp's sources and vocabularies from the source distribution of llama-cpp-python on PyPI
# (77 MB, kept in EVALKIT_CI_CACHE). Needs Python and a C++ compiler. Nothing of llama.cpp but its
# splitter is compiled. The short form splits fewer random texts.
set -euo pipefail
cd "$(dirname "$0")/../.."

texts=3000
[[ ${1:-} != --short ]] || texts=200
version=0.3.36
cache=${EVALKIT_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/evalkit-ci}/llama-cpp-python-$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# pip asks the distribution for its metadata, which compiles nothing.
fetch() {
    python3 -m venv "$work/venv" || return 1
    "$work/venv/bin/pip" --quiet --disable-pip-version-check download --no-deps \
        --no-binary llama-cpp-python --dest "$work" "llama-cpp-python==$version" || return 1
    mkdir "$work/unpacked"
    tar -xzf "$work/llama_cpp_python-$version.tar.gz" -C "$work/unpacked" --strip-components=3 \
        --wildcards '*/vendor/llama.cpp/models/ggml-vocab-*' '*/vendor/llama.cpp/src/*' \
        '*/vendor/llama.cpp/LICENSE'
    mkdir -p "$(dirname "$cache")"
    rm -rf "$cache"
    mv "$work/unpacked" "$cache"
}

if [[ ! -e $cache ]] && ! fetch; then
    echo "skipped: vocabularies against llama.cpp: llama-cpp-python $version cannot be downloaded"
    exit 0
fi
export EVALKIT_VOCABULARIES=$cache/models
if command -v c++ >/dev/null; then
    export EVALKIT_WORDS=$work/words.json
    python3 tests/peers/words_llama_cpp.py "$cache" "$texts" "$EVALKIT_WORDS"
else
    echo "skipped: words against llama.cpp: there is no C++ compiler"
fi
cargo test --quiet --release --lib checkpoint::tokenizer::peers -- --nocapture
