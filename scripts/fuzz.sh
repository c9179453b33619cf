#!/usr/bin/env bash
# Lets libFuzzer drive a fuzz target, guided by coverage, on the stable toolchain: all that it needs
# besides is a C++ compiler. What it finds worth keeping goes to target/fuzz/corpus/TARGET, an input that
# breaks something to target/fuzz.
#
#   scripts/fuzz.sh TARGET [ARGUMENTS OF LIBFUZZER...]      e.g. scripts/fuzz.sh route -max_total_time=60
#
# Targets: route, authorization, pattern, policy, manifest, xfcc, certificate. With cargo-fuzz and nightly, and so with the address
# sanitizer too: cargo fuzz run --fuzz-dir tests/fuzz/libfuzzer TARGET
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=${1:?which target? route, authorization, pattern, policy, manifest, xfcc or certificate}
shift
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
corpus=$CARGO_TARGET_DIR/corpus/$name
export FUZZ_SEEDS=$CARGO_TARGET_DIR/seeds/$name
mkdir -p "$corpus" "$FUZZ_SEEDS"
# The versions that everything else is tested with.
[[ -e tests/fuzz/libfuzzer/Cargo.lock ]] || cp Cargo.lock tests/fuzz/libfuzzer/Cargo.lock

# What cargo-fuzz sets: LLVM's sancov pass, with counters and comparisons for libFuzzer to read. With a
# target named, build scripts and macros go without.
host=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done
RUSTFLAGS="${RUSTFLAGS:-} $flags" cargo build --release --target "$host" \
    --manifest-path tests/fuzz/libfuzzer/Cargo.toml --bin "$name"
cd "$CARGO_TARGET_DIR"
exec "$host/release/$name" "$corpus" "$FUZZ_SEEDS" -dict="$FUZZ_SEEDS.dict" -max_len=4096 "$@"
