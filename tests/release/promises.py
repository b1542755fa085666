"""What users rely on by name: the tables of README.md and the values of the chart."""

import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import document
from document import names, rows

CHART = "value of the chart"


def settings(readme):
    """Each setting with its default. A secret can also be given as the path of a file."""
    for name, default, is_secret in document.settings(readme):
        yield name, default
        if is_secret:
            yield f"{name}_FILE", ""


def metrics(readme):
    """Each metric with its type, and each of its labels."""
    for name, kind, labels, _ in rows(readme, "| Metric | Type | Labels | What it tells |"):
        (name,) = names(name)
        yield name, kind
        yield from ((f"{name}{{{label}}}", "") for label in names(labels))


def column(header, index=None):
    """The names in a table's first column, each with what stands in another one."""

    def found(readme):
        for cells in rows(readme, header):
            yield from ((name, cells[index] if index else "") for name in names(cells[0]))

    return found


TABLES = {
    "setting": settings,
    "metric": metrics,
    "subcommand": column("| Subcommand | What it does |"),
    "key of the callers' file": column("| Key | Meaning |"),
    "path of the ops listener": column("| Path | Answer |"),
    "RPC": column("| RPC | Permission | Also needed |", 1),
    "permission": column("| Permission | Sensitive | Allows |", 1),
    "placeholder": column("| Placeholder | Value |"),
}


def keys(values, path=()):
    """The paths of all values of the chart."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from keys(value, (*path, key))
        else:
            yield ".".join((*path, key))


def promised(directory):
    """What a tree promises: each kind with its names, and what belongs to each."""
    readme = (directory / "README.md").read_text()
    found = {kind: dict(table(readme)) for kind, table in TABLES.items()}
    values = yaml.safe_load((directory / "helm/values.yaml").read_text())
    return {**found, CHART: dict.fromkeys(keys(values), "")}


def also_named(kind, name):
    """The names under which a change of it may be announced."""
    if kind == CHART:
        parts = name.split(".")
        return {".".join(parts[: count + 1]) for count in range(len(parts))} | {name.removeprefix("config.")}
    return {name, name.removesuffix("_FILE") if kind == "setting" else name.partition("{")[0] or name}


def faults(then, now, release, announced):
    """What a release promised and this tree no longer holds, unless it is announced."""
    then, now = promised(then), promised(now)
    for kind, released in then.items():
        for name, value in released.items():
            if also_named(kind, name) & announced:
                continue
            if name not in now[kind]:
                yield f"{kind} `{name}` of release {release} is gone: name it in CHANGELOG.md under Removed or Changed"
            elif now[kind][name] != value:
                yield (
                    f"{kind} `{name}` had {value or 'nothing'} in release {release} and has {now[kind][name] or 'nothing'}: "
                    "name it in CHANGELOG.md under Changed"
                )
