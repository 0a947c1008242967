#!/usr/bin/env bash
# Plants a leak in a copy of the source: the response to a request waits for its mail. The timing test must find the leak.
set -euo pipefail
cd "$(dirname "$0")/../.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
copy=$(mktemp -d)
trap 'rm -r "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
cd "$copy"

original='Slot::Queue(permit) => permit.accept(Mailing::Request(Request::new(Arc::clone(&self.inner), accepted))),'
mutated='Slot::Queue(permit) => {
                permit.accept(Mailing::Request(Request::new(Arc::clone(&self.inner), accepted)));
                while self.ledger().waiting > 0 {
                    tokio::task::yield_now().await;
                }
            }'
grep -qF "$original" src/reset/request.rs || { echo "src/reset/request.rs no longer contains: $original" >&2; exit 1; }
ORIGINAL=$original MUTATED=$mutated perl -0pi -e 's/\Q$ENV{ORIGINAL}\E/$ENV{MUTATED}/' src/reset/request.rs
if cmp -s src/reset/request.rs "$OLDPWD/src/reset/request.rs"; then
    echo "the leak was not planted" >&2
    exit 1
fi

# The whole workspace, as in every other run, so that the dependencies are built already.
cargo test --locked --quiet --workspace --test no_oracle --no-run
test=timing::timing_is_equal_for_known_and_unknown_users
if cargo test --locked --quiet --workspace --test no_oracle -- --exact "$test" >output 2>&1; then
    echo "$test does not find the leak" >&2
    exit 1
fi
grep -q "test result: FAILED" output # a compile error does not count
echo "$test finds the leak"
