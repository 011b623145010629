#!/usr/bin/env bash
# Lints for the processors that this machine is not: clippy for Apple silicon, with and without
# Apple's own arithmetic, and for Linux on ARM. Nothing is linked or run, so no SDK is needed.
#
#   tests/peers/apple_targets.sh [--short] [TARGET ...]
#                                        [default: aarch64-apple-darwin aarch64-unknown-linux-gnu]
#
# The short form reads everything once for Apple, with the feature metal, and for others the program alone.
#
# A target's standard library comes from rustup. Where rustup has none, it is compiled from Debian's
# package `rust-src` of exactly this compiler's version, unpacked into a cache folder. Exits with 77,
# saying why, where neither can be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${EVALKIT_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/evalkit-ci}/rust-src
version=$(rustc --version | cut -d' ' -f2)
short=
if [[ ${1:-} == --short ]]; then
    short=yes
    shift
fi
targets=("$@")
((${#targets[@]} > 0)) || targets=(aarch64-apple-darwin aarch64-unknown-linux-gnu)

# Build scripts compile C for the target and archive it. Nothing links that, so empty files will do.
stubs=$(mktemp -d)
trap 'rm -rf "$stubs"' EXIT
cat >"$stubs/stub" <<'STUB'
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        -o) shift && : >"$1" ;;
        *.a) : >"$1" ;;
    esac
    shift
done
STUB
chmod +x "$stubs/stub"
export SDKROOT=/
built=${CARGO_TARGET_DIR:-target}/build-std

has_std() { # target
    [[ -e $(rustc --print sysroot)/lib/rustlib/$1/lib ]] && return
    command -v rustup >/dev/null && timeout 120 rustup --quiet target add "$1" >/dev/null 2>&1
}

# Debian's rust-src, by an apt that reads and writes this cache alone.
fetch_source() {
    [[ -e $cache/$version/complete ]] && return
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    local apt=$cache/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg package
    [[ -e $keyring ]] || return 1
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$cache/$version"
    printf "deb [signed-by=$keyring] http://deb.debian.org/debian %s main\n" \
        trixie-backports sid >"$apt/sources.list"
    printf '%s "%s";\n' Dir::State "$apt" Dir::Cache "$apt/cache" Dir::Etc::sourcelist \
        "$apt/sources.list" Dir::Etc::sourceparts - Dir::State::status /dev/null >"$apt/apt.conf"
    APT_CONFIG=$apt/apt.conf apt-get update -qq || return 1
    package=$(APT_CONFIG=$apt/apt.conf apt-cache madison rust-src |
        sed -n "s/^ *rust-src | \(${version}[^ ]*\) .*/\1/p" | head -n 1)
    [[ -n $package ]] || return 1
    (cd "$cache/$version" && APT_CONFIG=$apt/apt.conf apt-get download -qq "rust-src=$package" &&
        dpkg-deb -x rust-src_*.deb . && rm rust-src_*.deb) 2>/dev/null || return 1
    touch "$cache/$version/complete"
}

lint() { # target, what cargo is told
    local name=${1//-/_}
    env "CC_$name=$stubs/stub" "AR_$name=$stubs/stub" \
        cargo clippy --quiet --release --target "$1" "${@:2}" -- -D warnings
}

skipped=0
for target in "${targets[@]}"; do
    build_std=()
    if ! has_std "$target"; then
        if ! fetch_source; then
            echo "skipped: clippy for $target: neither rustup nor Debian has its standard library" \
                "for rustc $version"
            skipped=$((skipped + 1))
            continue
        fi
        build_std=("-Zbuild-std=std,panic_abort,test")
        export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$built
        export __CARGO_TESTS_ONLY_SRC_ROOT=$cache/$version/usr/src/rustc-$version/library
    fi
    everything=(--all-targets)
    if [[ $target == *-apple-* ]]; then
        lint "$target" --features metal --all-targets "${build_std[@]}"
        echo "  $target with metal: no warnings"
        [[ -z $short ]] || continue
    elif [[ -n $short ]]; then
        everything=()
    fi
    lint "$target" "${everything[@]}" "${build_std[@]}"
    echo "  $target: no warnings"
done
((skipped < ${#targets[@]})) || exit 77
