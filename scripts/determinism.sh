#!/usr/bin/env bash
# Checks that a plan is a function of model, flags and planc version only: each model is compiled under conditions that must
# not matter, and the plans are compared byte by byte.
# Usage: determinism.sh [--planc BINARY] [--emulate] [MODEL.onnx ...]     (default: all of testdata/models)
# --emulate adds a compilation on another CPU (qemu-x86_64-static without AVX-512, see aarch64.sh for qemu).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
planc=$root/target/release/planc
emulate=false
while [ $# -gt 0 ]; do
  case $1 in
    --planc) planc=$(realpath "$2"); shift 2 ;;
    --emulate) emulate=true; shift ;;
    -h | --help) sed -n '2,5s/^# //p' "$0"; exit 0 ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || set -- "$root"/testdata/models/*/model.onnx

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

# check NAME COMMAND...: runs the command, which writes $scratch/other.plan, and compares that with the first plan.
check() {
  local what=$1
  shift
  rm -f "$scratch/other.plan"
  if "$@" >"$scratch/log" 2>&1 && cmp "$scratch/first.plan" "$scratch/other.plan" >>"$scratch/log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAIL $model: $what: $(tail -n 1 "$scratch/log")"
  fi
}

elsewhere() {
  # Another working folder, a relative path to a copy, another output name, an empty environment.
  mkdir -p "$scratch/a/deeper folder"
  cp -r "$(dirname "$model")/." "$scratch/a/deeper folder/"
  (cd "$scratch/a" && env -i LANG=C TZ=Asia/Tokyo HOME=/nonexistent \
    "$planc" compile "deeper folder/$(basename "$model")" -o other.plan && mv other.plan ..)
}

for model in "$@"; do
  model=$(realpath "$model")
  rm -rf "$scratch"/*
  before=$failed
  if ! "$planc" compile "$model" -o "$scratch/first.plan" --threads 1 >"$scratch/log" 2>&1; then
    failed=$((failed + 1))
    echo "FAIL $model: $(tail -n 1 "$scratch/log")"
    continue
  fi
  # Hash seeds are drawn per process, so each further run has others.
  for threads in 1 2 5; do
    check "$threads threads" "$planc" compile "$model" -o "$scratch/other.plan" --threads "$threads"
  done
  check "another folder and environment" elsewhere
  check "fixed addresses" setarch -R "$planc" compile "$model" -o "$scratch/other.plan" --threads 2
  if $emulate; then
    check "another CPU" qemu-x86_64-static -cpu max "$planc" compile "$model" -o "$scratch/other.plan" --threads 2
  fi
  [ "$failed" -gt "$before" ] || echo "ok   ${model#"$root"/}  $(sha256sum <"$scratch/first.plan" | cut -c1-16)"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
