"""Where failover ends: after the first content, when all providers have failed, by what `on` leaves out, and when the
client goes. Large bodies are the same in each attempt."""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import yaml

from tests.e2e import failing_providers as faults
from tests.e2e import wire
from tests.e2e.dialect_answers import DIALECTS, NAMES
from tests.e2e.failing_providers import SECRET, WORDS, FailingProviders, Play, after_content, answers
from tests.e2e.issuer import until
from tests.e2e.stack import SECONDS, Json, Stack, up

PLAYS: dict[str, Play] = {
    "resets-amid": after_content(faults.resets),
    "ends-amid": after_content(faults.ends),
    "fails-amid": after_content(faults.fails_in_the_stream),
    "silent-amid": after_content(faults.says_nothing),
    "reset": faults.resets,
    "no-headers": faults.says_nothing,
    "silent": faults.falls_silent,
    "html": faults.html,
    "error-event": faults.error_event,
    "refusal": faults.refuses,
    "overflow": faults.overflows,
    "400": answers("400 Bad Request"),
    "401": answers("401 Unauthorized"),
    "429": answers("429 Too Many Requests"),
    "429-after": answers("429 Too Many Requests", "retry-after: 7"),
    "500": answers("500 Internal Server Error"),
    "529": answers("529 Overloaded"),
    "529-after": answers("529 Overloaded", "retry-after: 3"),
    "works": faults.works,
    "503": answers("503 Service Unavailable"),
}
KEYS = {"KEY_FIRST": "sk-key-of-first-0123456789abcdef", "KEY_SECOND": "sk-key-of-second-0123456789abcdef"}


# More than a busy machine takes for an answer.
QUIET_SECONDS = 3.0
# Each of them is left out of further calls for a while.
BUSY = tuple(f"{fault}-{client}" for fault in ("429-after", "529-after") for client in NAMES)


def configuration(providers: FailingProviders, gone: int) -> str:
    """A model is `FAULT.MODEL`, and these are the patterns for its second part. `gone`: a port without a listener."""

    def provider(name: str, url: str) -> Json:
        key = "KEY_FIRST" if name.startswith("first") else "KEY_SECOND"
        known = {"dialects": [name.rpartition("-")[2]], "base_url": url, "api_key": {"env": key}}
        times = {"timeouts": {"idle": QUIET_SECONDS, "first_byte": QUIET_SECONDS}, "retries": "off"}
        return known | times | {"outliers": {"failures": 1_000_000}}

    written = {name: provider(name, providers.url(name)) for name in providers.ports}
    written["second-gone-chat"] = provider("second-gone-chat", f"http://127.0.0.1:{gone}/v1")
    written["first-nowhere-chat"] = provider("first-nowhere-chat", "http://nowhere.invalid/v1")
    models: list[Json] = []

    def model(name: str, *candidates: str, **failover: object) -> None:
        told: Json = {"per_try_timeout": QUIET_SECONDS, **failover}
        models.append({"name": name, "providers": [{"provider": one} for one in candidates], "failover": told})

    for dialect in NAMES:
        model(f"*.both-{dialect}", "first-chat", f"second-{dialect}")
        model(f"*.from-{dialect}", f"first-{dialect}", "second-chat")
        models.append({"name": f"*.alone-{dialect}", "provider": f"second-{dialect}"})
    for name in BUSY:
        model(f"*.{name}", "first-chat", f"second-{name}-chat")
    for dialect in NAMES:
        model(f"*.patient-{dialect}", f"first-{dialect}", "second-chat", per_try_timeout=30)
    model("*.gone", "first-chat", "second-gone-chat")
    model("*.nowhere", "first-nowhere-chat", "second-chat")
    models.append({"name": "*.alone-gone", "provider": "second-gone-chat"})
    model("*.only-429", "first-chat", "second-chat", on=[429])
    model("*.only-reset", "first-chat", "second-chat", on=["reset"])
    model("*.never", "first-chat", "second-chat", on=["404"])
    model("*.once", "first-chat", "second-chat", attempts=1)
    model("*.late", "first-chat", "second-chat", total=0.3)
    rest: Json = {
        "authentication": {
            "jwt": [{"issuer": "claude-code-lab", "audiences": ["anthropic-api"], "jwks": {"file": "keys/jwks.json"}}]
        },
        "workers": 1,
    }
    return yaml.safe_dump(rest | {"providers": written, "models": models}, sort_keys=False)


@dataclass(frozen=True)
class Failing:
    stack: Stack
    providers: FailingProviders
    counter: "itertools.count[int]"

    def body(self, client: str, model: str, *, stream: bool = False, text: str = "hello") -> Json:
        """With a name of its own, by which its requests are found again."""
        fault, _, pattern = model.partition(".")
        name = f"{fault}.{next(self.counter)}.{pattern}"
        if client == "responses":
            return {"model": name, "input": text, "stream": stream}
        asked = {"model": name, "messages": [{"role": "user", "content": text}], "stream": stream}
        return asked | ({"max_tokens": 100} if client == "messages" else {})

    def call(self, client: str, body: Json) -> httpx.Response:
        return self.stack.call(body, path=DIALECTS[client].path)

    def asked(self, body: Json) -> list[str]:
        return [request.provider for request in self.providers.received[body["model"]]]

    def record(self, body: Json) -> Json:
        return self.stack.record_where(lambda line: line["gen_ai.request.model"] == body["model"])


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failing]:
    names = [f"{which}-{dialect}" for which in ("first", "second") for dialect in NAMES]
    names += [f"second-{name}-chat" for name in BUSY]
    with FailingProviders(PLAYS).serving(*names) as providers, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        config = configuration(providers, bound.getsockname()[1])
        with up(tmp_path_factory.mktemp("limits"), environ=KEYS, config=config) as stack:
            yield Failing(stack, providers, itertools.count())


