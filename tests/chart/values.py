"""Writes helm/README.md from the comments of helm/values.yaml; `values.py check` says whether it is up to date."""

import json
import re
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import document
from chart import CHART

VALUES, README = CHART / "values.yaml", CHART / "README.md"
SECTION = "# == "
KEY = re.compile(r"^( *)([A-Za-z_]\w*):")
HEAD = """# The Helm chart of Countersign

This file is written by `python tests/chart/values.py` from the comments of [values.yaml](values.yaml).

Without any values the chart installs one process with SQLite on a volume. It makes a certificate, a key, and one caller's token,
and keeps them at upgrades. [README.md](../README.md#on-kubernetes) of the repository goes through an installation, with and without
a service mesh, and through upgrades. Values that are unknown or that contradict each other are refused by
[values.schema.json](values.schema.json).
"""


def at(values, path):
    for key in path:
        values = values[key]
    return values


def rows(text):
    """Section titles, their introductions, and every value that has a comment: its path and its meaning."""
    path, comment, title = [], [], None
    for line in text.splitlines():
        if line.startswith(SECTION):
            title, comment = line[len(SECTION) :], []
            yield "section", title, None
        elif line.strip().startswith("#"):
            comment.append(line.strip()[1:].strip())
        elif key := KEY.match(line):
            depth = len(key[1]) // 2
            path = [*path[:depth], key[2]]
            if comment:
                yield "value", tuple(path), " ".join(comment)
            comment = []
        else:
            if comment and title:
                yield "text", " ".join(comment), None
            comment = []


def undocumented(values, documented, path=()):
    """Values without a comment of their own or of what they belong to."""
    for key, value in values.items():
        place = (*path, key)
        if place in documented:
            continue
        if isinstance(value, dict) and value:
            yield from undocumented(value, documented, place)
        else:
            yield ".".join(place)


def readme():
    text = VALUES.read_text()
    values, parts, found = yaml.safe_load(text), [HEAD], list(rows(text))
    missing = list(undocumented(values, {path for kind, path, _ in found if kind == "value"}))
    assert not missing, f"values without a comment: {', '.join(missing)}"
    in_table = False
    for kind, what, meaning in found:
        if kind == "value":
            if not in_table:
                parts.append("| Value | Default | Meaning |\n|--|--|--|\n")
                in_table = True
            default = json.dumps(at(values, what))
            parts.append(f"| `{'.'.join(what)}` | `{default}` | {meaning.replace('|', chr(92) + '|')} |\n")
        else:
            in_table = False
            parts.append(f"\n## {what}\n\n" if kind == "section" else f"{what}\n\n")
    return "".join(parts)


def settings():
    """The settings that README.md lists, and which of them are secrets."""
    found = list(document.settings(document.README))
    return {name for name, _, _ in found}, {name for name, _, is_secret in found if is_secret}


def main():
    expected = readme()
    if sys.argv[1:] == ["check"]:
        assert README.read_text() == expected, "helm/README.md is out of date: run python tests/chart/values.py"
    else:
        README.write_text(expected)


if __name__ == "__main__":
    main()
