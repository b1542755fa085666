"""Checks the check: in a clone whose CHANGELOG.md names a release, each promise is broken in turn and must be refused by name."""

import re
import subprocess
import tempfile
from pathlib import Path

import check
import promises

UNKNOWN = "0123456789abcdef0123456789abcdef01234567"


class Clone:
    """A clone that is as its newest release."""

    def __init__(self, directory):
        self.root = Path(directory) / "clone"
        subprocess.run(["git", "clone", "--quiet", "--no-tags", check.ROOT, self.root], check=True)
        self.version = check.VERSION.search(self.read("Cargo.toml"))[1]
        self.commit = self.git("rev-parse", "HEAD")
        self.cases = 0

    def git(self, *arguments):
        return subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True).stdout.strip()

    def read(self, name):
        return (self.root / name).read_text()

    def edit(self, name, pattern, replacement):
        text, count = re.subn(pattern, replacement, self.read(name), count=1, flags=re.M | re.S)
        assert count == 1, f"nothing in {name} is like {pattern}"
        (self.root / name).write_text(text)

    def changelog(self, below="", above="", release=None):
        log = f"# Changelog\n\n{above}## {release or self.version} (2026-01-31)\n\n{below or f'Commit: {self.commit}'}\n"
        (self.root / "CHANGELOG.md").write_text(log)

    def expect(self, *texts):
        """As many faults as texts, each of which holds its text; then everything is as it was."""
        _, found = check.faults(self.root)
        as_expected = len(found) == len(texts) and all(text in fault for text, fault in zip(texts, found))
        assert as_expected, f"expected were faults with {texts}, and found were\n" + "\n".join(found)
        self.git("checkout", "--quiet", ".")
        self.git("clean", "--quiet", "-d", "--force")
        self.changelog()
        self.cases += 1


def names_of_releases(clone):
    clone.changelog()
    clone.expect()
    clone.changelog("nothing")
    clone.expect(f"release {clone.version} has no line `Commit: `")
    clone.changelog(f"Commit: {UNKNOWN}")
    clone.expect("is not in this clone's history")
    clone.changelog(release="0.0.1")
    clone.expect("has neither this release nor", f"has version {clone.version} in Cargo.toml")
    clone.changelog(above="## Next\n\n")
    clone.expect("`## Next` is neither")
    clone.changelog(release="999.0.0", above="## Unreleased\n\n")
    clone.expect("the later release 999.0.0", f"has version {clone.version} in Cargo.toml")


def versions(clone):
    for name in ("Cargo.lock", "helm/Chart.yaml", "Dockerfile", "README.md"):
        clone.edit(name, r'((?:name = "countersign"\nversion = "|^version: |VERSION=))\d+', r"\g<1>998")
        clone.expect(f"and {name} has 998.")


def wire_contract(clone):
    clone.edit("proto/countersign/v1/user.proto", r"^  string name = \d+;\n", "")
    clone.expect("user.proto")


def migrations(clone):
    directory = clone.root / check.MIGRATIONS
    first = min(directory.iterdir())
    first.write_bytes(first.read_bytes() + b"\n")
    clone.expect(f"{first.name} is not as in release {clone.version}")
    first.unlink()
    clone.expect(f"{first.name} is not as in release {clone.version}")
    (directory / "0001_once_more.sql").touch()
    clone.expect("0001_once_more.sql is new, and its number must be above")
    (directory / "9999_later.sql").touch()
    clone.expect()


def tables(clone):
    for kind in promises.TABLES:
        name = next(iter(promises.promised(clone.root)[kind]))
        row = rf"^\| [^|\n]*`{re.escape(name)}`[^\n]*\n"
        clone.edit("README.md", row, "")
        _, found = check.faults(clone.root)
        assert f"{kind} `{name}` of release {clone.version} is gone" in found[0], found
        clone.edit("CHANGELOG.md", "^## ", f"## Unreleased\n\n### Removed\n\n- `{name}`, which nobody used.\n\n## ")
        clone.expect(*(line for line in found if f"`{name}" not in line))
    clone.edit("README.md", r"(`REFRESH_TOKEN_EXPIRY` \|) 7 days", r"\1 6 days")
    clone.expect(f"setting `REFRESH_TOKEN_EXPIRY` had 7 days in release {clone.version} and has 6 days")


def chart(clone):
    clone.edit("helm/values.yaml", r"^replicaCount:", "replicas:")
    clone.expect("value of the chart `replicaCount`")
    clone.edit("helm/values.yaml", r"^(image:.*?\n  )tag:", r"\1label:")
    clone.expect("value of the chart `image.tag`")
    clone.edit("helm/values.yaml", r"^(image:.*?\n  )tag:", r"\1label:")
    clone.changelog(above="## Unreleased\n\n### Changed\n\n- `image` has other values.\n\n")
    clone.expect()


def main():
    with tempfile.TemporaryDirectory() as directory:
        clone = Clone(directory)
        for part in (names_of_releases, versions, wire_contract, migrations, tables, chart):
            part(clone)
        print(f"{clone.cases} trees are told from their release as they should be")


if __name__ == "__main__":
    main()
