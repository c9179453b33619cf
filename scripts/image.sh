#!/usr/bin/env bash
# Makes an OCI image of the gate without a container engine, tries it, and prints its size. It has the programs `gate`,
# `portcullisctl` and `node` in its root, linked statically, and this machine's CA certificates; it runs as user 65532.
#
#   scripts/image.sh [FOLDER]    the image `gate` of the OCI layout FOLDER, which must not exist
#
# A registry gets it by `skopeo copy oci:FOLDER:gate docker://REGISTRY/gate:TAG`. The try needs root or sudo, for it
# starts the gate in a chroot of the unpacked image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/sbin:/sbin"
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
layout=${1:-$target/image}
if [[ -e $layout ]]; then
    echo "$layout exists"
    exit 2
fi
for tool in umoci openssl curl; do
    command -v "$tool" >/dev/null || { echo "install the package $tool"; exit 1; }
done
as_root() {
    if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

# musl is made for static programs; glibc does as well where Rust has no musl, as the gate loads no plugin of its.
host=$(rustc -vV | sed -n 's/^host: //p')
platform=${host/-gnu/-musl}
flags=
if [[ ! -d $(rustc --print target-libdir --target "$platform") ]]; then
    platform=$host
    flags='-C target-feature=+crt-static'
fi
# A folder of its own, for other flags would build the programs of `target` anew.
RUSTFLAGS=$flags CARGO_PROFILE_RELEASE_STRIP=symbols cargo build --locked --release --all-features \
    --target "$platform" --target-dir "$target/static" --example gate --example portcullisctl --example node
programs=$target/static/$platform/release/examples

work=$(mktemp -d)
gate=
finish() {
    if [[ -n $gate ]]; then as_root kill "$gate" 2>/dev/null || true; fi
    as_root rm -rf "$work"
}
trap finish EXIT

umoci init --layout "$layout"
umoci new --image "$layout:gate"
for program in gate portcullisctl node; do
    if LC_ALL=C readelf --program-headers "$programs/$program" | grep -q INTERP; then
        echo "$program is not static"
        exit 1
    fi
    umoci insert --rootless --image "$layout:gate" "$programs/$program" "/$program"
done
for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
    if [[ -f $file ]]; then
        umoci insert --rootless --image "$layout:gate" "$(realpath "$file")" /etc/ssl/certs/ca-certificates.crt
        break
    fi
done
umoci config --image "$layout:gate" --config.entrypoint /gate --config.user 65532:65532
umoci gc --layout "$layout"
echo "gate: $(stat --format=%s "$programs/gate") bytes; the image: $(du --bytes --summarize "$layout/blobs" | cut -f1) bytes packed"

# Its user starts it with nothing but a configuration, a certificate and a token beside the programs.
as_root umoci unpack --image "$layout:gate" "$work/bundle"
root=$work/bundle/rootfs
etc=$work/etc
mkdir "$etc"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$etc/server.key" -out "$etc/server.crt" 2>/dev/null
openssl rand -hex 24 >"$etc/ci.token"
cat >"$etc/gate.toml" <<'TOML'
preset = "registry"
[tls]
certificate = "server.crt"
key = "server.key"
[auth]
require = "token"
[[auth.token]]
id = "ci"
file = "ci.token"
TOML
token=$(cat "$etc/ci.token")
cp "$etc/server.crt" "$work/ca.crt"
as_root mkdir -p "$root/etc"
as_root cp -r "$etc" "$root/etc/gate"
as_root chown -R 65532:65532 "$root/etc/gate"
as_root chmod -R go= "$root/etc/gate"
entrypoint=$(python3 -c 'import json, sys; print(*json.load(sys.stdin)["process"]["args"])' <"$work/bundle/config.json")
as_root chroot --userspec=65532:65532 "$root" /portcullisctl schema >/dev/null
read -r -a entrypoint <<<"$entrypoint"
as_root chroot --userspec=65532:65532 "$root" "${entrypoint[@]}" --config /etc/gate/gate.toml \
    --upstream http://127.0.0.1:1 --listen 127.0.0.1:0 >"$work/out" 2>"$work/err" &
gate=$!
url=
for _ in {1..200}; do
    url=$(sed -n 's/^listening on //p' "$work/out")
    [[ -z $url ]] || break
    sleep 0.1
done
[[ -n $url ]] || { cat "$work/err"; exit 1; }
answer() {
    curl --silent --output /dev/null --write-out '%{http_code}' --cacert "$work/ca.crt" "$@" "$url/v2/"
}
[[ $(answer) == 401 ]] || { echo "no 401 without a token"; exit 1; }
[[ $(answer --header "Authorization: Bearer $token") == 502 ]] || { echo "no 502 of a registry that is not there"; exit 1; }
echo "the gate of the image answers 401 without a token, and 502 with one while there is no registry"
