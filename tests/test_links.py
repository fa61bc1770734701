"""Links between the pages of this repository lead to files and headings that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "tests" / "vectors" / "README.md"])
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for path, anchor in LINK.findall(FENCE.sub("", page.read_text())):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    assert not broken


def test_there_are_links() -> None:
    assert sum(len(LINK.findall(page.read_text())) for page in PAGES) > 30


def test_modules_that_the_glossary_names() -> None:
    names = re.findall(r"`([\w/]+\.(?:py|yaml)|[\w/]+/)`", (ROOT / "docs" / "glossary.md").read_text())
    assert len(names) > 50
    assert not [name for name in names if not ((ROOT / "extproc" / name).exists() or (ROOT / name).exists())]


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert not [
        page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index and page.name != "README.md"
    ]
