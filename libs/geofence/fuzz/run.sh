#!/usr/bin/env bash
# Fuzzes one target: libs/geofence/fuzz/run.sh reader|index SECONDS [more of libFuzzer's options or inputs]
# Builds as cargo-fuzz does, without needing it. What is found, and every input that leads to new code, stays in the target
# folder; the corpus here only feeds it.
set -euo pipefail
cd "$(dirname "$0")/../../.."

fail() { printf 'fuzz: %s\n' "$*" >&2; exit 1; }
[ $# -ge 2 ] || fail "usage: $0 reader|index SECONDS"
target=$1 seconds=$2
shift 2
here=libs/geofence/fuzz
[ -f "$here/targets/$target.rs" ] || fail "there is no target $target"
[[ $seconds =~ ^[0-9]+$ ]] || fail "$seconds is no number of seconds"

toolchain=$(rustup toolchain list 2>/dev/null | awk '/^nightly/ { print $1; exit }')
[ -n "$toolchain" ] || fail "a nightly Rust is needed, for its sanitizers: rustup toolchain install nightly"
host=$(rustc "+$toolchain" -vV | sed -n 's/^host: //p')

out=${CARGO_TARGET_DIR:-target}/fuzz
flags=(--cfg fuzzing -Cpasses=sancov-module)
coverage=(level=4 inline-8bit-counters pc-table)
# The index is all arithmetic, without a word to be guessed, and reaches memory by checked slices only: these would take most of its time.
[ "$target" = index ] || { flags+=(-Zsanitizer=address); coverage+=(trace-compares); }
flags+=("${coverage[@]/#/-Cllvm-args=-sanitizer-coverage-}")
# With a named target, what runs during the build is built without the flags.
RUSTFLAGS="${flags[*]}" cargo "+$toolchain" build --quiet --locked --release --manifest-path "$here/Cargo.toml" \
  --target-dir "$out" --target "$host" --bin "$target"

mkdir -p "$out/corpus/$target" "$out/artifacts/$target"
options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1)
options+=(-artifact_prefix="$out/artifacts/$target/")
# The index's time is dear: no bookkeeping of rare code.
[ "$target" != index ] || options+=(-entropic=0)
[ "$target" != reader ] || options+=(-dict="$here/geojson.dict")
# New inputs go into the first of the folders.
[ $# -gt 0 ] || set -- "$out/corpus/$target" "$here/corpus/$target"
exec "$out/$host/release/$target" "${options[@]}" "$@"
