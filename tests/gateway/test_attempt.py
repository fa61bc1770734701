"""An attempt judges its provider's answer before the client gets a byte of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from extproc.events import Action, AnswerBody, BeginAnswer, DeadlineReached, Forward, Respond, ResponseBody
from extproc.gateway import attempts
from extproc.gateway.handover import HANDOVER, MOVE_ON, NUMBER
from extproc.providers.availability import AttemptOutcome
from tests.e2e.dialect_answers import DIALECTS
from tests.failing_over import ASK, KEYS, Call, gateway
from tests.playbook import START

MODELS = "models: [{name: m, providers: [{provider: b}, {provider: a}, {provider: c}]%s}]"
ASKS_FOR_ALL = (
    ", failover: {on: [connect, reset, timeout, 429, 5xx, 529, false_success, context_overflow, refusal, 404]}"
)
CHAT = DIALECTS["chat"]
SSE = "text/event-stream"
TOKENS = (11, 7)


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return Call(gateway(tmp_path, MODELS % ASKS_FOR_ALL))


@pytest.fixture
def streamed(tmp_path: Path) -> Call:
    return Call(gateway(tmp_path, MODELS % ASKS_FOR_ALL), ASK | {"stream": True})


def moves_on(actions: Sequence[Action]) -> bool:
    begun = [action for action in actions if isinstance(action, BeginAnswer)]
    return any(action.set_headers.get(MOVE_ON) == "yes" for action in begun)


def test_each_attempt_is_made_for_its_provider(call: Call) -> None:
    for number, (host, key, path) in enumerate(
        [
            ("b.example", ("authorization", f"Bearer {KEYS['KEY_B']}"), "/v1/chat/completions"),
            ("a.example", ("x-api-key", KEYS["KEY_A"]), "/v1/messages"),
            ("c.example", ("authorization", f"Bearer {KEYS['KEY_C']}"), "/v1/responses"),
        ],
        1,
    ):
        _, action = call.attempt(number)
        assert isinstance(action, Forward)
        headers = action.set_headers
        assert (headers["host"], headers[":path"], headers[key[0]]) == (host, path, key[1])
        assert (int(headers["content-length"]) == len(action.body) and "input" in json.loads(action.body)) or number < 3
        assert "left-by-an-earlier-attempt" in action.remove_headers
        assert not {HANDOVER, NUMBER, "content-type"} & set(action.remove_headers)
        assert action.record[attempts.VERDICT] == f"{call.handed_over.clusters[number - 1]}#{number}"
        told = f"{headers}{action.body!r}"
        assert not any(secret in told for secret in KEYS.values() if secret not in key[1])


FALSE = {
    "HTML": (b"<html>", "text/html"),
    "nothing": (b"", "application/json"),
    "half of it": (CHAT.whole("hi", TOKENS)[:-20], "application/json"),
    "an error": (CHAT.error("no"), "application/json"),
    "a refusal": (CHAT.refusal(), "application/json"),
}


@pytest.mark.parametrize("name", FALSE)
def test_a_200_that_is_none_moves_on(call: Call, name: str) -> None:
    body, media = FALSE[name]
    attempt, _ = call.attempt(1)
    assert moves_on(call.answered(attempt, 200, body, media=media))
    assert attempts.COMMITTED not in call.record


@pytest.mark.parametrize("status", [404, 429, 500, 503, 529])
def test_a_status_moves_on_at_once(call: Call, status: int) -> None:
    attempt, _ = call.attempt(1)
    actions = call.answered(attempt, status, CHAT.error("no"))
    assert moves_on(actions) and actions[0] == BeginAnswer(
        status, {MOVE_ON: "yes"}, ("content-type",), actions[0].record
    )
    assert attempt.deadline is None


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_other_errors_are_told(call: Call, status: int) -> None:
    attempt, _ = call.attempt(1)
    actions = call.answered(attempt, status, CHAT.error("no"))
    assert actions and not moves_on(actions)
    assert call.record[attempts.COMMITTED] is True


def test_a_request_that_is_too_long_moves_on(call: Call) -> None:
    attempt, _ = call.attempt(1)
    assert moves_on(call.answered(attempt, 400, CHAT.overflow))


def test_the_last_attempt_is_told_whatever_it_is(call: Call) -> None:
    attempt, _ = call.attempt(3)
    begun, said = call.answered(attempt, 500, DIALECTS["responses"].error("no"))
    assert isinstance(begun, BeginAnswer) and begun.status == 500 and isinstance(said, AnswerBody) and said.end
    assert json.loads(said.body)["type"] == "error" and call.record[attempts.COMMITTED] is True


def test_nothing_is_let_go_before_the_first_content(streamed: Call) -> None:
    attempt, _ = streamed.attempt(1)
    role, text, *rest = CHAT.events("hi", TOKENS)
    assert streamed.answered(attempt, 200, role, media=SSE, end=False) == []
    steps = streamed.gateway.attempts
    assert steps.go_on(attempt, DeadlineReached(), START + 60) == []
    begun, *_ = streamed.note(steps.go_on(attempt, ResponseBody(text, False), START + 61))
    assert isinstance(begun, BeginAnswer) and begun.status == 200
    streamed.note(steps.go_on(attempt, ResponseBody(b"".join(rest), True), START + 62))
    assert streamed.record["ended"] is True and streamed.record["attempts"] == "b 200 61.00s"


def test_a_stream_that_fails_before_its_content_moves_on(streamed: Call) -> None:
    attempt, _ = streamed.attempt(1)
    assert moves_on(streamed.answered(attempt, 200, CHAT.events("hi", TOKENS)[0] + CHAT.error_event("no"), media=SSE))


USED = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'


def test_tokens_of_an_attempt_that_is_given_up_are_on_record_if_the_provider_counted_them(streamed: Call) -> None:
    role = CHAT.events("hi", TOKENS)[0]
    attempt, _ = streamed.attempt(1)
    assert moves_on(streamed.answered(attempt, 200, role + USED + CHAT.error_event("no"), media=SSE))
    assert (streamed.record["attempts.input_tokens"], streamed.record["attempts.output_tokens"]) == (3, 1)
    assert "3+1 tokens" in str(streamed.record["attempts"])


def test_an_estimate_for_an_attempt_that_is_given_up_is_not_on_record(streamed: Call) -> None:
    """Its provider has counted nothing, and nobody pays for it."""
    attempt, _ = streamed.attempt(1)
    assert moves_on(streamed.answered(attempt, 200, CHAT.events("hi", TOKENS)[0] + CHAT.error_event("no"), media=SSE))
    assert "attempts.input_tokens" not in streamed.record and "tokens" not in str(streamed.record["attempts"])


def test_a_stream_that_declines_moves_on(streamed: Call) -> None:
    attempt, _ = streamed.attempt(1)
    assert moves_on(streamed.answered(attempt, 200, b"".join(CHAT.refusal_events()), media=SSE))


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_refusal_in_the_models_words_moves_on_wherever_it_is_cut(streamed: Call, cut: int) -> None:
    attempt, _ = streamed.attempt(1)
    whole = b"".join(CHAT.worded_refusal_events())
    actions = streamed.answered(attempt, 200, whole[:cut], media=SSE, end=False)
    actions += streamed.note(streamed.gateway.attempts.go_on(attempt, ResponseBody(whole[cut:], True), START))
    assert moves_on(actions)


def test_after_content_a_failure_is_the_clients(streamed: Call) -> None:
    attempt, _ = streamed.attempt(1)
    streamed.answered(attempt, 200, b"".join(CHAT.events("hi", TOKENS)[:2]), media=SSE, end=False)
    actions = streamed.note(streamed.gateway.attempts.go_on(attempt, ResponseBody(CHAT.error_event("no"), True), START))
    assert not moves_on(actions) and b"event: error" in actions[-1].body  # type: ignore[union-attr]


def test_no_further_attempt_begins_after_the_total(call: Call) -> None:
    _, action = call.attempt(2, START + 180)
    assert isinstance(action, Respond) and (action.status, action.details) == (504, "failover_total")


@pytest.mark.parametrize("piece", [b"", CHAT.whole("hi", TOKENS)[:9]])
def test_a_bug_is_told_as_an_error_of_ours(call: Call, piece: bytes) -> None:
    attempt, _ = call.attempt(1)
    call.answered(attempt, 200, piece, end=False)
    actions = call.note(attempt.fail())
    begun, said = actions
    assert isinstance(begun, BeginAnswer) and begun.status == 500
    assert isinstance(said, AnswerBody) and said.end and b"internal translation error" in said.body
    assert (call.record["reason"], call.record[attempts.COMMITTED]) == ("Internal", True)


def test_a_silent_attempt_is_reported_once(tmp_path: Path) -> None:
    call = Call(gateway(tmp_path, MODELS % ""))
    reported: list[AttemptOutcome] = []
    call.gateway.attempts._report = reported.append  # noqa: SLF001
    for number in (1, 2, 3):
        call.attempt(number)
    assert reported == [AttemptOutcome("b", "failed"), AttemptOutcome("a", "failed")]


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {}, AttemptOutcome("b", "answered")),
        (429, {"retry-after": "7"}, AttemptOutcome("b", "limited", 7.0)),
        (429, {"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, AttemptOutcome("b", "limited")),
        (503, {"retry-after": "7"}, AttemptOutcome("b", "limited", 7.0)),
        (529, {}, AttemptOutcome("b", "limited")),
        (503, {}, AttemptOutcome("b", "failed")),
        (401, {}, None),
    ],
)
def test_what_is_reported_of_a_provider(
    call: Call, status: int, headers: dict[str, str], expected: AttemptOutcome | None
) -> None:
    reported: list[AttemptOutcome] = []
    call.gateway.attempts._report = reported.append  # noqa: SLF001
    attempt, _ = call.attempt(1)
    call.answered(attempt, status, CHAT.whole("hi", TOKENS) if status == 200 else b"{}", headers=headers)
    assert reported == ([expected] if expected is not None else [])
