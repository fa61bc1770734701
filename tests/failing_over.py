"""A call of a model with several providers, driven without Envoy: its admission, and each attempt."""

from pathlib import Path
from typing import Any

from extproc.events import Action, AttemptHeaders, HandOver, Headers, Record, ResponseBody, ResponseHeaders
from extproc.gateway.attempt import AttemptExchange
from extproc.gateway.exchange import Exchange
from extproc.gateway.gateway import Gateway
from extproc.gateway.handover import Handover, decoded
from tests.issuing import token
from tests.playbook import START, Json, done, request_body, request_headers
from tests.settings import AUTHENTICATION, source

KEYS = {"KEY_A": "sk-key-of-a-0123456789", "KEY_B": "sk-key-of-b-0123456789", "KEY_C": "sk-key-of-c-0123456789"}
PROVIDERS = """
providers:
  a: {dialects: [messages], base_url: "https://a.example", api_key: {env: KEY_A}}
  b: {dialects: [chat], base_url: "https://b.example/v1", api_key: {env: KEY_B}}
  c: {dialects: [responses], base_url: "https://c.example/v1", api_key: {env: KEY_C}}
"""
ASK: Json = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "q"}]}


def gateway(folder: Path, models: str) -> Gateway:
    """`models`: the text of the section."""
    return Gateway(source(folder, f"{AUTHENTICATION}\n{PROVIDERS}\n{models}", KEYS), KEYS)


class Call:
    def __init__(self, gateway: Gateway, ask: Json | None = None, path: str = "/v1/messages", **headers: str) -> None:
        self.gateway = gateway
        self.body = request_body(ask or ASK)
        self.record: Record = {}
        """What the attempts have put on record."""
        self.exchange: Exchange = gateway.exchange(START)
        done(
            gateway.handle(self.exchange, request_headers(path, token=token(), end=False, source="", **headers), START)
        )
        [self.admitted] = done(gateway.handle(self.exchange, self.body, START))

    @property
    def handed_over(self) -> HandOver:
        assert isinstance(self.admitted, HandOver), self.admitted
        return self.admitted

    @property
    def handover(self) -> Handover:
        return decoded(self.handed_over.handover)

    def headers_of_attempt(self, number: int) -> AttemptHeaders:
        handed = self.handed_over
        names = frozenset({":path", "content-type", "x-extproc-handover", "left-by-an-earlier-attempt"})
        return AttemptHeaders(handed.clusters[number - 1], number, handed.handover, names, dict(self.record))

    def attempt(self, number: int, now: float = START) -> tuple[AttemptExchange, Action]:
        """Returns an attempt that has got the body, and what it does about it."""
        steps = self.gateway.attempts
        attempt = steps.exchange(now)
        self.note(done(steps.handle(attempt, self.headers_of_attempt(number), now)))
        [action] = self.note(done(steps.handle(attempt, self.body, now)))
        return attempt, action

    def answered(self, attempt: AttemptExchange, status: int, body: bytes = b"", **more: Any) -> list[Action]:
        """What an attempt does about an answer that comes in one piece."""
        now = more.pop("now", START)
        media = more.pop("media", "application/json")
        headers = Headers([(":status", str(status)), ("content-type", media), *more.pop("headers", {}).items()])
        actions = self.gateway.attempts.go_on(attempt, ResponseHeaders(status, headers, False), now)
        return self.note(actions + self.gateway.attempts.go_on(attempt, ResponseBody(body, more.pop("end", True)), now))

    def note(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            self.record |= action.record
        return actions
