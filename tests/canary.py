"""`make canary`: the clients' tests on the newest versions there are, and what differs from the pinned ones.

Status 1: something that works with the pinned version does not with the newest.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from tests.e2e import claude_code, codex, npm, shapes

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "canary"
E2E = ROOT / "tests" / "e2e"
TESTS = [*sorted(E2E.glob("test_claude_code*.py")), E2E / "test_codex.py", E2E / "test_developers.py"]
PACKAGES = {"claude-code": "@anthropic-ai/claude-code", "codex": "@openai/codex"}
PINNED = {"claude-code": claude_code.NEWEST, "codex": codex.VERSION}


class Tried(NamedTuple):
    outcomes: dict[str, str]
    """By test, without the version in its name: empty, or why it failed."""
    sent: set[str]


def newest() -> dict[str, str]:
    return {name: npm.run(ROOT, "view", package, "version").strip() for name, package in PACKAGES.items()}


def lock(folder: Path, versions: Mapping[str, str]) -> None:
    """Folders as tests/e2e has them, with one version each."""
    for name, package in PACKAGES.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "package.json").write_text(json.dumps({"private": True, "dependencies": {package: versions[name]}}))
        npm.run(place, "install", "--package-lock-only", "--no-audit", "--no-fund", "--ignore-scripts")


def tried(folder: Path, versions: Mapping[str, str]) -> Tried:
    lock(folder, versions)
    report, sent = folder / "report.xml", folder / "sent"
    sent.write_text("")
    argv = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *map(str, TESTS)]
    subprocess.run(argv, cwd=ROOT, env={**os.environ, "CLIENTS": str(folder), shapes.VARIABLE: str(sent)}, check=False)
    return Tried(outcomes(report.read_text("utf-8"), versions.values()), set(sent.read_text("utf-8").splitlines()))


def outcomes(report: str, versions: object) -> dict[str, str]:
    """From JUnit's XML, as pytest writes it."""
    found = {}
    version = "|".join(re.escape(str(one)) for one in versions)  # type: ignore[attr-defined]
    for case in ET.fromstring(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{re.sub(version, 'VERSION', case.get('name', ''))}"
        faults = [*case.iter("failure"), *case.iter("error")]
        found[name] = (faults[0].get("message") or "failed").splitlines()[0] if faults else ""
    return found


def differences(pinned: Tried, newest: Tried) -> list[str]:
    rows = []
    for name in sorted(pinned.outcomes.keys() | newest.outcomes.keys()):
        before, now = pinned.outcomes.get(name), newest.outcomes.get(name)
        if now and not before:
            rows.append(f"FAILS NOW  {name}: {now}")
        elif before and now == "":
            rows.append(f"works now  {name}")
    rows += [f"sent now   {name}" for name in sorted(newest.sent - pinned.sent)]
    return rows + [f"not sent   {name}" for name in sorted(pinned.sent - newest.sent)]


def main() -> int:
    found = newest()
    for name, version in found.items():
        print(f"{name}: pinned {PINNED[name]}, newest {version}", flush=True)
    if found == PINNED:
        print("nothing is newer than what is pinned")
        return 0
    before, now = tried(FOLDER / "pinned", PINNED), tried(FOLDER / "newest", found)
    rows = differences(before, now)
    print("\n".join(["", "what differs:", *rows] if rows else ["", "nothing differs"]))
    return 1 if any(row.startswith("FAILS") for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
