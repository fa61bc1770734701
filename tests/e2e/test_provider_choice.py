"""Which of three providers answers: the one that the kind of call chooses, and that of the session, whose prompt cache
it keeps warm as long as it does not fail."""

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler

import pytest

from tests.e2e.serving import serving
from tests.e2e.stack import GATEWAY, Json, Stack, prompt, up

TURNS = 20
# Characters: a coding agent's system prompt and tools, and what a turn adds.
SYSTEM, ADDED = 80_000, 4_000
NAMES = ("a", "b", "c")
CONFIG = GATEWAY.partition("providers:")[0] + (
    "providers:\n"
    + "".join(
        f'  {name}: {{dialects: [chat], base_url: "${{URL_{name.upper()}}}", outliers: {{failures: 1000000}}}}\n'
        for name in NAMES
    )
    + "models:\n"
    + "".join(
        f"  - {{name: {name}, {more}providers: [[{', '.join(f'{{provider: {one}, model: m}}' for one in NAMES)}]]}}\n"
        for name, more in (("kept", "sticky: session, "), ("drawn", ""), ("by-team", "sticky: 'jwt.team', "))
    )
    + """
  - name: chosen
    providers: [{provider: a, model: m}]
    choose:
      - {when: llm.size > 5000, providers: [{provider: b, model: m}]}
      - {when: llm.background, providers: [{provider: c, model: m}]}
records: {provider_header: true}
"""
)


class CachingProvider:
    """It has a prompt cache: of a request, the longest beginning that it has seen before costs less."""

    def __init__(self) -> None:
        self.failing = False
        self.asked = 0
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        with serving(self._handler()) as url:
            yield f"{url}/v1"

    def answer(self, messages: Sequence[Json]) -> Json:
        texts = [json.dumps(message) for message in messages]
        read = sum(map(len, texts))
        with self._lock:
            self.asked += 1
            cached = max((length for length, mark in _beginnings(texts) if mark in self._seen), default=0)
            self._seen |= {mark for _, mark in _beginnings(texts)}
        usage = {"prompt_tokens": read // 4, "completion_tokens": 2, "total_tokens": read // 4 + 2}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
        return {
            "id": "c",
            "object": "chat.completion",
            "model": "m",
            "choices": [choice],
            "usage": {**usage, "prompt_tokens_details": {"cached_tokens": cached // 4}},
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                messages = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"]
                found = {"error": {"message": "no"}} if provider.failing else provider.answer(messages)
                body = json.dumps(found).encode()
                self.send_response(500 if provider.failing else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler


def _beginnings(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Lengths of all beginnings, and what each is known by."""
    return [(sum(map(len, texts[:n])), hash("".join(texts[:n]))) for n in range(1, len(texts) + 1)]


@pytest.fixture(scope="module")
def caching() -> Iterator[dict[str, tuple[CachingProvider, str]]]:
    with contextlib.ExitStack() as open_ones:
        made = {name: CachingProvider() for name in NAMES}
        yield {name: (one, open_ones.enter_context(one.serving())) for name, one in made.items()}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, caching: dict[str, tuple[CachingProvider, str]]) -> Iterator[Stack]:
    environ = {f"URL_{name.upper()}": url for name, (_, url) in caching.items()}
    with up(tmp_path_factory.mktemp("sticky"), environ=environ, config=CONFIG, arguments=["--workers", "2"]) as running:
        yield running


class Session:
    """A conversation that grows with each turn, as a coding agent's does."""

    def __init__(self, stack: Stack, model: str, identifier: str) -> None:
        self._stack, self._model, self._id = stack, model, identifier
        self._messages: list[Json] = []
        self.read = self.cached = 0
        """Tokens of all turns, and those of them that came from a cache."""

    def turn(self) -> str:
        """The provider that has answered."""
        n = len(self._messages)
        self._messages.append({"role": "user", "content": f"{self._id} {n} " + "x" * ADDED})
        system = f"You are a helpful assistant of {self._id}. " + "x" * SYSTEM
        body = {"model": self._model, "max_tokens": 10, "system": system, "messages": self._messages}
        answer = self._stack.call(body, headers={"x-claude-code-session-id": self._id})
        assert answer.status_code == 200, answer.text
        self._messages.append({"role": "assistant", "content": answer.json()["content"]})
        line = self._stack.record(answer)
        cached = answer.json()["usage"]["cache_read_input_tokens"]
        self.read += cached + answer.json()["usage"]["input_tokens"]
        self.cached += cached
        provider: str = line["gen_ai.provider.name"]
        return provider


@pytest.mark.parametrize(
    ("text", "headers", "provider"),
    [
        ("short", {}, "a"),
        ("long" * 1500, {"x-claude-code-request-class": "auxiliary"}, "b"),
        ("short", {"x-claude-code-request-class": "auxiliary"}, "c"),
        ("short", {"x-claude-code-request-class": "main"}, "a"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_kind_of_call_chooses(
    stack: Stack, text: str, headers: dict[str, str], provider: str, stream: bool
) -> None:
    answer = stack.call(prompt(text, model="chosen", stream=stream), headers=headers)
    assert (answer.status_code, answer.headers["x-gateway-provider"]) == (200, provider)
    assert stack.record(answer)["gen_ai.provider.name"] == provider


def test_a_session_stays_with_one_provider_and_sessions_are_shared_out(stack: Stack) -> None:
    found: list[str] = []
    for n in range(12):
        session = Session(stack, "kept", f"session-{n}")
        providers = {session.turn() for _ in range(3)}
        assert len(providers) == 1
        found += providers
    assert set(found) == set(NAMES)


def test_it_moves_while_its_provider_fails_and_comes_back(
    stack: Stack, caching: dict[str, tuple[CachingProvider, str]]
) -> None:
    sessions = [Session(stack, "kept", f"moving-{n}") for n in range(6)]
    homes = [session.turn() for session in sessions]
    first = caching[homes[0]][0]
    first.failing = True
    away = [(session.turn(), session.turn()) for session in sessions]
    first.failing = False
    for home, (one, two) in zip(homes, away, strict=True):
        assert one == two
        assert (one == home) == (home != homes[0])
    assert [session.turn() for session in sessions] == homes


def test_an_expression_can_keep_calls_together(stack: Stack) -> None:
    assert len({Session(stack, "by-team", f"team-{n}").turn() for n in range(8)}) == 1


def test_caches_stay_warm(stack: Stack) -> None:
    shares = {}
    for model in ("kept", "drawn"):
        sessions = [Session(stack, model, f"{model}-{n}") for n in range(3)]
        for session in sessions:
            for _ in range(TURNS):
                session.turn()
        shares[model] = sum(one.cached for one in sessions) / sum(one.read for one in sessions)
    print(f"read from caches in {TURNS} turns: {shares}")
    # A cold provider has to read all of a session once, so without stickiness up to three do.
    assert shares["kept"] > 0.9 > shares["drawn"]
