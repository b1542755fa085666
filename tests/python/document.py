"""README.md: its sections and its fenced blocks."""

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
