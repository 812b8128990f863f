"""Every row of docs/reliability.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "reliability.md").read_text("utf-8")


def rows(section):
    """Cells of the rows of a section's table."""
    (body,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    lines = [line for line in body.splitlines() if line.startswith("|")]
    assert lines[0] == "| fault | what unskew does | proved by |"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_row_is_proved_by_tests_that_exist():
    sizes = {"Input files": 23, "Events": 8, "Store, process, operating system": 18, "People": 6}
    for section, size in sizes.items():
        found = rows(section)
        assert len(found) == size, section
        for row in found:
            assert len(row) == 3, row
            assert all(row), row
            assert re.fullmatch(r"`[\w/]+\.(py|rs)::\w+`(, `[\w/]+\.(py|rs)::\w+`)*", row[2]), row


def test_every_named_test_is_one():
    named = re.findall(r"`([\w/]+\.(?:py|rs))::(\w+)`", TEXT)
    assert len(set(named)) > 40
    for file, name in set(named):
        source = (ROOT / file).read_text("utf-8")
        if file.endswith(".py"):
            assert name.startswith("test_"), name
            assert re.search(rf"^def {name}\(", source, re.MULTILINE), (file, name)
        else:
            assert re.search(rf"#\[test\]\s+fn {name}\(", source), (file, name)
