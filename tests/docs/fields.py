"""The table of the plan's fields in README.md."""

from mesh.cli.configuration import table
from tests.conftest import ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- begin: fields -->", "<!-- end: fields -->"


def renewed() -> str:
    """README.md with the table as the schema has it now."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"
