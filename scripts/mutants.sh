#!/usr/bin/env bash
# Mutation testing: changes the code in one place at a time (an `&&` to an `||`, a function's value to a
# default) and runs the tests, of which one has to fail. A change that no test notices is printed as
# MISSED: the place needs a test, or, if the two programs cannot be told apart, a line in
# .cargo/mutants.toml that says why. It is no part of scripts/test.sh, since each mutant costs a build and
# a run of tests.
#
#   scripts/mutants.sh                        what has changed in src since the branch left main
#   scripts/mutants.sh BASE                   what has changed since this commit, committed or not
#   scripts/mutants.sh BASE ARGUMENT...       the same with arguments for cargo-mutants, as `--list`
#   scripts/mutants.sh all -f FILE...         all of these files, whether they have changed or not
#
# Each mutant is tried twice at most. First, in files that have unit tests, with the unit tests of its folder, which
# takes one compilation of the library; all else, and what those miss, is tried with tests/it, which is compiled anew
# for each mutant. Of tests/it only
# the modules of the capabilities that have changed are run: for a file in src/policy tests/it/policy, and those of
# what is built on it. MUTANTS_TESTS="policy oci :crl_fetch" names them instead,
# modules of tests/it and, with a colon, programs of their own.
#
# The mutants are made in a copy of the tree, target/mutants/tree, which is built in the same target folder as the
# tree itself, so that no dependency is compiled twice; while a mutant is compiled, cargo waits elsewhere. What came
# of each is in target/mutants/mutants.out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin" CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
cargo mutants --version >/dev/null 2>&1 || cargo install --locked cargo-mutants --version '^27'
cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest --version '^0.9'

root=$PWD
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/mutants"
target=$(cd "$target" && pwd)
work=$target/mutants
tree=$work/tree

base=${1:-}
(($# == 0)) || shift
scope=()
if [[ $base == all ]]; then
    arguments=()
    while (($# > 0)); do
        if [[ $1 == -f && ${2:-} ]]; then
            scope+=(-f "$2")
            shift
        else
            arguments+=("$1")
        fi
        shift
    done
    set -- "${arguments[@]}"
    changed=$(printf '%s\n' "${scope[@]}" | grep -E '^src/.*\.rs$' || true)
    [[ $changed ]] || { echo "which files? e.g. scripts/mutants.sh all -f src/crl/rules.rs"; exit 2; }
else
    [[ $base ]] || base=$(git merge-base HEAD main)
    git diff --no-ext-diff "$base" -- src >"$work/since.diff"
    changed=$(git diff --name-only --diff-filter=d "$base" -- 'src/*.rs')
    if [[ -z $changed ]]; then
        echo "nothing in src has changed since $base"
        exit 0
    fi
    scope=(--in-diff "$work/since.diff")
fi

# The tests of a folder of src, as the modules of tests/it that are about it; names with a colon are programs of
# their own. What reads TLS or policies is tested from the capabilities above it too.
tests_of() {
    case $1 in
    access_log | admin | record | refusal | telemetry) echo 'audit cves guard metrics :metrics_complete' ;;
    auth) echo 'auth cves::auth files guard :auth_config_jwt :guard_report' ;;
    config) echo 'config guard files readme auth::config :guard_report' ;;
    guard) echo 'guard config cves readme :guard_report' ;;
    connection | middleware) echo 'middleware audit guard tls::serve' ;;
    crl) echo 'revocation tls::reasons_crl cves::tls :revocation_reload :revocation_sources :crl_fetch' ;;
    crypto | identity) echo 'identity policy tls revocation cves' ;;
    fetch) echo 'auth::jwt_fetch :crl_fetch' ;;
    oci) echo 'oci policy cves::policy' ;;
    policy) echo 'policy guard cves::policy rate::class' ;;
    rate) echo 'rate cves::rate' ;;
    serve) echo 'serve middleware tls::serve' ;;
    reload) echo 'reload files auth::rotation :revocation_reload' ;;
    source) echo 'auth::identify guard cves policy' ;;
    tls) echo 'tls identity revocation cves::tls :tls_events' ;;
    *) echo '.' ;;
    esac
}
folders=$(cut -d/ -f2 <<<"$changed" | sed 's/\.rs$//' | sort -u)
programs=(--cargo-arg="--test=it")
modules=()
for name in ${MUTANTS_TESTS:-$(while read -r folder; do tests_of "$folder"; done <<<"$folders")}; do
    case $name in
    :*) programs+=(--cargo-arg="--test=${name#:}") ;;
    *) modules+=("$name") ;;
    esac
done
# All of tests/it for a folder that none is about. What runs `portcullisctl` is left out: the program is not
# built with a mutant.
modules=$(IFS='|' && echo "${modules[*]}")
filter="not binary(it) or (test(/^(${modules:-.})/) and not test(/^(portcullisctl|revocation::verify)::/))"

# The tree as it is now, with what is not committed. The times of its files stay, for cargo's sake, but for one:
# the last build may be that of a mutant.
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
    tar --create --null --files-from=- | tar --extract --directory "$tree"
touch "$tree/src/lib.rs"
export CARGO_TARGET_DIR=$target
export PORTCULLIS_PKITS=${PORTCULLIS_PKITS:-$root/target/vectors/cryptography_vectors/x509/PKITS_data}
# A mutant is a small change, of which most of the last build can be kept.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0

mutants() {
    cargo mutants --dir "$tree" --output "$work" --in-place --test-tool nextest --no-shuffle "$@"
}

rm -rf "$work/mutants.out" "$work/mutants.out.old"
tested=()
# A list of mutants is printed once.
[[ " $* " == *' --list '* ]] || while read -r file; do
    if grep -q '^#\[cfg(.*test' "$file"; then tested+=(-f "$file"); fi
done <<<"$changed"
if ((${#tested[@]} > 0)); then
    echo "== by the unit tests of: ${folders//$'\n'/, }"
    status=0
    [[ $base == all ]] || tested+=("${scope[@]}")
    mutants "${tested[@]}" --cargo-arg=--lib "$@" \
        -- --no-tests=pass -E "test(/^(${folders//$'\n'/|})(::|\$)/)" || status=$?
    # 0 is that all were caught, 2 and 3 that some were missed or took too long. All else is an error.
    ((status == 0 || status == 2 || status == 3)) || exit "$status"
fi
echo "== what is left, by tests/it: ${modules:-all}"
mutants --iterate "${scope[@]}" "${programs[@]}" "$@" -- -E "$filter"
