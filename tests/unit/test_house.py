"""Contract: the house stays as it was drawn: data goes one way, and the repository holds only what it should.

Plan -> components -> steps: the plan knows neither Pulumi nor Kubernetes, the steps know nothing of Pulumi.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_PROGRAM = 60
# In parts, so that this file does not name what it forbids.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("proxy", "golang", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
        ("files", "pythonhosted", "org"),
    )
]


def modules(folder: str) -> list[str]:
    """The importable modules below a folder of the project."""
    files = sorted((ROOT / folder).rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return [name for name in names if not name.endswith("__main__")]


def imported_by(names: list[str]) -> set[str]:
    """Top-level packages in memory after importing the modules in a fresh interpreter."""
    script = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\nprint(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return {name.split(".")[0] for name in shown.stdout.split()}


def named_imports(file: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def committed() -> list[Path]:
    """The files in git that are there; none outside of a checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def packages(folder: str) -> set[str]:
    return {name.split(".")[0] for file in (ROOT / folder).rglob("*.py") for name in named_imports(file)}


def test_plan_knows_neither_pulumi_nor_kubernetes() -> None:
    assert modules("mesh/plan"), "nothing found to test"
    loaded = imported_by(modules("mesh/plan"))
    assert not {name for name in loaded if name.startswith(("pulumi", "kubernetes", "typer", "rich"))}
    assert not {name for name in packages("mesh/plan") if name.startswith(("pulumi", "kubernetes"))}


def test_plan_imports_nothing_of_the_rest_of_the_project() -> None:
    for file in (ROOT / "mesh/plan").glob("*.py"):
        own = {name for name in named_imports(file) if name.split(".")[0] in {"mesh", "components", "lab"}}
        assert {name for name in own if not name.startswith("mesh.plan")} == set(), file


def test_steps_know_nothing_of_pulumi() -> None:
    assert modules("mesh/steps"), "nothing found to test"
    loaded = imported_by(modules("mesh/steps"))
    assert not {name for name in loaded if name.startswith("pulumi")}
    assert not {name for name in packages("mesh/steps") if name.startswith("pulumi") or name == "components"}


def test_mesh_creates_no_resource() -> None:
    """Nothing below mesh/ imports the components or Pulumi's providers."""
    assert not packages("mesh") & {"components", "lab", "pulumi_kubernetes", "pulumi_command"}


def test_components_never_check_the_plan_again() -> None:
    for file in (ROOT / "components").glob("*.py"):
        assert not {name for name in named_imports(file) if name in {"mesh.plan.rules", "mesh.plan.load"}}, file


def test_program_only_wires() -> None:
    program = ROOT / "__main__.py"
    if not program.is_file():
        pytest.skip("the program is not written yet")
    assert len(program.read_text(encoding="utf-8").splitlines()) <= LONGEST_PROGRAM


def test_no_file_names_a_package_registry() -> None:
    """Which mirror is used is the machine's own business; a lock that names one breaks behind another."""
    named = {
        f"{path.relative_to(ROOT)}: {host}"
        for path in committed()
        for host in REGISTRIES
        if host.encode() in path.read_bytes()
    }
    assert named == set()


def test_no_binary_file_is_committed() -> None:
    assert [path for path in committed() if b"\0" in path.read_bytes()] == []
