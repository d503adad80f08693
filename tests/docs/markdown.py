"""Reads the project's Markdown: fenced blocks with the marker above them, headings, links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

READMES = (ROOT / "README.md", ROOT / "README.zh_CN.md")
PAGES = (*READMES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))

NEEDS_NODES, NEEDS_PULUMI, LAB = "needs real nodes", "needs pulumi", "lab:"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\s*$")
_MARKER = re.compile(r"^<!-- (?P<text>.+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the file.
        line: number of its first line.
        language: what stands behind the fence.
        marker: the comment right above it; empty where there is none.
        text: what is in it.
    """

    page: Path
    line: int
    language: str
    marker: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The command lines of a `console` or `sh` block, without prompts, output and comments behind them."""
        if self.language not in ("console", "sh"):
            return []
        joined = self.text.replace("\\\n", " ")
        lines = [line.strip() for line in joined.splitlines()]
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        found = [re.sub(r"\s+#( .*)?$", "", line) for line in lines if not line.startswith("#")]
        return [line.strip() for line in found if line.strip()]


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    language = indent = ""
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if start is None and fence:
            start, language, indent = number, fence["language"], fence["indent"]
        elif start is not None and fence and not fence["language"]:
            above = lines[start - 1].strip() if start else ""
            marker = _MARKER.match(above)
            text = "\n".join(each.removeprefix(indent) for each in lines[start + 1 : number])
            yield Block(page, start + 2, language, marker["text"] if marker else "", text)
            start = None
    assert start is None, f"{page.name}: the block that begins in line {(start or 0) + 1} has no end"


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    kept, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def headings(page: Path) -> list[tuple[int, str]]:
    """Level and text of each heading."""
    found = re.findall(r"^(#+) +(.+?) *$", prose(page), re.MULTILINE)
    return [(len(marks), text) for marks, text in found]


def anchors(page: Path) -> set[str]:
    """What can stand behind the # of a link to the page, as GitHub makes it of the headings."""
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in headings(page)}


def links(page: Path) -> list[str]:
    """Targets of the page's links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))
