"""docs/mapping.md has every section that the code refers to, every rule of the vectors, and every key of a profile."""

import json
import re
from pathlib import Path

import msgspec

from extproc.providers.profiles import Profile

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "mapping.md").read_text()
# `## 2. Answer`, `### 2.4 Reasoning`, `**1.5.1 Tool results.**`
SECTIONS = set(re.findall(r"^(?:#+ |\*\*)(\d+(?:\.\d+)*)\.? ", PAGE, re.MULTILINE))
RULES = set(re.findall(r"^\| (C\d{3}) \|", PAGE, re.MULTILINE))
# `docs/mapping.md 2.2, 4.6`, `mapping 1.3 to 1.5`
REFERENCE = re.compile(r"mapping(?:\.md)? (\d[\d.]*(?:(?:, | to )\d[\d.]*)*)")


def sources() -> list[Path]:
    trees = [ROOT / name for name in ("extproc", "tests", "bench", "fuzz")]
    return [path for tree in trees for path in tree.rglob("*.py") if "node_modules" not in path.parts]


def vectors() -> list[dict[str, str]]:
    files = sorted((ROOT / "tests" / "vectors").glob("*.json"))
    return [vector for path in files for vector in json.loads(path.read_text())["vectors"]]


def test_sections_that_the_code_refers_to() -> None:
    named = {
        number.rstrip(".")
        for path in sources()
        for listed in REFERENCE.findall(path.read_text())
        for number in re.split(r", | to ", listed)
    }
    assert len(named) > 30
    assert named <= SECTIONS, sorted(named - SECTIONS)


def test_rules_of_the_vectors() -> None:
    cases = {vector["case"] for vector in vectors()}
    assert {case for case in cases if case.startswith("C")} <= RULES
    others = {case.partition("-")[0] for case in cases if not case.startswith("C")}
    others |= {vector["rule"] for vector in vectors() if "rule" in vector}
    assert others <= SECTIONS, sorted(others - SECTIONS)


def test_sections_that_the_rules_name() -> None:
    rows = re.findall(r"^\| C\d{3} \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == len(RULES)
    named = {number for row in rows if row[0].isdigit() for number in row.split(", ")}
    assert named <= SECTIONS, sorted(named - SECTIONS)


def test_keys_of_a_profile() -> None:
    own = {"name", "dialect", "strictness"}  # they say which profile it is, and 0.1
    keys = {field.name for field in msgspec.structs.fields(Profile)} - own
    missing = {key for key in keys if f"`{key}`" not in PAGE and f"`{key}:" not in PAGE}
    assert not missing, sorted(missing)


def test_files_of_vectors() -> None:
    """Each says how many it has, and stands in the list of their README."""
    folder = ROOT / "tests" / "vectors"
    listed = set(re.findall(r"`(\w+\.json)`", (folder / "README.md").read_text("utf-8").partition("## Format")[0]))
    assert listed == {path.name for path in folder.glob("*.json")}
    for path in folder.glob("*.json"):
        content = json.loads(path.read_text("utf-8"))
        assert content["count"] == len(content["vectors"]), path.name
