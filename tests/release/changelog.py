"""CHANGELOG.md: the newest release that it names, and what it says has changed since."""

import re
from dataclasses import dataclass

HEADING = re.compile(r"^## (.*)$", re.M)
RELEASE = re.compile(r"(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)")
COMMIT = re.compile(r"^Commit: ([0-9a-f]{40})$", re.M)


class Wrong(Exception):
    """CHANGELOG.md is not written as it should be; the text says what is wrong."""


@dataclass
class Changelog:
    """`release` and `commit` are None before the first release; `announced` are the names that changed or were removed since then."""

    release: str | None
    commit: str | None
    announced: set[str]
    unreleased: bool


def sections(pattern, text):
    """The text below each heading."""
    parts = re.split(pattern, text)
    return list(zip(parts[1::2], parts[2::2]))


def announced(section):
    """What stands in backquotes under Changed and Removed."""
    below = [text for title, text in sections(re.compile(r"^### (.*)$", re.M), section) if title in ("Changed", "Removed")]
    return set(re.findall(r"`([^`\n]+)`", "\n".join(below)))


def read(text):
    found = sections(HEADING, text)
    unreleased = bool(found) and found[0][0] == "Unreleased"
    since = announced(found.pop(0)[1]) if unreleased else set()
    for title, _ in found:
        if not RELEASE.fullmatch(title):
            raise Wrong(f"CHANGELOG.md: `## {title}` is neither `## Unreleased` at the top nor like `## 1.2.3 (2026-11-28)`")
    if not found:
        return Changelog(None, None, since, unreleased)
    title, section = found[0]
    release, commit = RELEASE.fullmatch(title)[1], COMMIT.search(section)
    if not commit:
        raise Wrong(f"CHANGELOG.md: release {release} has no line `Commit: ` with the 40 digits of its commit")
    return Changelog(release, commit[1], since, unreleased)
