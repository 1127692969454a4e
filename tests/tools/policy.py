#!/usr/bin/env python3
"""Checks the crates that Cargo.lock resolves to against deny.toml: licences, bans, sources.

Reads deny.toml as cargo-deny does, as far as this project uses it; a key that isn't known here is
an error, so that nothing in that file is only thought to be checked. Compiles nothing and needs no
network, but for crates that were never downloaded. Also holds `rust-version` to the compiler that
checks: the oldest Rust that is promised is the one that builds here.

    tests/tools/policy.py            checks this project
    tests/tools/policy.py FOLDER     checks the project in that folder
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

KNOWN = {
    "graph": {"targets", "all-features"},
    "licenses": {"allow"},
    "bans": {"multiple-versions", "wildcards", "deny", "skip"},
    "sources": {"unknown-registry", "unknown-git", "allow-registry"},
}
KNOWN_OF_CRATE = {"crate", "reason", "wrappers"}


class Metadata:
    """What cargo makes of the manifest and the lock file, as far as it is ever compiled.

    Behind a crate's `other?/feature` stands a crate that nobody asks for: `cargo metadata` lists it,
    `cargo tree` doesn't.
    """

    def __init__(self, told, compiled):
        packages = {package["id"]: package for package in told["packages"]}
        nodes = [
            node
            for node in told["resolve"]["nodes"]
            if label(packages[node["id"]]) in compiled
        ]
        self.own = set(told["workspace_members"])
        self.packages = [packages[node["id"]] for node in nodes]
        self.users = defaultdict(set)
        for node in nodes:
            for dependency in node["deps"]:
                self.users[dependency["pkg"]].add(packages[node["id"]]["name"])


def read_metadata(folder, graph):
    features = ["--all-features"] if graph["all-features"] else []
    metadata = ["metadata", "--format-version", "1", *features]
    tree = ["tree", "--workspace", "--edges", "normal,build,dev", *features]
    tree += ["--prefix", "none", "--format", "{p}"]
    for target in graph["targets"]:
        metadata += ["--filter-platform", target]
        tree += ["--target", target]
    compiled = {
        " ".join(line.split()[:2]).replace(" v", " ", 1)
        for line in run_cargo(tree, folder).splitlines()
        if line
    }
    return Metadata(json.loads(run_cargo(metadata, folder)), compiled)


def run_cargo(arguments, folder):
    # Without the network, if all is there: a check that waits for a registry is a flaky one.
    for more in (["--offline"], []):
        command = ["cargo", *arguments, "--locked", *more]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if ran.returncode == 0:
            return ran.stdout
    sys.exit(f"policy: {' '.join(command)}: {ran.stderr}")


def label(package):
    return f"{package['name']} {package['version']}"


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be met with these licences; `/` is an old `OR`."""
    tokens = re.findall(r"[()]|[^\s()/]+|/", expression)
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else None

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1]

    def either():
        met = both()
        while peek() in ("OR", "/"):
            take()
            met = both() or met
        return met

    def both():
        met = one()
        while peek() == "AND":
            take()
            met = one() and met
        return met

    def one():
        if peek() is None:
            raise ValueError(expression)
        token = take()
        if token == "(":
            met = either()
            if peek() != ")":
                raise ValueError(expression)
            take()
            return met
        if peek() == "WITH":
            take()
            token = f"{token} WITH {take()}"
        return token in allowed

    met = either()
    if peek() is not None:
        raise ValueError(expression)
    return met


def licence_problems(metadata, rules):
    allowed = set(rules["allow"])
    for package in metadata.packages:
        expression = package["license"]
        try:
            if expression and is_allowed(expression, allowed):
                continue
        except ValueError:
            pass
        yield f"{label(package)} has the licence {expression!r}, which isn't allowed"


