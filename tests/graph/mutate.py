"""Breaks the components in one place at a time and tells which breakages no test of this folder notices.

    python -m tests.graph.mutate [components/mesh.py ...]

Nothing on disk is changed: each mutant lives in a process of its own. What survives is either a gap in the tests or a
change that means the same; the exit code is 1 where there is any.
"""

import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
ONCE = (  # imported here instead of in every child; nothing that imports a component
    "tests.conftest",
    "pulumi_command.local",
    "pulumi_kubernetes.apiextensions",
    "pulumi_kubernetes.apps.v1",
    "pulumi_kubernetes.core.v1",
    "pulumi_kubernetes.helm.v3",
    "mesh.plan",
    "mesh.steps.__main__",
    "mesh.topology",
)
SECONDS = 180  # a mutant that hangs is noticed, too


class _Loader(importlib.abc.Loader):
    def __init__(self, code: CodeType) -> None:
        self.code = code

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)  # noqa: S102 the project's own source, changed in one place


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, _Loader(self.code)) if fullname == self.name else None


def mutants(source: str) -> Iterator[tuple[int, str, ast.Module]]:
    """Line, description and tree of every mutant."""
    tree = ast.parse(source)
    nodes = list(_code(tree))
    for index, node in enumerate(nodes):
        for number, description in enumerate(_changes(node)):
            mutant = copy.deepcopy(tree)
            _apply(list(_code(mutant))[index], number)
            yield getattr(node, "lineno", 0), description, ast.fix_missing_locations(mutant)


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run: no annotations, docstrings and imports."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns") or isinstance(tree, ast.Import | ast.ImportFrom):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            yield child
            yield from _code(child)


def _changes(node: ast.AST) -> list[str]:
    """What can be done to a node; `_apply` does the one of that number."""
    if isinstance(node, ast.Call):
        return [f"without {keyword.arg or '**'}=" for keyword in node.keywords]
    if isinstance(node, ast.Dict):
        return [f"without {ast.unparse(key) if key else '**'}" for key in node.keys]
    if isinstance(node, ast.List | ast.Tuple) and isinstance(node.ctx, ast.Load):
        return [f"without {ast.unparse(item)}" for item in node.elts]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | str | int):
        return [f"{node.value!r} changed"]
    if isinstance(node, ast.If | ast.IfExp):
        return [f"not ({ast.unparse(node.test)})"]
    if isinstance(node, ast.BoolOp):
        return [f"and <-> or: {ast.unparse(node)}"]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [f"only the left of {ast.unparse(node)}"]
    if isinstance(node, ast.Expr):
        return [f"nothing instead of {ast.unparse(node)[:60]}"]
    return []


def _apply(node: ast.AST, number: int) -> None:
    if isinstance(node, ast.Call):
        del node.keywords[number]
    elif isinstance(node, ast.Dict):
        del node.keys[number], node.values[number]
    elif isinstance(node, ast.List | ast.Tuple):
        del node.elts[number]
    elif isinstance(node, ast.Constant):
        value = node.value
        node.value = (not value) if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else value + 1  # type: ignore[operator]
    elif isinstance(node, ast.If | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.BinOp):
        node.right = copy.deepcopy(node.left)
    elif isinstance(node, ast.Expr):
        node.value = ast.Constant(None)


def noticed(name: str, tree: ast.Module) -> bool:
    """Whether a test fails with that module instead of the one on disk."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        with open(os.devnull, "w") as null:  # noqa: PTH123 for its file descriptor
            os.dup2(null.fileno(), 1)
            os.dup2(null.fileno(), 2)
        code = 1
        try:
            sys.meta_path.insert(0, _Finder(name, compile(tree, name, "exec")))
            code = pytest.main(["-x", "-q", "-o", "addopts=", "-p", "no:cacheprovider", str(ROOT / "tests" / "graph")])
        finally:
            os._exit(int(code))
    return os.waitpid(child, 0)[1] != 0


def main() -> int:
    """Try all mutants of the files in argv, by default of all components."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in ONCE:
        importlib.import_module(name)
    files = [Path(argument) for argument in sys.argv[1:]] or sorted((ROOT / "components").glob("*.py"))
    if noticed("components.step", ast.parse((ROOT / "components" / "step.py").read_text())):
        print("The tests fail as they are: that would be taken for noticing every mutant.")
        return 2
    count, survived, started = 0, 0, time.monotonic()
    for file in files:
        name = f"components.{file.stem}"
        for line, description, tree in mutants(file.read_text()):
            count += 1
            if not noticed(name, tree):
                survived += 1
                print(f"{file.name}:{line}: nobody notices {description}", flush=True)
    print(f"{count} mutants, {survived} not noticed, {time.monotonic() - started:.0f} s")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
