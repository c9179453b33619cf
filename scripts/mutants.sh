#!/usr/bin/env bash
# Mutation testing: changes the code in one place at a time (an `&&` to an `||`, a function's value to a
# default) and runs the tests, of which one has to fail. A change that no test notices is printed as
# MISSED: the place needs a test, or, if the two programs cannot be told apart, a line in
# .cargo/mutants.toml that says why. It is no part of scripts/test.sh, since each mutant costs a build and
# a run of tests: 10 to 60 s.
#
#   scripts/mutants.sh                        what has changed in src since the branch left main
#   scripts/mutants.sh BASE                   what has changed since this commit, committed or not
#   scripts/mutants.sh BASE ARGUMENT...       the same with arguments for cargo-mutants, as `--list`
#   scripts/mutants.sh all -f FILE...         all of these files, whether they have changed or not
#
# Only the test programs of the capabilities that have changed are run: for a file in src/policy those
# that are called policy*, and those of what is built on it. MUTANTS_TESTS="policy route" names them
# instead. The mutants are made in a copy of the tree, target/mutants/tree; its build stays there for the
# next time. What came of each is in target/mutants/mutants.out.
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
    changed=$(printf '%s\n' "$@" | grep -E '^src/.*\.rs$' || true)
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

# The test programs of a folder of src, as patterns of their names. What reads TLS or policies is tested
# from the capabilities above it too.
tests_of() {
    case $1 in
    audit | refusal) echo 'audit* metrics* cves*' ;;
    auth) echo 'auth* cves_auth cves' ;;
    config | guard) echo 'guard* config* *_config* cves* readme' ;;
    crl) echo 'revocation* pkits crl* tls_reasons* cves_tls' ;;
    identity) echo 'identity policy tls* cves*' ;;
    oci) echo 'route* policy cves' ;;
    policy) echo 'policy* guard_digests rate_class cves' ;;
    rate) echo 'rate* cves_rate' ;;
    reload) echo 'reload revocation_reload auth_rotation' ;;
    source) echo 'auth_identify guard cves* policy' ;;
    tls) echo 'tls* identity revocation* cves_tls' ;;
    *) echo '*' ;;
    esac
}
programs=()
patterns=${MUTANTS_TESTS:-$(cut -d/ -f2 <<<"$changed" | sort -u | while read -r folder; do tests_of "$folder"; done)}
for file in tests/*.rs; do
    name=$(basename "$file" .rs)
    # Other people's programs, and the whole mirror: minutes a mutant.
    [[ $name != clients && $name != mirror_binary && $name != *chaos* && $name != rate_stress ]] || continue
    while read -r pattern; do
        # shellcheck disable=SC2053
        if [[ $name == $pattern ]]; then
            programs+=(--cargo-arg="--test=$name")
            break
        fi
    done < <(tr ' ' '\n' <<<"$patterns")
done

# The tree as it is now, with what is not committed; the times of its files stay, for cargo's sake.
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do [[ ! -e $file ]] || printf '%s\0' "$file"; done |
    tar --create --null --files-from=- | tar --extract --directory "$tree"
export CARGO_TARGET_DIR=$work/build
export PORTCULLIS_PKITS=${PORTCULLIS_PKITS:-$root/target/vectors/cryptography_vectors/x509/PKITS_data}
# A mutant is a small change, of which most of the last build can be kept.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0

exec cargo mutants --dir "$tree" --output "$work" --in-place --test-tool nextest --no-shuffle \
    --cargo-arg=--lib "${programs[@]}" "${scope[@]}" "$@"
