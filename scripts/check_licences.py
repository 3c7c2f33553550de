#!/usr/bin/env python3
"""Checks the dependencies against deny.toml: licences, banned crates, sources, and the ignored advisories.

Does what `cargo deny check licenses bans sources` does with the same file, from `cargo metadata` alone, for machines without
cargo-deny; known vulnerabilities are not looked up. An ignored advisory has to give its reason. Standard library only.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def allowed(expression, accepted):
    """Whether an SPDX expression can be satisfied with the accepted licences alone; `/` is the old spelling of OR."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else None

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1]

    def choice():
        value = both()
        while peek() == "OR":
            take()
            value = both() or value
        return value

    def both():
        value = one()
        while peek() == "AND":
            take()
            value = one() and value
        return value

    def one():
        if peek() is None or peek() in (")", "AND", "OR", "WITH"):
            raise ValueError(f"licence expression {expression!r} does not parse")
        if peek() == "(":
            take()
            value = choice()
            if peek() != ")":
                raise ValueError(f"licence expression {expression!r} does not parse")
            take()
            return value
        licence = take()
        if peek() == "WITH":
            take()
            licence += f" WITH {take()}"
        return licence in accepted

    value = choice()
    if peek() is not None:
        raise ValueError(f"licence expression {expression!r} does not parse")
    return value


def metadata(targets):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    for target in targets:
        command += ["--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def faults(rules, data):
    """Everything that breaks the rules, one line each."""
    known = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
    known |= {f"git+{url}" for url in rules["sources"]["allow-git"]}
    banned = {entry["crate"]: entry["reason"] for entry in rules["bans"]["deny"]}
    accepted = set(rules["licenses"]["allow"])
    exceptions = {entry["crate"]: set(entry["allow"]) for entry in rules["licenses"].get("exceptions", [])}
    members = set(data["workspace_members"])
    resolved = {node["id"] for node in data["resolve"]["nodes"]}
    names = set()
    for package in data["packages"]:
        if package["id"] not in resolved:
            continue
        name = f"{package['name']} {package['version']}"
        names.add(package["name"])
        if package["name"] in banned:
            yield f"{name} is banned: {banned[package['name']]}"
        if package["source"] is not None and package["source"].split("?")[0].split("#")[0] not in known:
            yield f"{name} comes from {package['source']}"
        if package["source"] is None and package["id"] not in members:
            yield f"{name} is a path outside the workspace"
        try:
            if not allowed(package["license"] or "", accepted | exceptions.get(package["name"], set())):
                yield f"{name} has the licence {package['license']!r}"
        except ValueError as error:
            yield f"{name}: {error}"
        if package["id"] in members:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and dependency["source"] is not None:
                    yield f"{name} takes any version of {dependency['name']}"
    for crate in sorted(set(exceptions) - names):
        yield f"the licence exception for {crate} is no longer needed"
    for entry in rules["advisories"]["ignore"]:
        if not entry.get("reason"):
            yield f"the ignored advisory {entry['id']} has no reason"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=pathlib.Path, default=ROOT / "deny.toml", help="file of the rules")
    args = parser.parse_args()
    rules = tomllib.loads(args.rules.read_text())
    data = metadata(rules["graph"]["targets"])
    found = list(faults(rules, data))
    for fault in found:
        print(f"error: {fault}")
    print(f"{len(data['resolve']['nodes'])} packages checked, {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
