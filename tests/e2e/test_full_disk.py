"""Counters of budgets and the ledger of calls on a disk that is full: a small file system of their own."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.raw_provider import FINE, RawProvider
from tests.e2e.stack import SECONDS, Stack, prompt, up

LIMIT = 200
CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  own: {dialects: [chat], base_url: "${RAW_URL}"}
models:
  - {name: "*", provider: own}
budgets:
  - {name: some, key: jwt.sub, limit: {requests: LIMIT}, per: month}
usage: {}
workers: 1
"""
COUNTERS = ("counters of budgets cannot be kept: database or disk is full", "counters of budgets can be kept again")
LEDGER = ("the ledger cannot be used: database or disk is full", "the ledger can be used again")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB in the place of the folder of the store."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only who may mount a file system can test a full one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Returns the file that takes all the room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    return ballast


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def ask(stack: Stack, token: str) -> int:
    return stack.call(prompt("q", max_tokens=2), token=token).status_code


def calls_in_the_ledger(stack: Stack) -> int:
    command = [
        sys.executable,
        "-m",
        "extproc",
        "usage",
        "--config",
        "gateway.yaml",
        "--by",
        "model",
        "--format",
        "json",
    ]
    environ = {**os.environ, "RAW_URL": "http://127.0.0.1:1"}
    done = subprocess.run(command, cwd=stack.folder, env=environ, capture_output=True, check=True)
    return sum(row["calls"] for row in json.loads(done.stdout))


def test_calls_go_on_while_the_disk_is_full_and_what_they_used_is_kept_later(disk: Path, tmp_path: Path) -> None:
    with RawProvider().serving() as provider:
        provider.plays(FINE)
        environ, config = {"RAW_URL": provider.url}, CONFIG.replace("LIMIT", str(LIMIT))
        with up(tmp_path, environ=environ, config=config) as stack:
            token = stack.token(claims={"sub": "ann"})
            answered = [ask(stack, token) for _ in range(5)]
            ballast = fill(disk)

            def said_by_both() -> bool:
                answered.append(ask(stack, token))
                return COUNTERS[0] in stack.err.text and LEDGER[0] in stack.err.text

            until(said_by_both)
            answered += [ask(stack, token) for _ in range(10)]
            ballast.unlink()
            until(lambda: COUNTERS[1] in stack.err.text and LEDGER[1] in stack.err.text)
            assert set(answered) == {200}
            assert {stack.err.text.count(line) for line in (*COUNTERS, *LEDGER)} == {1}
            until(lambda: calls_in_the_ledger(stack) == len(answered))
            stack.err.says("; 0 calls are missing in it")
            while ask(stack, token) == 200:
                answered.append(200)
            assert len(answered) == LIMIT
        _ = fill(disk)
        with up(tmp_path, environ=environ, config=config) as stack:
            assert ask(stack, token) in (429, 503), "a limit that is used up does not begin anew"
            (disk / "ballast").unlink()
            until(lambda: ask(stack, token) == 429)
