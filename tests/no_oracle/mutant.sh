#!/usr/bin/env bash
# Breaks the promise in the source itself, in a copy: a request is answered when its mail was sent. The test of times has
# to find that.
set -euo pipefail
cd "$(dirname "$0")/../.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
copy=$(mktemp -d)
trap 'rm -r "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
cd "$copy"

promise='place.accept(Mailing::Request(Request { inner, address, client, is_over_quota, counted_in }));'
broken="$promise
        while self.ledger().waiting > 0 {
            tokio::task::yield_now().await;
        }"
grep -qF "$promise" src/reset/request.rs || { echo "the promise is written otherwise by now" >&2; exit 1; }
PROMISE=$promise BROKEN=$broken perl -0pi -e 's/\Q$ENV{PROMISE}\E/$ENV{BROKEN}/' src/reset/request.rs
if cmp -s src/reset/request.rs "$OLDPWD/src/reset/request.rs"; then
    echo "the mutant was not made" >&2
    exit 1
fi

# The whole workspace, as in every other run: so what it depends on is built already.
cargo test --locked --quiet --workspace --test no_oracle --no-run
test=timing::time_tells_nothing
if cargo test --locked --quiet --workspace --test no_oracle -- --exact "$test" >output 2>&1; then
    echo "the mutant survives $test" >&2
    exit 1
fi
grep -q "test result: FAILED" output # and not for want of a compiler
echo "$test finds the mutant"
