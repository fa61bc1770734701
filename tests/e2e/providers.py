"""Stand-ins for Anthropic, OpenAI and a model of one's own, and the gateway before them as examples/ configure it."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx

from extproc.demo import claude_model
from tests.e2e.serving import serving
from tests.e2e.stack import ONE_WORKER, PROVIDER_KEY, SECONDS, Json, Model, Stack, demo_model, ids, up

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ANTHROPIC_KEY = "sk-ant-api03-test-provider-key-0123456789abcdef"
OAUTH_TOKEN = "sk-ant-oat01-test-provider-token-0123456789abcdef"
VERSION = "2023-06-01"
SPECIAL = """
authentication:
  jwt:
    - {issuer: claude-code-lab, audiences: [anthropic-api], jwks: {file: keys/jwks.json}}
providers:
  anthropic:
    dialects: [messages]
    base_url: "${ANTHROPIC_UPSTREAM_URL}"
    api_key: {env: ANTHROPIC_API_KEY}
    version: client
  dated: {dialects: [messages], base_url: "${ANTHROPIC_UPSTREAM_URL}", version: "2024-10-22"}
  oauth: {dialects: [messages], base_url: "${OAUTH_URL}", api_key: {env: OAUTH_TOKEN}}
  recorded: {dialects: [messages], base_url: "${RECORDED_URL}"}
  openai: {dialects: [chat], base_url: "${OPENAI_UPSTREAM_URL}", api_key: {env: OPENAI_API_KEY}}
translation: {meter_usage: false}
models:
  - {name: "", provider: openai, model: gpt-4o}
  - {name: claude-opus-5, provider: anthropic}
  - {name: claude-of-marketing, provider: anthropic, allow: 'jwt.team == "marketing"'}
  - {name: claude-dated, provider: dated}
  - {name: claude-by-oauth, provider: oauth}
  - {name: claude-recorded, provider: recorded}
  - {name: gpt-4o-mini, provider: openai}
"""
LISTED = ["claude-opus-5", "claude-dated", "claude-by-oauth", "claude-recorded", "gpt-4o-mini"]

demo_claude = partial(demo_model, running=claude_model.running)


@dataclass(frozen=True)
class Providers:
    anthropic: Model
    openai: Model
    local: Model
    """Wants no key, as a model of one's own does."""

    @property
    def environ(self) -> dict[str, str]:
        return {
            "ANTHROPIC_UPSTREAM_URL": self.anthropic.url,
            "ANTHROPIC_API_KEY": ANTHROPIC_KEY,
            "OPENAI_UPSTREAM_URL": self.openai.url,
            "OPENAI_API_KEY": PROVIDER_KEY,
            "LOCAL_UPSTREAM_URL": self.local.url,
        }

    @contextlib.contextmanager
    def asking(self, *names: str) -> Iterator[list[Json]]:
        """Collects the requests that reach a provider; only the named ones are asked, in this order."""
        every = {"anthropic": self.anthropic, "openai": self.openai, "local": self.local}
        before = {name: model.asked() for name, model in every.items()}
        found: list[Json] = []
        yield found
        came = {name: model.since(before[name]) for name, model in every.items()}
        assert sorted(name for name, requests in came.items() for _ in requests) == sorted(names)
        found += [came[name].pop(0) for name in names]


def example(folder: Path, name: str, environ: dict[str, str]) -> AbstractContextManager[Stack]:
    """`extproc up --config examples/<name>.yaml`; its keys come to lie in `folder`."""
    text = (EXAMPLES / f"{name}.yaml").read_text()
    return up(folder, environ=environ, config=text, name=f"examples/{name}.yaml", arguments=ONE_WORKER)


@dataclass(frozen=True)
class Special:
    stack: Stack
    subscription: Model
    """A Claude that takes an OAuth token."""
    recording: "Recording"


@contextlib.contextmanager
def special(folder: Path, providers: Providers) -> Iterator[Special]:
    recording = Recording()
    with demo_claude(folder, key=OAUTH_TOKEN) as subscription, recording.serving() as url:
        environ = {"OAUTH_URL": subscription.url, "OAUTH_TOKEN": OAUTH_TOKEN, "RECORDED_URL": url}
        with up(folder, environ=providers.environ | environ, config=SPECIAL, arguments=ONE_WORKER) as stack:
            yield Special(stack, subscription, recording)


def chat(stack: Stack, body: Json | bytes, *, path: str = "/v1/chat/completions", token: str = "") -> httpx.Response:
    """As an OpenAI client asks."""
    headers = {"authorization": f"Bearer {token or stack.good_token}", "content-type": "application/json"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(stack.url + path, content=content, headers=headers, timeout=SECONDS, verify=False)


def line_of(stack: Stack, answer: httpx.Response) -> Json:
    """The record of an answer whose ids may be the provider's: Envoy's own stands in what the provider left out."""
    known = {answer.headers["request-id"], answer.headers["x-request-id"]}
    return stack.record_where(lambda line: bool(known & ids(line)))


def headers_of(request: Json) -> dict[str, str]:
    """As a provider received them; none comes twice."""
    headers = dict(request["headers"])
    assert len(headers) == len(request["headers"])
    return headers


class Recording:
    """A provider that answers whatever is asked with the bytes it is given."""

    def __init__(self) -> None:
        self.media = "text/event-stream"
        self.body = b""

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        with serving(self._handler()) as url:
            yield url

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        recording = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-type", recording.media)
                self.send_header("content-length", str(len(recording.body)))
                self.end_headers()
                self.wfile.write(recording.body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler
