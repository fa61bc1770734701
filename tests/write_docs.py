"""Writes into docs/ what comes from code: python -m tests.write_docs."""

import tempfile
from pathlib import Path

from extproc.policy.authorization import variables
from tests import documented

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "authorization.md"
BEGIN, END = "<!-- variables: begin -->\n", "\n<!-- variables: end -->"


def written(text: str) -> str:
    """The document with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"no place for the table: {BEGIN}...{END}"
    return before + BEGIN + variables.table() + END + after


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8")), "utf-8")
    with tempfile.TemporaryDirectory() as name:
        documented.PAGE.write_text(documented.page(documented.PAGE.read_text("utf-8"), Path(name)), "utf-8")
