"""The product as a user runs it: `extproc up` with a real Envoy on free ports of loopback, and all that it prints."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx

from extproc.demo import idp, model

Json = dict[str, Any]
T = TypeVar("T")
SECONDS = 20.0
PROVIDER_KEY = "sk-test-provider-key-0123456789abcdef"
# For what does not depend on how many there are: each takes half a second of CPU to start.
ONE_WORKER = ("--workers", "1")

GATEWAY = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
authorization:
  allow: ['jwt.org == "acme" && jwt.team == "data-platform"']
providers:
  openai: {dialects: [chat], base_url: "${MODEL_URL}", api_key: {env: MODEL_KEY}}
models:
  - {name: "claude-*", provider: openai, model: gpt-4o-mini}
  - {name: "gpt-*", provider: openai}
records: {claims: [org, team]}
"""


class Lines:
    """What a process prints, as it comes."""

    def __init__(self, stream: IO[str]) -> None:
        self.seen: list[str] = []
        self._arrived = threading.Condition()
        self._over = False
        self.thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.thread.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._arrived:
                    self.seen.append(line.rstrip("\n"))
                    self._arrived.notify_all()
        with self._arrived:
            self._over = True
            self._arrived.notify_all()

    def first(self, pick: Callable[[str], T | None], seconds: float = SECONDS) -> T:
        """What `pick` makes of the first line that it makes something of, waiting for the line if need be."""
        return self.nth(1, pick, seconds)

    def nth(self, count: int, pick: Callable[[str], T | None], seconds: float = SECONDS) -> T:
        """Of the line with that number among those that it makes something of."""
        found: list[T] = []
        looked = 0

        def look() -> bool:
            nonlocal looked
            lines = self.seen[looked:]
            looked += len(lines)
            found.extend(value for line in lines if (value := pick(line)) is not None)
            return len(found) >= count or self._over

        with self._arrived:
            self._arrived.wait_for(look, seconds)
        assert len(found) >= count, "no such line among:\n" + "\n".join(self.seen[-30:])
        return found[count - 1]

    def says(self, words: str) -> None:
        """Returns when a line has these words. An answer can come before the line that its call caused."""
        self.first(lambda line: True if words in line else None)

    @property
    def text(self) -> str:
        return "\n".join(self.seen)


class Line(Json):
    """A line of the access log; a member that it leaves out reads as None."""

    def __missing__(self, name: str) -> None:
        return None


@dataclass
class Stack:
    url: str
    folder: Path
    process: subprocess.Popen[str]
    out: Lines
    err: Lines

    def token(self, **changes: Any) -> str:
        """As `extproc token` mints; `team`, `claims` and `ttl` as there."""
        return idp.mint(self.folder / "keys", **changes)

    @cached_property
    def good_token(self) -> str:
        return self.token()

    @property
    def printed(self) -> str:
        """All that it has said so far."""
        return self.out.text + "\n" + self.err.text

    def call(
        self,
        body: Json | bytes | Iterable[bytes] | None = None,
        *,
        path: str = "/v1/messages",
        method: str = "POST",
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """`token`: empty for a good one, None for none."""
        sent = {"content-type": "application/json", "anthropic-version": "2023-06-01", **(headers or {})}
        if token is not None:
            sent.setdefault("authorization", f"Bearer {token or self.good_token}")
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        # There is no TLS here, and loading the roots for it takes longer than the call.
        return httpx.request(method, self.url + path, content=content, headers=sent, timeout=SECONDS, verify=False)

    def record(self, response: httpx.Response) -> Json:
        """The access log's line for an answer."""
        wanted = response.headers["request-id"]
        return self.record_where(lambda line: wanted in ids(line), mentions=wanted)

    def record_where(self, fits: Callable[[Json], bool], mentions: str = "") -> Json:
        """`mentions`: text without which no line is worth reading."""

        def pick(line: str) -> Json | None:
            if not line.startswith("{") or mentions not in line:
                return None
            parsed = Line(json.loads(line))
            return parsed if fits(parsed) else None

        return self.out.first(pick)


@dataclass
class Model:
    """The demo model and every request that reached it."""

    url: str
    log: Path

    def requests(self) -> list[Json]:
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def last(self) -> Json:
        return self.requests()[-1]

    def asked(self) -> int:
        """How much it has written down so far."""
        return self.log.stat().st_size if self.log.exists() else 0

    def since(self, asked: int) -> list[Json]:
        lines = self.log.read_bytes()[asked:].splitlines() if self.asked() else []
        return [json.loads(line) for line in lines]


@contextlib.contextmanager
def demo_model(
    folder: Path, running: Callable[..., AbstractContextManager[str]] = model.running, key: str = PROVIDER_KEY
) -> Iterator[Model]:
    log = folder / "model-requests.jsonl"
    with running(key=key, record=log) as url:
        yield Model(url, log)


@contextlib.contextmanager
def up(
    folder: Path,
    *,
    environ: Mapping[str, str] | None = None,
    config: str = GATEWAY,
    name: str = "gateway.yaml",
    arguments: Sequence[str] = (),
    port: int | None = None,
) -> Iterator[Stack]:
    """`extproc up` with `config` in `folder`, stopped at the end."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(config)
    port = port or free_port()
    command = [sys.executable, "-m", "extproc", "up", "--config", str(path), "--port", str(port), *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "MODEL_KEY": PROVIDER_KEY, **(environ or {})}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
    )
    assert process.stdout is not None and process.stderr is not None
    out, err = Lines(process.stdout), Lines(process.stderr)
    try:
        out.first(lambda line: line if "is serving on" in line else None)
        yield Stack(f"http://127.0.0.1:{port}", folder, process, out, err)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            out.thread.join(SECONDS)
            err.thread.join(SECONDS)


def ids(line: Json) -> set[str | None]:
    """All that a call is known by: to us, to its provider, to Envoy."""
    return {line["request_id"], line["upstream_request_id"], line["x-request-id"]}


def free_port() -> int:
    """Below those that systems give to whoever connects: one of these could be taken before it is listened on."""
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def text_of(message: Json) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def prompt(text: str, **more: Any) -> Json:
    """The smallest Messages request."""
    return {"model": "claude-x", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}