AMID = {
    "resets-amid": "Truncated",
    "ends-amid": "Truncated",
    "fails-amid": "Upstream",
    "silent-amid": "UpstreamTimeout",
}
ENDS = ("message_stop", "[DONE]", '"finish_reason":"stop"', '"finish_reason": "stop"', "response.completed")


BREAKS_OFF = [*itertools.product([fault for fault in AMID if fault != "silent-amid"], NAMES, NAMES)]
BREAKS_OFF += [("silent-amid", "chat", "messages")]


@pytest.mark.parametrize(("fault", "first", "client"), BREAKS_OFF)
def test_after_content_there_is_no_way_back(failing: Failing, fault: str, first: str, client: str) -> None:
    body = failing.body(client, f"{fault}.from-{first}", stream=True)
    seen, broken = read(failing, client, body)
    assert WORDS in seen and not any(end in seen for end in ENDS)
    assert not broken or fault == "resets-amid"
    if not broken:
        assert '"error"' in seen.strip().splitlines()[-1]
    record = failing.record(body)
    assert failing.asked(body) == [f"first-{first}"]
    assert (record["reason"], record["http.status"]) == (AMID[fault], 200)
    assert (record["gen_ai.provider.name"], record["attempts"].split()[:2]) == (
        f"first-{first}",
        [f"first-{first}", "200"],
    )


def read(failing: Failing, client: str, body: Json) -> tuple[str, bool]:
    """What the client of a stream sees, and whether the connection went before the body was whole."""
    url, headers = failing.stack.url + DIALECTS[client].path, {"authorization": f"Bearer {failing.stack.good_token}"}
    seen = ""
    with httpx.stream("POST", url, json=body, headers=headers, timeout=SECONDS, verify=False) as answer:
        try:
            for piece in answer.iter_text():
                seen += piece
                if WORDS in seen:
                    failing.providers.heard[body["model"]].set()
        except httpx.RemoteProtocolError:
            return seen, True
    return seen, False


FAULTS = ["reset", "no-headers", "silent", "html", "error-event", "400", "401", "429", "500", "503", "529", "overflow"]
ALL_FAIL = list(itertools.product(FAULTS, NAMES, NAMES, ("whole", "stream")))
Told = list[tuple[Json, httpx.Response]]
"""What is asked for and answered, first by two providers that fail, then by the second of them alone."""


@pytest.fixture(scope="module")
def told(failing: Failing) -> dict[tuple[str, ...], Told]:
    headers = {"authorization": f"Bearer {failing.stack.good_token}"}
    room = asyncio.Semaphore(24)

    async def made(sender: httpx.AsyncClient, fault: str, last: str, client: str, form: str) -> Told:
        found: Told = []
        # Those that wait for a timeout are no burden.
        async with room if fault not in ("no-headers", "silent") else contextlib.nullcontext():
            for kind in ("both", "alone"):
                first = "429+" if kind == "both" else ""
                body = failing.body(client, f"{first}{fault}.{kind}-{last}", stream=form == "stream")
                url = failing.stack.url + DIALECTS[client].path
                found.append((body, await sender.post(url, json=body, headers=headers)))
        return found

    async def all_made() -> list[Told]:
        async with httpx.AsyncClient(timeout=SECONDS, verify=False) as sender:
            return await asyncio.gather(*(made(sender, *one) for one in ALL_FAIL))

    return dict(zip(ALL_FAIL, asyncio.run(all_made()), strict=True))


@pytest.mark.parametrize("case", ALL_FAIL, ids="-".join)
def test_the_last_error_is_told_as_if_it_were_the_only_one(
    failing: Failing, told: dict[tuple[str, ...], Told], case: tuple[str, str, str, str]
) -> None:
    _, last, client, _ = case
    (body, several), (alone, one) = told[case]
    assert failing.asked(body) == ["first-chat", f"second-{last}"]
    same_error(client, several, one)
    records = [failing.record(body), failing.record(alone)]
    for name in ("http.status", "reason", "gen_ai.provider.name"):
        assert records[0][name] == records[1][name], name
    assert [part.split()[0] for part in records[0]["attempts"].split("; ")] == ["first-chat", f"second-{last}"]


