#!/usr/bin/env bash
# Makes the Python environment of the test scripts in .cache/venv, and does nothing when it is already as requirements.txt says.
# Prints the path of its interpreter on stdout. Usage: py=$(scripts/setup.sh)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.cache/venv
wanted=$root/scripts/requirements.txt

if [ ! -x "$venv/bin/python" ] || ! cmp -s "$wanted" "$venv/requirements.txt"; then
  {
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
    # Written last: an interrupted installation is made again.
    cp "$wanted" "$venv/requirements.txt"
  } >&2
fi
echo "$venv/bin/python"
