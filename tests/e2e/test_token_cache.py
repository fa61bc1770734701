"""Tokens that have been verified are remembered, and a worker does not grow by them."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e import forge
from tests.e2e.forge import claims, header
from tests.e2e.stack import GATEWAY, Model, Stack, up

MB = 1_000_000
TOKENS = 500
# A rule that reads the whole map needs every claim of a token.
WHOLE = GATEWAY.replace('jwt.team == "data-platform"', "jwt.size() > 5").replace(
    "authentication:", "authentication:\n  token_cache_bytes: 4000000"
)


@pytest.fixture(params=[GATEWAY, WHOLE], ids=["two claims are read", "all claims are read"])
def one_worker(request: pytest.FixtureRequest, tmp_path: Path, model: Model) -> Iterator[Stack]:
    environ = {"MODEL_URL": model.url}
    with up(tmp_path, environ=environ, config=request.param, arguments=["--workers", "1"]) as running:
        yield running


def large_tokens(stack: Stack) -> Iterator[str]:
    """All different, good, and of 2,600 lists each, which take fifty times the memory of their text."""
    sign = forge.rs256(stack.folder / "keys")
    for number in itertools.count():
        yield forge.token(header(), claims(jti=number, groups=[[]] * 2_600), sign)


def memory(stack: Stack) -> int:
    family = psutil.Process(stack.process.pid).children(recursive=True)
    return sum(one.memory_info().rss for one in family if "extproc.transport.worker" in one.cmdline())


def test_large_tokens_do_not_make_a_worker_grow(one_worker: Stack) -> None:
    """Each of these cost 0.2 MB until 10,000 others had come, 100 MB all together."""
    tokens = large_tokens(one_worker)
    with httpx.Client(base_url=one_worker.url, verify=False, timeout=20) as client:

        def call() -> int:
            return client.get("/v1/models", headers={"authorization": f"Bearer {next(tokens)}"}).status_code

        assert {call() for _ in range(TOKENS // 10)} == {200}
        before = memory(one_worker)
        assert {call() for _ in range(TOKENS)} == {200}
    assert before > 20 * MB
    assert memory(one_worker) - before < 40 * MB
