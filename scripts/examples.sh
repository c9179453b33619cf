#!/usr/bin/env bash
# Runs every example for as long as it takes to see that it does what it is for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
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
smoke axum_server "200 OK: you are CN=node-7"
smoke hyper "200 OK: you are CN=node-7"

echo "-- layers"
"$bin/layers" >"$work/out" 2>"$work/err" || fail "layers ended badly"
grep -q "200 OK" "$work/out" && grep -q "403 Forbidden" "$work/out" || fail "layers answered otherwise"

echo "-- mirror"
begin "$bin/mirror" --data "$work/data" --listen 127.0.0.1:0
demo=$work/data/demo
expect 200 --cacert "$demo/ca.crt" --header "Authorization: Bearer $(cat "$demo/token")" "$url/v2/_catalog"
expect 200 --cacert "$demo/ca.crt" --cert "$demo/client.crt" --key "$demo/client.key" "$url/v2/_catalog"
expect 401 --cacert "$demo/ca.crt" "$url/v2/_catalog"
expect 000 --cacert "$demo/ca.crt" --cert "$demo/revoked.crt" --key "$demo/revoked.key" "$url/v2/_catalog"
end

echo "-- mirror --check"
"$bin/mirror" --check --config "$demo/mirror.toml" >"$work/out" 2>"$work/err" || fail "the demo's configuration is wrong"
sed 's/^preset/presset/' "$demo/mirror.toml" >"$demo/wrong.toml"
if "$bin/mirror" --check --config "$demo/wrong.toml" >"$work/out" 2>"$work/err"; then
    fail "an unknown key was let pass"
fi
grep -q "wrong.toml:[0-9]*:.*presset" "$work/err" || fail "the error does not name its place"

# The operator's tool, on the demo's certificates.
if [[ -x $bin/portcullisctl ]]; then
    echo "-- portcullisctl verify"
    verify=("$bin/portcullisctl" verify --ca "$demo/ca.crt" --crl "$demo/crl.pem")
    "${verify[@]}" "$demo/client.crt" >"$work/out" 2>"$work/err" || fail "the client's certificate is not good"
    status=0
    "${verify[@]}" "$demo/revoked.crt" >"$work/out" 2>"$work/err" || status=$?
    [[ $status == 1 ]] || fail "the revoked certificate gave $status"
fi

cd "$root"
for example in examples/*.rs examples/*/main.rs; do
    name=$(basename "${example%/main.rs}" .rs)
    [[ " axum axum_server hyper layers mirror portcullisctl " == *" $name "* ]] || fail "no smoke run is known for $example"
done
