import subprocess
from pathlib import Path

import pytest

from tests.e2e.claude_code import VERSIONS, install


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pinned_version_runs(version: str, tmp_path: Path) -> None:
    bare = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1"}
    done = subprocess.run(
        [install()[version], "--version"], env=bare, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split()[0] == version
