"""Checks that the versions agree, and that whoever runs or calls the newest release can go on with this tree.

CHANGELOG.md names that release and its commit, so that no tag is needed. BUF names the program.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import changelog
import promises

ROOT = Path(__file__).resolve().parent.parent.parent
BUF = os.environ.get("BUF", "buf")
MIGRATIONS = "src/store/migrations"
COMPARED = ("Cargo.toml", "README.md", "helm/values.yaml", "proto", MIGRATIONS)
VERSION = re.compile(r'^version = "(.*)"', re.M)


def versions(root, log):
    """One version everywhere; it may be ahead of the newest release only if something is unreleased."""
    text = {name: (root / name).read_text() for name in ("Cargo.toml", "Cargo.lock", "helm/Chart.yaml", "Dockerfile", "README.md")}
    crate = VERSION.search(text["Cargo.toml"])[1]
    found = {
        "Cargo.lock": re.findall(r'^name = "countersign"\nversion = "(.*)"', text["Cargo.lock"], re.M),
        "helm/Chart.yaml": re.findall(r"^(?:version|appVersion): (.*)", text["helm/Chart.yaml"], re.M),
    }
    for name in ("Dockerfile", "README.md"):
        found[name] = re.findall(r"(?:VERSION=|\bcountersign:)(\d+\.\d+\.\d+)", text[name])
    for name, seen in found.items():
        if set(seen) != {crate}:
            yield f"Cargo.toml is version {crate}, and {name} has {', '.join(seen) or 'none'}"
    if log.release and as_numbers(crate) < as_numbers(log.release):
        yield f"Cargo.toml is version {crate}, and CHANGELOG.md names the later release {log.release}"
    if log.release and not log.unreleased and crate != log.release:
        yield f"Cargo.toml is version {crate}, and CHANGELOG.md has neither this release nor `## Unreleased`"


def as_numbers(version):
    return [int(part) for part in version.split(".")]


def is_known(root, commit):
    """Whether a commit is part of this clone's history. A shallow clone, as some CI systems make, is completed for that."""
    ask = ["git", "merge-base", "--is-ancestor", commit, "HEAD"]
    if subprocess.run(ask, cwd=root, capture_output=True).returncode == 0:
        return True
    complete = subprocess.run(["git", "fetch", "--quiet", "--unshallow"], cwd=root, capture_output=True, timeout=300)
    return complete.returncode == 0 and subprocess.run(ask, cwd=root, capture_output=True).returncode == 0


def extract(root, log, directory):
    """Writes the files of the release that are compared."""
    if not is_known(root, log.commit):
        raise changelog.Wrong(f"CHANGELOG.md: {log.commit}, the commit of release {log.release}, is not in this clone's history")
    archive = subprocess.run(["git", "archive", log.commit, *COMPARED], cwd=root, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", directory], input=archive.stdout, check=True)
    released = VERSION.search((directory / "Cargo.toml").read_text())[1]
    if released != log.release:
        raise changelog.Wrong(f"CHANGELOG.md: the commit of release {log.release} has version {released} in Cargo.toml")


def proto(then, now):
    """Breaking changes of the wire contract, as buf reports them."""
    done = subprocess.run([BUF, "breaking", "proto", "--against", then / "proto"], cwd=now, capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines() if done.returncode != 0 else []


def migrations(then, now, release):
    """A released migration stays as it is, and new ones come after it."""
    released, today = ({file.name: file.read_bytes() for file in (tree / MIGRATIONS).iterdir()} for tree in (then, now))
    for name, content in sorted(released.items()):
        if today.get(name) != content:
            yield f"{MIGRATIONS}/{name} is not as in release {release}: a database that has it would be refused"
    last = max(released).partition("_")[0]
    for name in sorted(today.keys() - released.keys()):
        if name.partition("_")[0] <= last:
            yield f"{MIGRATIONS}/{name} is new, and its number must be above {last}, the last one of release {release}"


def comparison(root, log):
    """What of the newest release this tree no longer holds."""
    with tempfile.TemporaryDirectory() as directory:
        then = Path(directory)
        extract(root, log, then)
        yield from proto(then, root)
        yield from migrations(then, root, log.release)
        yield from promises.faults(then, root, log.release, log.announced)


def faults(root):
    """The release that the tree was compared with, and everything that is wrong."""
    release, found = None, []
    try:
        log = changelog.read((root / "CHANGELOG.md").read_text())
        release = log.release
        found += versions(root, log)
        if release:
            found += comparison(root, log)
    except changelog.Wrong as wrong:
        found.append(str(wrong))
    return release, found


def main():
    release, found = faults(ROOT)
    if found:
        sys.exit("\n".join(found))
    print(f"all that release {release} promised still holds" if release else "CHANGELOG.md names no release to compare with")


if __name__ == "__main__":
    main()
