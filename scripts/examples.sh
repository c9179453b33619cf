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

# In front of a registry that wants a credential of the gate's own: the mirror, with its demo token.
echo "-- gate"
begin "$bin/mirror" --data "$work/data" --listen 127.0.0.1:0
registry=$server registry_url=$url
mkdir "$work/gate"
head -c 24 /dev/urandom | base64 >"$work/gate/ci.token"
printf 'Bearer %s\n' "$(cat "$demo/token")" >"$work/gate/authorization"
chmod 600 "$work/gate"/*
cat >"$work/gate/gate.toml" <<'END'
preset = "registry"
[auth]
require = "token"
[[auth.token]]
id = "ci"
file = "ci.token"
[[policy.rules]]
name = "ci reads"
who = ["token:ci"]
actions = ["pull", "list", "catalog"]
repositories = ["**"]
END
gate=("$bin/gate" --config "$work/gate/gate.toml" --upstream "https://localhost:${registry_url##*:}" --upstream-ca "$demo/ca.crt")
begin "${gate[@]}" --listen 127.0.0.1:0 --authorization-file "$work/gate/authorization" --own-host
token="Authorization: Bearer $(cat "$work/gate/ci.token")"
expect 200 --header "$token" "$url/v2/_catalog"
grep -q '"repositories"' "$work/answer" || fail "it is not the registry that answered"
expect 401 "$url/v2/_catalog"
expect 401 --header "Authorization: Bearer $(cat "$demo/token")" "$url/v2/_catalog"
expect 403 --header "$token" --request POST "$url/v2/lib/a/blobs/uploads/"
kill -TERM "$registry"
wait "$registry" || [[ $? == 143 ]] || fail "the registry did not end well"
expect 502 --header "$token" "$url/v2/_catalog"
grep -q '"UNAVAILABLE"' "$work/answer" || fail "the error is not one that clients read"
end
"${gate[@]}" --check >"$work/out" 2>"$work/err" || fail "the gate's configuration is wrong"
if "${gate[@]}" --listen 0.0.0.0:0 >"$work/out" 2>"$work/err"; then
    fail "it served in the clear without --clear"
fi
grep -q -- "--clear" "$work/err" || fail "the error does not name the flag"

echo "-- mirror --check"
"$bin/mirror" --check --config "$demo/mirror.toml" >"$work/out" 2>"$work/err" || fail "the demo's configuration is wrong"
sed 's/^preset/presset/' "$demo/mirror.toml" >"$demo/wrong.toml"
if "$bin/mirror" --check --config "$demo/wrong.toml" >"$work/out" 2>"$work/err"; then
    fail "an unknown key was let pass"
fi
grep -q "wrong.toml:[0-9]*:.*presset" "$work/err" || fail "the error does not name its place"

echo "-- node"
"$bin/node" --check --config "$demo/mirror.toml" >"$work/out" 2>"$work/err" || fail "its configuration is not taken"
# Without a containerd it waits for one, and says for which.
begin "$bin/node" --config "$demo/mirror.toml" --listen 127.0.0.1:0 --containerd "$work/none"
for _ in $(seq 300); do
    ! grep -q "$work/none" "$work/err" || break
    sleep 0.1
done
grep -q "$work/none" "$work/err" || fail "the log does not name the socket"
end

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
    [[ " axum axum_server gate hyper layers mirror node portcullisctl " == *" $name "* ]] || fail "no smoke run is known for $example"
done
