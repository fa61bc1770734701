"""A gateway whose budgets limit callers by their team, and a provider that plays what a test wants."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.raw_provider import ENDED, FINE, SAID, STREAM, USED, Play, RawProvider
from tests.e2e.stack import Stack, free_port, prompt, up

CONFIG = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  own: {dialects: [chat], base_url: "${RAW_URL}"}
  other: {dialects: [chat], base_url: "${RAW_URL}"}
models:
  - {name: several, providers: [{provider: own, model: a}, {provider: other, model: b}]}
  - {name: small, provider: other, model: small-one}
  - {name: guarded, provider: other, deny: 'jwt.team == "kept-out"'}
  - {name: "*", provider: own}
routes:
  - {path: /v1/files*, serve: passthrough, provider: own}
prices: {overrides: [{model: "*", input: 2, output: 6}]}
budgets:
  - {name: five, key: 'jwt.sub', when: 'jwt.team == "five"', limit: {requests: 5}, per: day}
  - {name: at-once, key: 'jwt.sub', when: 'jwt.team == "at-once"', limit: {concurrent: 3}}
  - {name: money, key: 'jwt.sub', when: 'jwt.team == "money"', limit: {usd: 0.0002}, per: month, warn_at: 0.5}
  - {name: words, key: 'jwt.sub', when: 'jwt.team == "words"', limit: {tokens: 20}, per: 30d}
  - {name: seen, key: 'jwt.sub', when: 'jwt.team == "seen"', limit: {requests: 1}, per: day, exceeded: observe}
  - {name: large, key: 'jwt.sub', when: 'jwt.team == "large"', limit: {usd: 500, concurrent: 1000}, per: month}
  - {name: centre, key: 'jwt.cost_centre', when: 'jwt.team == "centre"', limit: {requests: 1000}, per: day}
  - {name: moved, key: 'jwt.sub', when: 'jwt.team == "moved"', limit: {requests: 1}, per: day, exceeded: {model: small}}
  - {name: spread, key: 'jwt.sub', when: 'jwt.team == "spread"', limit: {requests: 1}, per: day,
     exceeded: {model: several}}
  - {name: kept-out, key: 'jwt.sub', when: 'jwt.team == "kept-out"', limit: {requests: 1}, per: day,
     exceeded: {model: guarded}}
workers: 4
"""
STREAMED = STREAM + SAID + USED + ENDED
METRICS = free_port()
OBSERVED = f"{CONFIG}metrics: {{port: {METRICS}}}\nusage: {{}}\n"
WARNING = "x-gateway-budget-warning"


@dataclass
class Limited:
    stack: Stack
    provider: RawProvider
    people: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    def person(self, team: str) -> str:
        """The token of somebody who has used nothing yet."""
        return self.stack.token(team=team, claims={"sub": f"person-{next(self.people)}"})

    def beyond(self, team: str) -> str:
        """The token of somebody who has made the one call that the team's budget allows."""
        token = self.person(team)
        assert self.ask(token).status_code == 200
        return token

    def ask(self, token: str, max_tokens: int = 2, **call: Any) -> httpx.Response:
        return self.stack.call(prompt("q", max_tokens=max_tokens), token=token, **call)

    @contextlib.contextmanager
    def playing(self, *plays: Play | bytes) -> Iterator[None]:
        """What the provider answers meanwhile."""
        self.provider.plays(*plays)
        try:
            yield
        finally:
            self.provider.plays(FINE)

    def command(self, *words: str) -> str:
        """What `extproc` prints beside this gateway."""
        argv = [sys.executable, "-m", "extproc", *words, "--config", "gateway.yaml"]
        folder = self.stack.folder
        environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "RAW_URL": self.provider.url}
        done = subprocess.run(argv, check=False, cwd=folder, env=environ, capture_output=True, text=True, timeout=20)
        return done.stdout + done.stderr


@contextlib.contextmanager
def limited_gateway(folder: Path) -> Iterator[Limited]:
    with RawProvider().serving() as provider:
        provider.plays(FINE)
        with up(folder, environ={"RAW_URL": provider.url}, config=OBSERVED) as stack:
            yield Limited(stack, provider)
