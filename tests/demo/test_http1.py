import asyncio

import pytest

from extproc.demo.http1 import BadRequestError, Request, chunk, head, read_request


class Sink:
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


def read(data: bytes, cut: int | None = None) -> tuple[Request | None, bytes]:
    async def run() -> tuple[Request | None, bytes]:
        reader, sink = asyncio.StreamReader(limit=1000), Sink()
        for part in [data] if cut is None else [data[:cut], data[cut:]]:
            reader.feed_data(part)
        reader.feed_eof()
        return await read_request(reader, sink), sink.written  # type: ignore[arg-type]  # all it needs of a writer

    return asyncio.run(run())


CHUNKED = (
    b"POST /a?b=1 HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
)
SIZED = b"POST /a HTTP/1.1\r\nX-A:  1 \r\nX-A: 2\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"


def test_chunked_however_it_is_cut() -> None:
    for cut in range(len(CHUNKED)):
        request, _ = read(CHUNKED, cut)
        assert request is not None
        assert (request.body, request.path, request.target) == (b"abcde", "/a", "/a?b=1")


def test_sized() -> None:
    request, written = read(SIZED)
    assert request is not None
    assert request.body == b"abc"
    assert request.headers[:2] == [("X-A", "1"), ("X-A", "2")]
    assert request.header("x-a") == "1, 2"
    assert request.keep_alive
    assert written == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_end_of_connection() -> None:
    assert read(b"") == (None, b"")
    with pytest.raises(asyncio.IncompleteReadError):
        read(SIZED[:-1])
    closing, _ = read(b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n")
    assert closing is not None
    assert not closing.keep_alive


@pytest.mark.parametrize(
    "bad",
    [
        b"hello\r\n\r\n",
        b"GET / SPDY\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 2000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_garbage(bad: bytes) -> None:
    with pytest.raises(BadRequestError):
        read(bad)


def test_answers() -> None:
    assert head(529, [("a", "1")]) == b"HTTP/1.1 529 Demo\r\na: 1\r\n\r\n"
    assert chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"