def same_error(client: str, several: httpx.Response, one: httpx.Response) -> None:
    assert several.status_code == one.status_code, several.text
    assert several.headers["content-type"] == one.headers["content-type"] and several.headers["request-id"]
    if several.status_code == 200:  # a stream of the last provider's had begun
        for answer in (several, one):
            assert '"error"' in answer.text.strip().splitlines()[-1] and not any(end in answer.text for end in ENDS)
        return
    errors = [answer.json()["error"] for answer in (several, one)]
    assert errors[0].keys() == errors[1].keys() >= {"message", "type"}
    assert len({(error["type"], error.get("code")) for error in errors}) == 1
    if client == "messages" and "request_id" in one.json():
        assert several.json()["request_id"] == several.headers["request-id"]


@pytest.mark.parametrize("name", BUSY)
def test_the_last_provider_says_when_to_come_back(failing: Failing, name: str) -> None:
    fault, _, client = name.rpartition("-")
    body = failing.body(client, f"500+{fault}.{name}")
    answer = failing.call(client, body)
    assert failing.asked(body) == ["first-chat", f"second-{name}-chat"]
    assert answer.headers["retry-after"] == ("7" if fault == "429-after" else "3")
    assert answer.status_code == (429 if fault == "429-after" else 503 if client == "responses" else 529)


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.parametrize("fault", ["429", "reset", "html"])
def test_nobody_can_be_reached_in_the_end(failing: Failing, fault: str, client: str) -> None:
    bodies = [failing.body(client, f"{fault}.gone"), failing.body(client, "reset.alone-gone")]
    several, one = (failing.call(client, body) for body in bodies)
    same_error(client, several, one)
    record = failing.record(bodies[0])
    assert (record["reason"], record["gen_ai.provider.name"]) == ("UpstreamUnavailable", "second-gone-chat")


def test_a_name_without_an_address_moves_on(failing: Failing) -> None:
    body = failing.body("messages", "works.nowhere")
    answer = failing.call("messages", body)
    assert answer.status_code == 200 and failing.asked(body) == ["second-chat"]
    assert failing.record(body)["attempts"].startswith("first-nowhere-chat ")


# What `on` leaves out is told to the client.
LEFT_OUT = {
    "500.only-429": 500,
    "reset.only-429": 529,
    "html.only-429": 502,
    "429.only-reset": 429,
    "html.only-reset": 502,
    "500.never": 500,
    "reset.never": 529,
    "401.never": 401,
    "429.once": 429,
    "refusal.from-chat": 200,
    "overflow.from-chat": 400,
    "400.from-chat": 400,
}
MOVES_ON = ("429.only-429", "reset.only-reset")


@pytest.mark.parametrize("model", LEFT_OUT)
def test_what_does_not_move_on(failing: Failing, model: str) -> None:
    body = failing.body("messages", model)
    answer = failing.call("messages", body)
    assert failing.asked(body) == ["first-chat"]
    assert answer.status_code == LEFT_OUT[model], answer.text
    record = failing.record(body)
    assert record["gen_ai.provider.name"] == "first-chat" and ";" not in record["attempts"]


@pytest.mark.parametrize("model", MOVES_ON)
def test_what_does(failing: Failing, model: str) -> None:
    body = failing.body("messages", model)
    assert failing.call("messages", body).status_code == 200
    assert failing.asked(body) == ["first-chat", "second-chat"]


def test_after_the_total_no_further_attempt_begins(failing: Failing) -> None:
    body = failing.body("messages", "no-headers.late")
    answer = failing.call("messages", body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "timeout_error")
    assert failing.asked(body) == ["first-chat"]
    assert failing.record(body)["reason"] == "UpstreamTimeout"


@pytest.mark.parametrize(("client", "first"), [("messages", "messages"), ("chat", "responses"), ("responses", "chat")])
def test_20_mb_are_the_same_in_both_attempts(failing: Failing, client: str, first: str) -> None:
    text = "x y" * (20 * 1024 * 1024 // 3)
    body = failing.body(client, f"500.patient-{first}", text=text)
    assert failing.call(client, body).status_code == 200
    requests = failing.providers.received[body["model"]]
    assert [request.provider for request in requests] == [f"first-{first}", "second-chat"]
    for request in requests:
        assert text in request.body.decode() and len(request.body) < len(text) + 1000
    if client == "chat":
        assert requests[1].json == body
    failing.providers.received.pop(body["model"])


def test_a_client_that_leaves_in_the_second_attempt(failing: Failing) -> None:
    body = failing.body("messages", "500+no-headers.patient-chat")
    over = failing.providers.over["second-chat", body["model"]]
    with wire.connect(failing.stack.url) as client:
        token = f"authorization: Bearer {failing.stack.good_token}"
        client.sendall(wire.request(token, body=json.dumps(body).encode()))
        until(lambda: failing.asked(body) == ["first-chat", "second-chat"])
        assert not over.is_set()
    assert over.wait(SECONDS)
    record = failing.record(body)
    assert (record["reason"], record["flags"]) == ("ClientClosed", "DC")
    assert record["attempts"].startswith("first-chat 500") and "second-chat" in record["attempts"]
    assert len(failing.asked(body)) == 2


def test_no_secret_is_told(failing: Failing) -> None:
    for secret in (*KEYS.values(), SECRET, failing.stack.good_token):
        assert secret not in failing.stack.printed
