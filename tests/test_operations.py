"""The lines of docs/operations.md, tried on a log."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.settings import GATEWAY, gateway
from tests.test_observability import RULES

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "operations.md").read_text("utf-8")
LINES = [block.strip() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if block.startswith("jq")]
CALL: dict[str, Any] = {
    "time": "2026-11-29T10:00:00.000Z", "http.status": 200, "duration": 17, "jwt.sub": "ann", "caller.team": "data",
    "gen_ai.provider.name": "openai", "gen_ai.request.model": "claude-x", "gen_ai.response.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 2, "details": "via_upstream",
    "request_id": "req_1b7c2f0a9d3e4c5b8a6f7e0d", "warnings": "dropped:top_k,approx:tools.0",
}  # fmt: skip
FAILED = {"http.status": 529, "reason": "UpstreamUnavailable", "error": "envoy_529", "details": "no_healthy_upstream"}
REFUSED = {"time": CALL["time"], "http.status": 401, "reason": "JwtAuth", "error": "token_expired", "duration": 1}
EMPTY = dict.fromkeys(("reason", "error", "warnings", "gen_ai.usage.output_tokens"))
# Members without a value are null or left out, by the version of the gateway.
CALLS = [
    CALL,
    EMPTY | CALL,
    {**CALL, "jwt.sub": "bob", "request_id": "req_2"},
    EMPTY | CALL | FAILED,
    REFUSED,
    EMPTY | REFUSED,
]
EXPECTED = [
    ["ann\tgpt-4o\t3\t9\t6", "bob\tgpt-4o\t1\t3\t2"],
    ["2026-11-29\tdata\t4\t8"],
    ["-\tJwtAuth\ttoken_expired\t2"],
    ["openai\tUpstreamUnavailable\tenvoy_529\tno_healthy_upstream\t1"],
    6,
    3,
    ["approx:tools.0\t4", "dropped:top_k\t4"],
]


@pytest.mark.parametrize(("line", "expected"), list(zip(LINES, EXPECTED, strict=True)), ids=range(len(LINES)))
def test_lines_for_jq(tmp_path: Path, line: str, expected: list[str] | int) -> None:
    if shutil.which("jq") is None and os.environ.get("TOOLS") != "required":
        pytest.skip("there is no jq on this machine")
    (tmp_path / "access.log").write_text("".join(json.dumps(call) + "\n" for call in CALLS))
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = done.stdout.splitlines()
    assert len(found) == expected if isinstance(expected, int) else found == expected


def test_the_rule_that_blocks_a_person_is_one(tmp_path: Path) -> None:
    [block] = re.findall(r"```yaml\n(authorization:.*?)```", PAGE, re.DOTALL)
    assert "deny" in yaml.safe_load(block)["authorization"]
    gateway(tmp_path, f"{GATEWAY}\n{block}")


def test_every_alert_is_explained() -> None:
    assert set(re.findall(r"`(Extproc\w+)`", PAGE)) == {rule["alert"] for rule in RULES}
