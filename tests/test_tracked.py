"""What is in git holds for every machine: no path of the one it was written on, no package registry."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED_PARENTS = {"/", "/tmp", "/opt", "/srv", "/mnt", "/var/tmp", "/usr/src", "/usr/local/src"}
MACHINE = r"/(?:home|root|Users)/(?!dev/)[\w.-]"  # recordings say /home/dev/ for whoever it was
REGISTRY = r"\bpypi\.org|pythonhosted\.org|\bnpmjs\.(?:org|com)|\byarnpkg\.com|_auth[T]oken|(?<!emit-)index-url[ =]"


def tracked() -> list[Path]:
    """What is in git, or would be after `git add .`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    paths = {ROOT / name.decode() for name in listed.stdout.split(b"\0") if name}
    return sorted(path for path in paths if path.is_file())


def here() -> list[str]:
    """This checkout, and all that lies beside it, unless its place is one that any machine has."""
    parent = str(ROOT.parent)
    beside = [] if parent in SHARED_PARENTS else [rf"(?<![\w.]){re.escape(parent)}/\w"]
    return [rf"(?<![\w.]){re.escape(str(ROOT))}\b", *beside]


def findings(path: Path, pattern: re.Pattern[bytes]) -> list[str]:
    lines = path.read_bytes().splitlines()
    return [f"{path.relative_to(ROOT)}:{number}" for number, line in enumerate(lines, 1) if pattern.search(line)]


@pytest.mark.parametrize("forbidden", [[MACHINE], [REGISTRY], here()], ids=["machine", "registry", "here"])
def test_is_free_of(forbidden: list[str]) -> None:
    pattern, files = re.compile("|".join(forbidden).encode()), tracked()
    assert Path(__file__) in files
    assert not [finding for path in files for finding in findings(path, pattern)]


# `@` stands in them, so that this file is free of what it looks for.
FOUND = [([MACHINE], "see /ho@me/ann"), ([REGISTRY], "from files.python@hosted.org"), (here(), f"in {ROOT}/extproc")]


@pytest.mark.parametrize(("forbidden", "text"), FOUND, ids=["machine", "registry", "here"])
def test_what_is_forbidden_is_found(tmp_path: Path, forbidden: list[str], text: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"one\n{text.replace('@', '')}\n")
    pattern = re.compile("|".join(forbidden).encode())
    assert [bool(pattern.search(line)) for line in path.read_bytes().splitlines()] == [False, True]


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("requirements*.txt")))
def test_requirements_are_pinned_and_hashed(name: str) -> None:
    text = (ROOT / name).read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert lines
    assert not [
        line for line in lines if not re.fullmatch(r"[\w.-]+==[^ ]+( ;[^#]*?)?( +--hash=sha256:[0-9a-f]{64})+\s*", line)
    ]
