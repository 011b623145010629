# Sourced by .ci/run, .ci/full and tests/peers/run.sh: runs named steps, prints the seconds of each,
# stops at the first that fails, and counts on its last line what passed, failed and was skipped.
#
#   step NAME COMMAND [ARGUMENT ...]
#   or_skip COMMAND [ARGUMENT ...]     a command that ends with 77 has said what it skipped
#
# Whatever is left out says so on a line that starts with `skipped: `. Those lines are counted.

steps_log=$(mktemp)
steps_passed=0
steps_name=
exec 3>&1 > >(tee "$steps_log") 2>&1 </dev/null

# The last lines, whether the script ends well or not. `steps_cleanup` may be a function.
steps_finish() {
    local code=$? failed=0 skips mark="finished after ${SECONDS} s"
    if declare -F steps_cleanup >/dev/null; then steps_cleanup; fi
    if [[ $code -ne 0 ]]; then
        failed=1
        echo
        echo "FAILED: $steps_name (exit code $code)"
    fi
    echo
    echo "$mark"
    for _ in {1..50}; do
        grep -qF "$mark" "$steps_log" && break
        sleep 0.1
    done
    skips=$(grep -c '^skipped: ' "$steps_log" || true)
    grep '^skipped: ' "$steps_log" | sort | uniq -c | sed 's/^ *\([0-9]*\) /  \1 x /' >&3 || true
    rm -f "$steps_log"
    echo "${steps_title:-steps}: $steps_passed passed, $failed failed, $skips skipped" >&3
}
trap steps_finish EXIT

step() {
    local start=$SECONDS
    steps_name=$1
    shift
    echo
    echo "== $steps_name (at $start s)"
    "$@"
    echo "-- $steps_name: $((SECONDS - start)) s"
    steps_passed=$((steps_passed + 1))
}

or_skip() {
    "$@" || { local code=$?; [[ $code -eq 77 ]] || return "$code"; }
}
