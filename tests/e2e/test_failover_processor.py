"""A processor that fails in either stage of a call and in either attempt: nothing passes untranslated, no provider gets
another one's credential, and no failure looks like an answer."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import yaml

from tests.e2e import failing_providers as faults
from tests.e2e import faulty_worker
from tests.e2e.bare import bare_envoy, configured, worker
from tests.e2e.dialect_answers import DIALECTS
from tests.e2e.failing_providers import FailingProviders
from tests.e2e.faulty_worker import FAULTS, HEADER, POINTS
from tests.e2e.stack import Json, Stack
from tests.openai_types import check_chat_request, check_responses_request

FIRST, OTHER = "first-chat", "second-responses"
SECOND = {"same": FIRST, "other": OTHER}
KEYS = {"KEY_FIRST": "sk-key-of-first-0123456789abcdef", "KEY_SECOND": "sk-key-of-second-0123456789abcdef"}
OF = {FIRST: KEYS["KEY_FIRST"], OTHER: KEYS["KEY_SECOND"]}
PATIENCE = 5.0
CHECKS = {FIRST: check_chat_request, OTHER: check_responses_request}


@dataclass(frozen=True)
class Case:
    fault: str
    point: str
    number: int
    """The attempt at which the processor fails; 0: it does so at the call's admission."""
    second: str
    form: str

    def __str__(self) -> str:
        where = str(self.number) if self.number else "admission"
        return f"{self.fault}-{self.point}-{where}-{self.second}-{self.form}"

    @property
    def model(self) -> str:
        plays = "500" if self.number == 2 else "works"
        return f"{plays}.{self.fault}.{self.point}.{self.number}.{self.form}.{self.second}"

    @property
    def headers(self) -> dict[str, str]:
        return {HEADER: f"{self.fault}.{self.point}"} if not self.number else {}


ATTEMPTS = [Case(*one) for one in itertools.product(FAULTS, POINTS, (1, 2), SECOND, ("whole", "stream"))]
ADMISSIONS = [Case(*one) for one in itertools.product(FAULTS, POINTS, (0,), ("other",), ("whole", "stream"))]
CASES = ATTEMPTS + ADMISSIONS


def configuration(providers: FailingProviders) -> str:
    written = {
        name: {
            "dialects": [name.rpartition("-")[2]],
            "base_url": providers.url(name),
            "api_key": {"env": "KEY_FIRST" if name == FIRST else "KEY_SECOND"},
            "timeouts": {"idle": 2},
            "outliers": {"failures": 1_000_000},
        }
        for name in (FIRST, OTHER)
    }
    models = [
        {
            "name": f"*.{which}",
            "providers": [{"provider": FIRST}, {"provider": second}],
            "failover": {"per_try_timeout": 1},
        }
        for which, second in SECOND.items()
    ]
    keys = {"issuer": "claude-code-lab", "audiences": ["anthropic-api"], "jwks": {"file": "keys/jwks.json"}}
    rest: Json = {"authentication": {"jwt": [keys]}, "providers": written, "models": models}
    return yaml.safe_dump(rest, sort_keys=False)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: httpx.Headers
    text: str
    end: str = "whole"
    """Or `broken`, or `hangs` where nothing more came in time."""


@dataclass(frozen=True)
class Failed:
    stack: Stack
    providers: FailingProviders
    answers: dict[Case, Answer]


@pytest.fixture(scope="module")
def failed() -> Iterator[Failed]:
    plays = {"500": faults.answers("500 Internal Server Error"), "works": faults.works}
    with FailingProviders(plays).serving(FIRST, OTHER) as providers, configured("", configuration(providers)) as setup:
        setup.environ.update(KEYS)
        address = f"unix:{setup.folder}/faulty.sock"
        with (
            worker(setup, address, [faulty_worker.__file__]),
            bare_envoy(setup, [address], healthy=1, timeout="0.5s") as stack,
        ):
            yield Failed(stack, providers, asyncio.run(all_calls(stack)))


async def all_calls(stack: Stack) -> dict[Case, Answer]:
    room = asyncio.Semaphore(16)

    async def made(case: Case) -> Answer:
        body = {"model": case.model, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
        body["stream"] = case.form == "stream"
        headers = {"authorization": f"Bearer {stack.good_token}", **case.headers}
        status, found, text = 0, httpx.Headers(), ""
        try:
            async with room, client.stream("POST", f"{stack.url}/v1/messages", json=body, headers=headers) as answer:
                status, found = answer.status_code, answer.headers
                async for piece in answer.aiter_text():
                    text += piece
        except httpx.ReadTimeout:
            return Answer(status, found, text, "hangs")
        except httpx.RemoteProtocolError:
            return Answer(status, found, text, "broken")
        return Answer(status, found, text)

    async with httpx.AsyncClient(timeout=PATIENCE, verify=False) as client:
        # A connection that is cut takes all other calls on it along.
        together = [case for case in CASES if case.fault != "cut"]
        found = dict(zip(together, await asyncio.gather(*map(made, together)), strict=True))
        for case in CASES:
            if case.fault == "cut":
                found[case] = await made(case)
        return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_untranslated_goes_to_a_provider(failed: Failed, case: Case) -> None:
    asked = failed.providers.received[case.model]
    assert [request.provider for request in asked] == [FIRST, SECOND[case.second]][: len(asked)]
    if case.point.startswith("request"):
        assert len(asked) <= max(0, case.number - 1)
    for request in asked:
        headers = dict(request.headers)
        assert headers["authorization"] == f"Bearer {OF[request.provider]}" and "x-api-key" not in headers
        assert request.path == f"/at-{request.provider}" + DIALECTS[request.provider.rpartition("-")[2]].path
        CHECKS[request.provider](request.json)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_failure_looks_like_an_answer(failed: Failed, case: Case) -> None:
    answer = failed.answers[case]
    for raw in ("choices", '"object":', '"object": ', "output_text", *KEYS.values(), "sk-quoted-by-a-bug"):
        assert raw not in answer.text
    if not answer.status:
        # Nobody but Envoy could see this, and for it a model may take its time.
        assert (case.fault, case.point, case.number) == ("hangs", "response_body", 0)
    elif answer.status != 200:
        assert answer.status >= 500
        error = json.loads(answer.text)
        assert error["type"] == "error" and error["request_id"] == answer.headers["request-id"]
    elif "message_stop" in answer.text if case.form == "stream" else is_json(answer.text):
        # Only what the processor had said to its end, or a further attempt.
        asked = failed.providers.received[case.model]
        assert f"said by {asked[-1].provider}" in answer.text
        assert answer.end == "whole" and len(asked) >= case.number


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


BUGS = [case for case in ATTEMPTS if case.fault == "bug" and case.point != "request_headers"]


@pytest.mark.parametrize("case", BUGS, ids=str)
def test_a_bug_is_told_as_one(failed: Failed, case: Case) -> None:
    answer = failed.answers[case]
    assert (answer.status, json.loads(answer.text)["error"]["message"]) == (500, "internal translation error")
    record = failed.stack.record_where(lambda line: line["gen_ai.request.model"] == case.model)
    assert (record["reason"], record["http.status"]) == ("Internal", 500)


def test_the_next_call_works(failed: Failed) -> None:
    body = {"model": "500.none.none.0.other", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    answer = failed.stack.call(body)
    assert answer.status_code == 200 and f"said by {OTHER}" in answer.text
