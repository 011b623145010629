#!/usr/bin/env bash
# The products and look-ups of packed weights in ARM's instructions, compiled for ARM and run under
# emulation: their results must be, bit for bit, those of the definition. On ARM itself the crate's own
# tests do the same.
#
# Needs rustup (for the target's standard library), and as root it installs Debian's cross compiler and
# qemu. Where they cannot be had it says so and succeeds.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=aarch64-unknown-linux-gnu

cannot() {
    echo "skipped: the kernels for ARM, emulated: $*"
    exit 0
}

std=$(rustc --print sysroot)/lib/rustlib/$target/lib
if [[ ! -e $std ]]; then
    command -v rustup >/dev/null || cannot "there is no rustup to install the target $target"
    timeout 120 rustup --quiet target add "$target" || cannot "rustup cannot install the target $target"
fi
packages=()
command -v qemu-aarch64-static >/dev/null || packages+=(qemu-user-static)
command -v aarch64-linux-gnu-gcc >/dev/null || packages+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
if ((${#packages[@]} > 0)); then
    command -v apt-get >/dev/null && [[ $(id -u) -eq 0 ]] ||
        cannot "install ${packages[*]} (installing takes root, and Debian or Ubuntu)"
    { apt-get update -qq && apt-get install -qqy --no-install-recommends "${packages[@]}"; } \
        >/dev/null 2>&1 || cannot "apt-get cannot install ${packages[*]}"
fi

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
cargo test --quiet --release --target "$target" --manifest-path tests/peers/neon/Cargo.toml \
    --target-dir "${CARGO_TARGET_DIR:-target}/neon"
