#!/usr/bin/env bash
# Runs every example for as long as it takes to see that it does what it is for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}

cargo build --locked --all-features --examples
bin=$(cd "$target/debug/examples" && pwd)
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

fail() {
    echo "$1"
    cat "$work/out" "$work/err" 2>/dev/null || true
    exit 1
}

# begin COMMAND...: starts a server and waits for the address that it prints.
begin() {
    "$@" >"$work/out" 2>"$work/err" &
    server=$!
    for _ in $(seq 600); do
        url=$(sed -n 's/^listening on \(https*:.*\)/\1/p' "$work/out")
        [[ -z $url ]] || return 0
        kill -0 "$server" 2>/dev/null || fail "it ended: $*"
        sleep 0.1
    done
    fail "it did not say where it listens: $*"
}

# end: asks the server to stop, and sees that it does.
end() {
    kill -TERM "$server"
    wait "$server" || [[ $? == 143 ]] || fail "it did not end well"
    server=
}

# expect STATUS CURL-ARGUMENT...
expect() {
    local wanted=$1 got
    shift
    got=$(curl --silent --output "$work/answer" --write-out '%{http_code}' "$@") || true
    [[ $got == "$wanted" ]] || fail "$got instead of $wanted for: curl $*"
}

smoke() {
    local name=$1 wanted=$2
    echo "-- $name --smoke"
    "$bin/$name" --smoke >"$work/out" 2>"$work/err" || fail "$name ended badly"
    grep -q "$wanted" "$work/out" || fail "$name did not answer $wanted"
}

smoke axum "200 OK: you are CN=node-7"
smoke hyper "200 OK: you are CN=node-7"
