#!/usr/bin/env bash
# Runs the README's quickstart as it is printed: every `sh` block of the section "Quickstart", in one shell that stops at the
# first command that fails, in the root of the repository.
# Usage: quickstart.sh [FOLDER OF THE planc BINARY]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=$(realpath "${1:-$root/target/release}")

commands=$(awk '
  /^```/ && inside { inside = 0; next }
  inside { print; next }
  /^```sh$/ && section { inside = 1; next }
  /^#+ / { section = tolower($0) ~ /^#+ quick ?start/ }
' "$root/README.md")
if [ -z "$commands" ]; then
  echo "error: README.md has no section Quickstart with a sh block" >&2
  exit 1
fi
cd "$root"
PATH=$bin:$PATH bash -euxo pipefail -c "$commands"
