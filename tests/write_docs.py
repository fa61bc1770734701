"""Writes tables in docs/, envoy/envoy.yaml and gateway.schema.json from the code: python -m tests.write_docs"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from extproc.cli import json_schema
from extproc.policy.authorization import variables
from tests import configuration_page, documented, envoy_files

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "authorization.md"
BEGIN, END = "<!-- variables: begin -->\n", "\n<!-- variables: end -->"


def written(text: str) -> str:
    """Returns the document with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"no place for the table: {BEGIN}...{END}"
    return before + BEGIN + variables.table() + END + after


def _observability(text: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        return documented.page(text, Path(name))


GENERATED: dict[Path, Callable[[str], str]] = {
    DOCUMENT: written,
    documented.PAGE: _observability,
    envoy_files.STATIC: envoy_files.written,
    configuration_page.PAGE: configuration_page.written,
    configuration_page.SCHEMA: lambda _: json_schema.text(),
}
"""Each file, and what makes it what it should be of what it is."""


if __name__ == "__main__":
    for path, made in GENERATED.items():
        path.write_text(made(path.read_text("utf-8") if path.exists() else ""), "utf-8")
