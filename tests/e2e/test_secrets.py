"""Nobody's secret travels: the caller's ends here, the provider's starts here, and neither is ever written down."""

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.e2e import wire
from tests.e2e.refusals import PROMPT
from tests.e2e.sse import events, streaming
from tests.e2e.stack import GATEWAY, ONE_WORKER, PROVIDER_KEY, Model, Stack, demo_model, free_port, prompt, up

CONFIG = GATEWAY.replace(
    "models:", '  gone: {dialects: [chat], base_url: "${GONE_URL}"}\nmodels:\n  - {name: gone, provider: gone}'
)
MARK = "mark-of-the-client"
MARKED = {
    "cookie": f"session={MARK}",
    "proxy-authorization": f"Basic {MARK}",
    "x-secret-thing": MARK,
    "x-forwarded-for": f"203.0.113.7, {MARK}",
    "x-forwarded-host": f"{MARK}.example",
    "x-forwarded-proto": "https",
    "x-envoy-original-path": f"/{MARK}",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-request-id": MARK,
    "x-stainless-lang": MARK,
    "x-claude-code-session-id": MARK,
    "anthropic-beta": MARK,
    "anthropic-version": "2023-06-01",
    "openai-organization": MARK,
    "accept": f"application/json, {MARK}/json",
    "accept-encoding": "gzip, br",
    "accept-language": MARK,
    "user-agent": MARK,
    "referer": f"https://{MARK}.example",
    "origin": f"https://{MARK}.example",
    "te": "trailers",
    "via": f"1.1 {MARK}",
    "forwarded": f"for={MARK}",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
UPSTREAM = {
    "host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "authorization",
    "x-request-id",
}  # fmt: skip


@pytest.fixture(scope="module")
def own_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with demo_model(tmp_path_factory.mktemp("secret-model")) as running:
        yield running


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory, own_model: Model) -> Iterator[Stack]:
    environ = {"MODEL_URL": own_model.url, "GONE_URL": f"http://127.0.0.1:{free_port()}/v1"}
    with up(tmp_path_factory.mktemp("secrets"), environ=environ, config=CONFIG, arguments=ONE_WORKER) as running:
        yield running


def streamed(stack: Stack, script: str) -> httpx.Response:
    with streaming(stack, f"{PROMPT}\ndemo: {script}") as answer:
        text = json.dumps(list(events(answer)))
    return httpx.Response(answer.status_code, headers=answer.headers, text=text)


def scripted(stack: Stack, script: str) -> httpx.Response:
    return stack.call(prompt(f"{PROMPT}\ndemo: {script}"), headers=MARKED)


CALLS: dict[str, tuple[int, Callable[[Stack], httpx.Response]]] = {
    "good": (200, lambda stack: scripted(stack, "say hello")),
    "streamed": (200, lambda stack: streamed(stack, "say hello")),
    "cut short": (200, lambda stack: streamed(stack, "say hello and good bye\ndemo: truncate")),
    "both headers": (200, lambda stack: stack.call(prompt(PROMPT), headers={"x-api-key": stack.good_token})),
    "no token": (401, lambda stack: stack.call(prompt(PROMPT), token=None, headers=MARKED)),
    "bad token": (401, lambda stack: stack.call(prompt(PROMPT), token=stack.good_token + "x")),
    "another team": (403, lambda stack: stack.call(prompt(PROMPT), token=stack.token(team="marketing"))),
    "malformed": (400, lambda stack: stack.call(json.dumps(prompt(PROMPT)).encode()[:-1])),
    "wrong field": (400, lambda stack: stack.call(prompt(PROMPT, temperature=PROMPT))),
    "token in the query": (404, lambda stack: stack.call(path=f"/v1/x?key={stack.good_token}", method="GET")),
    "not HTTP": (400, lambda stack: wire.send(stack.url, f"x_y: {stack.good_token}", body=PROMPT.encode())),
    "limited": (429, lambda stack: scripted(stack, "fail 429 retry-after=1")),
    "failing": (500, lambda stack: scripted(stack, "fail 500")),
    "quoting the key": (400, lambda stack: scripted(stack, f"fail 400 message=Your key is {PROVIDER_KEY} indeed")),
    "HTML": (502, lambda stack: scripted(stack, "html")),
    "broken off": (502, lambda stack: scripted(stack, "say hello\ndemo: reset")),
    "no such host": (529, lambda stack: stack.call(prompt(PROMPT, model="gone"), headers=MARKED)),
}


@pytest.fixture(scope="module")
def answers(own_stack: Stack) -> dict[str, httpx.Response]:
    found = {name: call(own_stack) for name, (_, call) in CALLS.items()}
    # The last record is in the log: so are all.
    own_stack.record(own_stack.call(path="/", method="HEAD"))
    return found


@pytest.mark.parametrize("name", CALLS)
def test_no_answer_tells(answers: dict[str, httpx.Response], own_stack: Stack, own_model: Model, name: str) -> None:
    answer = answers[name]
    assert answer.status_code == CALLS[name][0], answer.text
    upstream = [urlsplit(own_model.url).netloc, "openai-organization", "openai-version", "set-cookie", "__demo"]
    said = f"{answer.headers.raw!r}\n{answer.text}".lower()
    for secret in (own_stack.good_token, PROVIDER_KEY, MARK, "x-envoy", *upstream):
        assert secret.lower() not in said
    assert PROMPT not in said or name in ("good", "streamed", "both headers")


def test_the_log_keeps_silent(answers: dict[str, httpx.Response], own_stack: Stack, own_model: Model) -> None:
    records = [line for line in own_stack.out.seen if line.startswith("{")]
    assert len(records) == len(answers) + 1
    logged = "\n".join([*records, own_stack.err.text])
    signature = own_stack.good_token.rpartition(".")[2]
    hosts = [urlsplit(own_model.url).netloc, urlsplit(own_model.url).netloc.rpartition(":")[2]]
    for secret in (own_stack.good_token, signature, PROVIDER_KEY, PROMPT, MARK, *hosts):
        assert secret not in logged
    for secret in (own_stack.good_token, PROVIDER_KEY, "PRIVATE KEY"):
        assert secret not in own_stack.printed


@pytest.mark.usefixtures("answers")
def test_the_model_gets_what_it_needs_and_no_more(own_stack: Stack, own_model: Model) -> None:
    requests = own_model.requests()
    assert len(requests) == 10, "nine calls, of which the limited one is tried again"
    for request in requests:
        headers = [name for name, _ in request["headers"] if name != "traceparent"]
        assert sorted(headers) == sorted(UPSTREAM)
        named = dict(request["headers"])
        assert named["authorization"] == f"Bearer {PROVIDER_KEY}"
        assert (named["host"], named["user-agent"]) == (urlsplit(own_model.url).netloc, "llm-extproc")
        assert (named["accept-encoding"], named["content-length"]) == ("identity", str(len(request["body"].encode())))


@pytest.mark.usefixtures("answers")
def test_the_model_never_sees_who_asks(own_stack: Stack, own_model: Model) -> None:
    received = own_model.log.read_text()
    parts = [*own_stack.good_token.split("."), "developer@acme.example", "data-platform", MARK, "203.0.113.7"]
    assert not [part for part in parts if part in received]
    assert PROMPT in received


def test_envoy_gets_no_key(own_stack: Stack) -> None:
    processes = {one.cmdline()[1]: one.environ() for one in psutil.Process(own_stack.process.pid).children()}
    assert PROVIDER_KEY in processes["-m"].values()
    assert PROVIDER_KEY not in processes["-c"].values()