def ban_problems(metadata, rules):
    rule_of = {rule["crate"]: rule for rule in rules["deny"]}
    skipped = {rule["crate"] for rule in rules["skip"]}
    versions = defaultdict(list)
    for package in metadata.packages:
        name = package["name"]
        versions[name].append(package["version"])
        rule = rule_of.get(name)
        if rule:
            users = metadata.users[package["id"]] - set(rule.get("wrappers", []))
            for user in sorted(users):
                yield f"{user} uses {label(package)}, which is banned: {rule['reason']}"
    for name, all_versions in versions.items():
        counted = [one for one in all_versions if f"{name}@{one}" not in skipped]
        if len(counted) > 1:
            yield f"{name} is there in {len(counted)} versions: {', '.join(sorted(counted))}"
        for one in set(all_versions) - set(counted):
            skipped.discard(f"{name}@{one}")
            if len(all_versions) == 1:
                yield f"{name}@{one} is the only version now: take it out of skip"
    for name in sorted(skipped):
        yield f"{name} isn't there any more: take it out of skip"
    for package in metadata.packages:
        if package["id"] in metadata.own:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and not dependency.get("path"):
                    yield f"{label(package)} takes any version of {dependency['name']}"


def source_problems(metadata, rules):
    allowed = {f"registry+{registry}" for registry in rules["allow-registry"]}
    for package in metadata.packages:
        source = package["source"]
        if package["id"] not in metadata.own and source not in allowed:
            yield f"{label(package)} comes from {source or package['manifest_path']}"


def rust_version_problems(metadata):
    told = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    ours = told.stdout.split()[1]
    for package in metadata.packages:
        promised = package["rust_version"]
        if package["id"] in metadata.own and promised:
            if ours.split(".")[:2] != promised.split(".")[:2]:
                yield (
                    f"{label(package)} promises Rust {promised}, and this is {ours}: nothing shows "
                    "that the promise holds. Build with that one, or change rust-version"
                )


def unknown_keys(rules):
    for section, keys in rules.items():
        for key in keys.keys() - KNOWN.get(section, set()):
            yield f"deny.toml: {section}.{key} isn't known here"
    for rule in rules["bans"]["deny"] + rules["bans"]["skip"]:
        for key in rule.keys() - KNOWN_OF_CRATE:
            yield f"deny.toml: {key} of {rule} isn't known here"
        if not rule.get("reason"):
            yield f"deny.toml: {rule} has no reason"
    for section, key in (
        ("bans", "multiple-versions"),
        ("bans", "wildcards"),
        ("sources", "unknown-registry"),
        ("sources", "unknown-git"),
    ):
        if rules[section][key] != "deny":
            yield f"deny.toml: {section}.{key} has to be deny"


def check_itself():
    """What a licence check gets wrong first."""
    for expression, expected in (
        ("MIT", True),
        ("GPL-3.0", False),
        ("GPL-3.0 OR MIT", True),
        ("MIT/GPL-3.0", True),
        ("MIT AND GPL-3.0", False),
        ("GPL-3.0 AND MIT OR MIT", True),
        ("GPL-3.0 AND (MIT OR ISC)", False),
        ("(MIT OR GPL-3.0) AND ISC", True),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("Apache-2.0 WITH LLVM-exception OR MIT", True),
    ):
        found = is_allowed(expression, {"MIT", "ISC", "Apache-2.0"})
        assert found == expected, f"{expression}: {found}"


def main():
    check_itself()
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2])
    rules = tomllib.loads((folder / "deny.toml").read_text())
    metadata = read_metadata(folder, rules["graph"])
    problems = [
        *unknown_keys(rules),
        *licence_problems(metadata, rules["licenses"]),
        *ban_problems(metadata, rules["bans"]),
        *source_problems(metadata, rules["sources"]),
        *rust_version_problems(metadata),
    ]
    for problem in problems:
        print(f"policy: {problem}")
    if problems:
        sys.exit(1)
    print(f"policy: {len(metadata.packages)} crates are as deny.toml wants them")


main()
