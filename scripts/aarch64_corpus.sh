#!/usr/bin/env bash
# Checks cross-compiled plans: the host's planc compiles the corpus models tagged aarch64 for that target, planc built for
# aarch64 runs the plans under qemu, and the outputs are compared with onnxruntime.
# Usage: aarch64_corpus.sh [options of corpus/compare.py]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=aarch64-unknown-linux-gnu
# Another compiler than the host's: its own target folder keeps both builds warm.
target_dir=$root/target/aarch64

python=$("$root/scripts/setup.sh")
(
  environment=$("$root/scripts/aarch64.sh")
  eval "$environment"
  cargo build --manifest-path "$root/Cargo.toml" --release --bin planc --target $target --target-dir "$target_dir"
)
[ $# -gt 0 ] || set -- --subset aarch64
exec "$python" "$root/scripts/corpus/compare.py" --target aarch64 --threads 2 \
  --runner "qemu-aarch64-static -L /usr/aarch64-linux-gnu $target_dir/$target/release/planc" "$@"
