"""Bounds that every topic has: of a body, of an answer, of what an error says."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from extproc.web import app
from extproc.web.app import _HANDLERS, _Bounded


async def reads(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def hangs(request: Request) -> Response:
    await asyncio.sleep(60)
    return PlainTextResponse("late")


async def breaks(request: Request) -> Response:
    raise RuntimeError("quotes sk-a-secret")


SERVED = Starlette(
    routes=[
        Route("/reads", reads, methods=["POST"]),
        Route("/hangs", hangs, methods=["POST"]),
        Route("/breaks", breaks, methods=["POST"]),
    ],
    exception_handlers=_HANDLERS,
)


def post(path: str, content: bytes | AsyncIterator[bytes] = b"", seconds: float = 10) -> httpx.Response:
    async def scene() -> httpx.Response:
        transport = httpx.ASGITransport(_Bounded(SERVED, 1000, seconds))
        async with httpx.AsyncClient(transport=transport, base_url="http://test", verify=False) as client:
            return await client.post(path, content=content)

    return asyncio.run(scene())


async def pieces(*sizes: int, pause: float = 0) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size
        await asyncio.sleep(pause)


@pytest.mark.parametrize(("sizes", "status"), [((1000,), 200), ((500, 500), 200), ((1001,), 413), ((600, 600), 413)])
def test_a_body_has_so_many_bytes(sizes: tuple[int, ...], status: int) -> None:
    answer = post("/reads", pieces(*sizes))
    assert answer.status_code == status
    assert answer.headers["x-frame-options"] == "DENY" and answer.headers["cache-control"] == "no-store"


def test_a_body_has_so_many_seconds() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(60)

    assert post("/reads", never(), seconds=0.1).status_code == 408


def test_an_answer_has_so_many_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "ANSWER_SECONDS", 0.1)
    assert post("/hangs").status_code == 503


def test_an_error_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    answer = post("/breaks")
    assert (answer.status_code, "secret" in answer.text + caplog.text) == (500, False)
    assert "/breaks failed: RuntimeError" in caplog.text and "Traceback" not in caplog.text
