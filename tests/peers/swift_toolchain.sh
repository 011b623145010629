#!/usr/bin/env bash
# Runs a command where there is Swift 6: here, if `swiftc` is on the path and new enough, else in a
# Debian trixie of its own in a cache folder, whose package `swiftlang` is Swift 6. Without a
# command it only makes sure that there is one.
#
#   swift_toolchain.sh [COMMAND [ARGUMENT ...]]
#
# The current folder, and those of EVALKIT_SWIFT_BIND (separated by colons), are visible inside at
# the same path; the network and the processes are this machine's. Exits with 77, saying why, where
# there is no Swift and none can be installed. Installing takes root, debootstrap, 3.3 GB and some
# minutes; with EVALKIT_SHORT nothing is installed.
set -euo pipefail

cannot() {
    echo "skipped: the Swift runner: there is no Swift 6: $*" >&2
    exit 77
}

if command -v swiftc >/dev/null; then
    version=$(swiftc --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9]*\).*/\1/p' | head -n 1)
    if [[ ${version:-0} -ge 6 ]]; then
        [[ $# -eq 0 ]] || exec "$@"
        exit 0
    fi
fi

cache=${EVALKIT_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/evalkit-ci}/swift
root=$cache/trixie
if [[ ! -e $cache/complete ]]; then
    [[ -z ${EVALKIT_SHORT:-} ]] || cannot "the short form of the checks installs none"
    [[ $(uname -s) == Linux ]] || cannot "install Xcode 16 or a toolchain from swift.org"
    [[ $(id -u) -eq 0 ]] || cannot "installing one into $cache takes root"
    mkdir -p "$cache"
    log=$cache/install.log
    exec 9>"$cache/lock"
    flock 9
fi
if [[ ! -e $cache/complete ]]; then
    echo "installing Swift 6 from Debian trixie into $cache" >&2
    if ! command -v debootstrap >/dev/null; then
        { apt-get update -q && apt-get install -y -q debootstrap; } >"$log" 2>&1 ||
            cannot "debootstrap cannot be installed; see $log"
    fi
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase trixie "$root" >"$log" 2>&1 ||
        cannot "debootstrap of trixie failed; see $log"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
    packages=(swiftlang libc6-dev libstdc++-14-dev binutils git ca-certificates)
    DEBIAN_FRONTEND=noninteractive chroot "$root" sh -c \
        'apt-get update -q && apt-get install -y -q --no-install-recommends "$@" && apt-get clean' \
        sh "${packages[@]}" >>"$log" 2>&1 || cannot "installing swiftlang failed; see $log"
    touch "$cache/complete"
fi
{ exec 9>&-; } 2>/dev/null || true
unshare --mount true 2>/dev/null || cannot "running the one in $cache takes root (mount namespaces)"
[[ $# -gt 0 ]] || exit 0

# swiftc finds its libraries through /proc/self/exe; the mounts go away with their namespace.
exec unshare --mount bash -c '
    set -euo pipefail
    root=$1 here=$2
    shift 2
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    IFS=: read -r -a folders <<<"$here:${EVALKIT_SWIFT_BIND:-}"
    for folder in "${folders[@]}"; do
        [[ -n $folder ]] || continue
        mkdir -p "$root$folder"
        mount --rbind "$folder" "$root$folder"
    done
    export HOME=/root
    unset TMPDIR
    exec chroot "$root" /usr/bin/env -C "$here" PATH=/usr/bin:/bin "$@"' _ "$root" "$PWD" "$@"
