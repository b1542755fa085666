"""README.md: its sections, its fenced blocks and its tables."""

import re
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)


def section(start, end):
    return README[README.index(f"\n{start}\n") : README.index(f"\n{end}\n")]


def blocks(text):
    """The fenced blocks: each one's language and content."""
    return [(language, dedent(content)) for _, language, content in FENCE.findall(text)]


def rows(text, header):
    """The cells of all rows below this header; many tables may have it."""
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith(header):
            inside = True
        elif inside and not line.startswith("|--"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def names(cell):
    """What stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def settings(text):
    """Each setting with its default, and whether it is a secret."""
    for first, default, _ in rows(text, "| Setting | Default | Meaning |"):
        for name, secret in re.findall(r"`([^`]+)`( \(secret\))?", first):
            yield name, default, bool(secret)
