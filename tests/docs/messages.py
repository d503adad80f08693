"""Every message in the code, as a reader sees it: what is filled in at run time stands as `…`."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

FILLED_IN = "…"


@cache
def messages() -> frozenset[str]:
    """All texts of the program, f-strings as templates; and the shell script's."""
    found = set()
    for folder in ("mesh", "components", "lab"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found |= set(_texts(path))
    return frozenset(found)


def _texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(_part(value) for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _part(value: ast.expr) -> str:
    return str(value.value) if isinstance(value, ast.Constant) else FILLED_IN


def is_said(quoted: str) -> bool:
    """Whether the program can say this; `…` in it stands for what is filled in, at its end also for the rest."""
    wanted = " ".join(quoted.removesuffix(FILLED_IN).split())
    return any(wanted in " ".join(text.split()) for text in messages())
