#!/usr/bin/env bash
# Packages the crate and does with the result what its user does: installs an example from it and runs that.
# The artefacts of the dependencies are those of the tests, which is why all features are on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
# The version of what is in the work tree, and not yet of a commit.
rm -f "$target"/package/portcullis-*.crate
# That the packaged library builds is what the installation shows.
# Quiet: it would name each test and benchmark that stays out.
cargo package --quiet --locked --allow-dirty --no-verify
crate=$(echo "$target"/package/portcullis-*.crate)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xzf "$crate" -C "$work"
packed=$(echo "$work"/portcullis-*)

for file in README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE Cargo.lock docs/crl.md examples/mirror.toml src/lib.rs; do
    [[ -f $packed/$file ]] || { echo "the package lacks $file"; exit 1; }
done
for folder in tests benches scripts .github .ci; do
    [[ ! -e $packed/$folder ]] || { echo "the package has $folder, which no user needs"; exit 1; }
done
echo "$(stat --format=%s "$crate") bytes packed, $(tar -tzf "$crate" | wc -l) files"

# In a folder of the target's own: its path is part of what cargo calls the package, so it must not change.
unpacked=$target/package/unpacked
rm -rf "$unpacked"
mv "$packed" "$unpacked"
CARGO_TARGET_DIR=$target cargo install --locked --offline --debug --all-features --no-track \
    --path "$unpacked" --example mirror --example portcullisctl --root "$work/root"
"$work/root/bin/mirror" --help >"$work/help"
grep -q -- "--upstream" "$work/help" || { echo "mirror --help says nothing of --upstream"; exit 1; }
"$work/root/bin/portcullisctl" schema >"$work/schema"
cmp "$work/schema" "$unpacked/docs/config.schema.json"
