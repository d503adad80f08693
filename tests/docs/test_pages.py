"""Contract: links lead somewhere, quoted messages are said, generated tables are fresh, the two READMEs are one."""

import re
from pathlib import Path

import pytest

from mesh.cli.configuration import table
from mesh.stack_config import KEYS
from tests.conftest import ROOT
from tests.docs import fields
from tests.docs.markdown import PAGES, READMES, anchors, blocks, headings, links, prose
from tests.docs.messages import is_said

TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
OTHERS = ("Said by Pulumi", "Said by Spiderpool")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(found), f"{page.name}: {target}; there are {sorted(anchors(found))}"


def test_every_page_can_be_found_from_the_readme() -> None:
    named = {(ROOT / target.partition("#")[0]).resolve() for target in links(ROOT / "README.md")}
    assert {page for page in PAGES if page.name != "README.md"} <= named


def quoted() -> list[str]:
    section, found = "", []
    for level, text in headings(TROUBLESHOOTING):
        if level == 2:
            section = text
        elif message := re.fullmatch(r"`(.+)`", text):
            found += [message[1]] if section not in OTHERS else []
    return found


def test_there_are_messages() -> None:
    assert len(quoted()) > 30


@pytest.mark.parametrize("message", quoted())
def test_quoted_message_is_said(message: str) -> None:
    assert len(message.replace("…", "").strip()) > 8, "too short to be found again"
    assert is_said(message)


def test_a_message_that_nobody_says_would_be_noticed() -> None:
    assert not is_said("the gateway … of … is on holiday")
    assert is_said("no gateway would start in …: node … has no label …")


def test_table_of_fields_is_fresh() -> None:
    assert fields.renewed() == fields.README.read_text(encoding="utf-8"), "renew it: python -m tests.docs"


def test_table_tells_what_every_field_is_for() -> None:
    rows = [line.split(" | ") for line in table().splitlines()[2:]]
    assert len(rows) > 60
    assert [row[0] for row in rows if not row[-1].strip(" |")] == []


def test_readmes_have_the_same_structure() -> None:
    english, chinese = ([level for level, _ in headings(page)] for page in READMES)
    assert english == chinese
    first, second = ([(block.language, block.marker) for block in blocks(page)] for page in READMES)
    assert first == second
    english_rows, chinese_rows = ([text.count("\n|") for text in _sections(page)] for page in READMES)
    assert english_rows == chinese_rows
    links_of = [sorted(link for link in links(page) if "README" not in link) for page in READMES]
    assert links_of[0] == links_of[1]


def _sections(page: Path) -> list[str]:
    """The text of each section, without the table that the English one alone has."""
    before, _, rest = prose(page).partition(fields.BEGIN)
    return re.split(r"^## ", before + rest.partition(fields.END)[2], flags=re.MULTILINE)


def test_stack_settings_in_the_readme_are_those_of_the_program() -> None:
    code = (ROOT / "components" / "stack.py").read_text(encoding="utf-8") + (ROOT / "__main__.py").read_text()
    taken = set(re.findall(r'config(?:\.(?:get|require)(?:_object|_bool|_secret)*\(|, )"(\w+)"\)', code))
    assert set(KEYS) == taken, "what is not known would be refused, what is not read be ignored"
    for page in READMES:
        told = set(re.findall(r"^\| `mesh:(\w+)`", prose(page), re.MULTILINE))
        assert told == taken, page.name


def test_outputs_in_the_readme_are_in_the_contract() -> None:
    contract = set(re.findall(r"^\| `(\w+)` \|", prose(ROOT / "docs" / "outputs.md"), re.MULTILINE))
    for page in READMES:
        section = next(text for text in _sections(page) if text.startswith(("Outputs", "输出")))
        named = set(re.findall(r"`(\w+)`", section))
        assert len(named) > 8, page.name
        assert named <= contract, page.name


def test_versions_in_the_air_gap_page_are_those_of_the_lock() -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    text = prose(ROOT / "docs" / "air-gap.md")
    for plugin in ("kubernetes", "command"):
        locked = re.search(rf"^pulumi-{plugin}==(\S+)", lock, re.MULTILINE)
        assert locked
        assert f"resource {plugin} {locked[1]}" in text


def test_every_command_is_in_the_readme() -> None:
    from mesh.cli.app import COMMANDS

    for page in READMES:
        told = re.findall(r"^\| `([a-z]+)` \|", prose(page), re.MULTILINE)
        assert set(told) == {name for name, *_ in COMMANDS}, page.name
