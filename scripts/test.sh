#!/usr/bin/env bash
# Everything that must hold before a change goes in: format, lints, docs, each feature alone, tests,
# doctests, and a smoke run of every example. On a Debian or Ubuntu machine with Rust it installs what
# it needs and nothing that is there already; as another user than root it needs sudo for that.
#
#   scripts/test.sh            all of it
#   scripts/test.sh STEP...    only these steps: packages, cargo-tools, vectors, python-clients, fmt, clippy, docs,
#                              features, tests, doctests, examples, package
#
# Steps that a release needs besides, and that run only where they are named, each with a tool of its own:
#
#   deny                licences, banned crates, sources of the dependencies (deny.toml), by cargo-deny
#   advisories          known vulnerabilities of the dependencies, by cargo-deny and the database that it fetches
#   msrv                the oldest Rust that Cargo.toml names compiles the library
#   minimal-versions    so do the oldest dependencies that Cargo.toml names
#   semver              no public item went since the last release (the last tag v*), by cargo-semver-checks
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export DEBIAN_FRONTEND=noninteractive CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
# An incremental build writes much and saves nothing here: each artefact is built once.
export CARGO_INCREMENTAL=0
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/sbin:/sbin"
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)

wanted=("$@")
times=()

# step NAME COMMAND...: runs the command if the step is wanted, and stops the script if it fails.
step() {
    local name=$1 began=$SECONDS
    shift
    local runs=("${default_steps[@]}")
    if ((${#wanted[@]})); then runs=("${wanted[@]}"); fi
    if [[ " ${runs[*]} " != *" $name "* ]]; then return; fi
    echo "== $name: $*"
    # Not `if "$@"`: that would turn `set -e` off inside the functions that are called here.
    set +e
    (set -e; "$@") </dev/null
    local status=$?
    set -e
    local took=$((SECONDS - began))
    if ((status)); then
        echo "FAILED: $name (exit status $status, $took s)"
        exit 1
    fi
    echo "-- $name took $took s"
    times+=("$(printf '%5d s  %s' "$took" "$name")")
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -n -E "$@"; fi
}

# The program that a test needs, and the Debian package that has it.
packages() {
    local missing=() command package
    while read -r command package; do
        command -v "$command" >/dev/null || missing+=("$package")
    done <<'LIST'
cc gcc
curl curl
openssl openssl
skopeo skopeo
umoci umoci
busybox busybox-static
containerd containerd
runc runc
podman podman
dockerd docker.io
crun crun
docker-registry docker-registry
htpasswd apache2-utils
nginx nginx-light
haproxy haproxy
redis-server redis-server
ip iproute2
iptables iptables
setpriv util-linux
promtool prometheus
valgrind valgrind
python3 python3
LIST
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    if ((${#missing[@]} == 0)); then
        echo "all there"
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "this machine has no apt-get; install by hand: ${missing[*]}"
        return 1
    fi
    as_root apt-get update -q
    as_root apt-get install -q -y --no-install-recommends "${missing[@]}"
}

cargo_tools() {
    cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest --version '^0.9'
    cargo hack --version >/dev/null 2>&1 || cargo install --locked cargo-hack --version '^0.6'
}

# NIST's Public Key Interoperability Test Suite.
pkits=$target/vectors/cryptography_vectors/x509/PKITS_data
vectors() {
    if [[ -d $pkits/crls ]]; then
        echo "all there"
        return
    fi
    rm -rf "$target/vectors"
    mkdir -p "$target/vectors"
    python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: \
        --dest "$target/vectors" --requirement scripts/vectors.txt
    python3 -m zipfile -e "$target"/vectors/*.whl "$target/vectors"
    [[ -d $pkits/crls ]]
}
export PORTCULLIS_PKITS=$pkits

# Clients in Python that push before they were let in.
python_clients=$target/python
python_clients() {
    if [[ -d $python_clients/oras ]]; then
        echo "all there"
        return
    fi
    rm -rf "$target/wheels" "$python_clients"
    mkdir -p "$target/wheels" "$python_clients"
    python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: \
        --platform any --implementation py --abi none \
        --dest "$target/wheels" --requirement scripts/clients.txt
    for wheel in "$target"/wheels/*.whl; do
        python3 -m zipfile -e "$wheel" "$python_clients"
    done
    [[ -d $python_clients/oras ]]
}
export PORTCULLIS_PYTHON=$python_clients

# install CRATE VERSION: a cargo tool that only one step needs.
install() {
    command -v "$1" >/dev/null || cargo install --locked "$1" --version "$2"
}

deny() {
    install cargo-deny '^0.20'
    cargo deny --locked check licenses bans sources
}

advisories() {
    install cargo-deny '^0.20'
    cargo deny --locked check advisories
}

# In a copy: neither Cargo.toml nor Cargo.lock may stay as it is made here.
minimal_versions() {
    local copy=$target/minimal-versions
    rm -rf "$copy"
    mkdir -p "$copy"
    cp -r Cargo.toml README.md src docs "$copy"
    cd "$copy"
    # What only tests, benchmarks and examples need may be as new as it likes.
    python3 - <<'PYTHON'
import re
manifest = open("Cargo.toml").read()
manifest = re.sub(r"(?ms)^\[dev-dependencies\]\n.*?(?=^\[)", "", manifest)
manifest = re.sub(r"(?ms)^\[\[(?:example|bench)\]\]\n.*?(?=^\[)", "", manifest)
open("Cargo.toml", "w").write(manifest)
PYTHON
    # The flag is not stable, and what it makes is a lock file like any other.
    RUSTC_BOOTSTRAP=1 cargo update -Z direct-minimal-versions
    cargo check --locked --all-features --lib
}

semver() {
    local release
    release=$(git tag --list 'v*' --sort=-version:refname | head -n 1)
    if [[ -z $release ]]; then
        echo "nothing was compared: no tag v* names a release; from the first one on this step compares with the last"
        return
    fi
    install cargo-semver-checks '^0.44'
    cargo semver-checks --all-features --baseline-rev "$release"
}

default_steps=(packages cargo-tools vectors python-clients fmt clippy docs features tests doctests examples package)
other_steps=(deny advisories msrv minimal-versions semver)
for name in "${wanted[@]}"; do
    if [[ " ${default_steps[*]} ${other_steps[*]} " != *" $name "* ]]; then
        echo "no step is called $name; there are: ${default_steps[*]} ${other_steps[*]}"
        exit 2
    fi
done

step packages packages
step cargo-tools cargo_tools
step vectors vectors
step python-clients python_clients
step fmt cargo fmt --check
step clippy cargo clippy --locked --all-features --all-targets -- -D warnings
step docs env RUSTDOCFLAGS="-D warnings" cargo doc --locked --all-features --no-deps
step features cargo hack check --locked --each-feature --features ring
step tests cargo nextest run --locked --all-features --no-fail-fast
step doctests cargo test --locked --all-features --doc
step examples scripts/examples.sh
step package scripts/package.sh
step deny deny
step advisories advisories
step msrv cargo hack check --locked --rust-version --all-features --lib
step minimal-versions minimal_versions
step semver semver

echo "-- all passed; seconds by step"
printf '%s\n' "${times[@]}"
