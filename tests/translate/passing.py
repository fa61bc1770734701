"""Helpers for pairs of one dialect: what is asked, and an answer played in pieces."""

import json
from pathlib import Path
from typing import Any

from extproc.providers.profiles import shipped, with_overrides
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.pair import Outcome, Pair, Target
from extproc.translate.same_dialect.reply import Passed

MESSAGES, CHAT = PAIRS["messages", "messages"], PAIRS["chat", "chat"]
SSE, JSON = "text/event-stream; charset=utf-8", "application/json"
ROOT = Path(__file__).parents[1]
HELLO = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "q"}]}


def target(raw: bytes = b"", *, model: str = "m", settings: dict[str, Any] | None = None, **more: Any) -> Target:
    headers = more.pop("headers", {})
    profile = with_overrides(shipped()["generic"], more)
    return Target(profile=profile, model=model, nonce="n", raw=raw, settings=settings or {}, headers=headers)


def ask(pair: Pair, raw: bytes, **more: Any) -> Passed:
    settings = more.get("settings") or {}
    asked = pair.request({**json.loads(raw), **settings}, target(raw, **more))
    assert isinstance(asked, Passed), asked
    return asked


def asked(pair: Pair, body: dict[str, Any] | None = None, **more: Any) -> Passed:
    return ask(pair, json.dumps({**HELLO, "stream": True, **(body or {})}).encode(), **more)


def played(pair: Pair, *pieces: bytes, media: str = SSE, of: Passed | None = None) -> tuple[bytes, Outcome]:
    reply = pair.reply(of or asked(pair), media)
    out = b"".join([*(reply.feed(piece) for piece in pieces), reply.close()])
    assert reply.feed(b"data: more\n\n") in (b"", b"data: more\n\n")
    return out, reply.outcome


def recorded(suffix: str) -> list[Path]:
    return sorted((ROOT / "data" / "messages").glob(f"*.{suffix}"))


def captured(path: str) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    """Name, body and headers of every recorded request to a path."""
    found = []
    for file in sorted((ROOT / "corpus").rglob("*.json")):
        call = json.loads(file.read_text())
        if call["method"] == "POST" and call["path"].partition("?")[0] == path:
            headers = {name.lower(): value for name, value in call["headers"].items()}
            found.append((f"{file.parent.name}-{file.stem}", call["body"], headers))
    return found
