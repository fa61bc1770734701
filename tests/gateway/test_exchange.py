"""What may follow what, and how an exchange ends when a bug is met on the way."""

import gc
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from extproc.events import DeadlineReached, Event, Judged, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from extproc.gateway.client_answer import ClientAnswer, Timing
from extproc.gateway.exchange import NEXT, OutOfOrder, Phase
from extproc.gateway.gateway import Gateway
from tests.issuing import token
from tests.playbook import (
    DEADLINE_REACHED,
    START,
    Json,
    Playbook,
    answers,
    awaits,
    begins,
    rejects,
    request_body,
    request_headers,
    response_body,
    response_headers,
    says,
)
from tests.settings import GATEWAY, gateway

ASK: Json = {"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "q"}]}
SSE = "text/event-stream"
CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
BUG = ("api_error", "internal translation error")
KNOWN: Json = {"reason": "Internal", "error": "internal", "ended": True}

HEADERS, BODY = request_headers(token=token()), request_body(ASK)
EVENTS: dict[type[Event], Event] = {
    RequestHeaders: HEADERS,
    RequestBody: BODY,
    ResponseHeaders: response_headers(),
    ResponseBody: response_body(b"{"),
    DeadlineReached: DEADLINE_REACHED,
    Judged: Judged({}),
}
ALLOWED = {
    (Phase.NEW, RequestHeaders): Phase.ADMITTED,
    (Phase.ADMITTED, RequestBody): Phase.SENT,
    (Phase.ADMITTED, ResponseHeaders): Phase.ANSWERING,
    (Phase.ADMITTED, DeadlineReached): Phase.DONE,
    (Phase.SENT, ResponseHeaders): Phase.ANSWERING,
    (Phase.ANSWERING, ResponseBody): Phase.ANSWERING,
    (Phase.ANSWERING, DeadlineReached): Phase.ANSWERING,
    (Phase.ANSWERING, Judged): Phase.ANSWERING,
    (Phase.PASSED, ResponseHeaders): Phase.DONE,
    (Phase.PASSED_ERROR, ResponseBody): Phase.DONE,
}
PASSING = 'routes: [{path: "/v1/files*", serve: passthrough, provider: openai}]'

ALL = [(phase, kind) for phase in Phase for kind in EVENTS]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return gateway(tmp_path_factory.mktemp("gateway"), f"{GATEWAY}\n{PASSING}\n")


def at(gate: Gateway, phase: Phase, *, stream: bool = True) -> Playbook:
    """A playbook whose exchange has come so far."""
    play = Playbook(gate)
    if phase is Phase.DONE:
        return play >> request_headers() << rejects(401, "authentication_error")
    if phase in (Phase.PASSED, Phase.PASSED_ERROR):
        return passed(play, phase)
    for reached in range(Phase.ADMITTED.value, phase.value + 1):
        step: dict[Phase, Event] = {Phase.ADMITTED: HEADERS, Phase.SENT: request_body(ASK | {"stream": stream})}
        play >> step.get(Phase(reached), response_headers(content_type=SSE if stream else "application/json"))
        play.pending.clear()
    assert play.exchange.phase is phase
    return play


def passed(play: Playbook, phase: Phase) -> Playbook:
    play >> request_headers("/v1/files/f", "GET", token=token()) << {"action": "Pass"}
    if phase is Phase.PASSED_ERROR:
        play >> response_headers(404) << {"action": "PassAnswer", "read_body": True}
    assert play.exchange.phase is phase
    return play


def test_the_table_knows_every_event() -> None:
    assert NEXT.keys() == EVENTS.keys()
    assert {(phase, kind) for kind, phases in NEXT.items() for phase in phases} == ALLOWED.keys()


@pytest.mark.parametrize(("phase", "kind"), ALL, ids=lambda part: getattr(part, "__name__", str(part)))
def test_what_may_follow_what(gate: Gateway, phase: Phase, kind: type[Event]) -> None:
    play = at(gate, phase)
    if (phase, kind) in ALLOWED:
        play >> EVENTS[kind]
        assert play.exchange.phase is ALLOWED[phase, kind]
    else:
        with pytest.raises(OutOfOrder, match=f"{kind.__name__} in {phase.name}"):
            play >> EVENTS[kind]


def test_what_comes_out_of_order_changes_nothing(gate: Gateway) -> None:
    play = at(gate, Phase.SENT)
    with pytest.raises(OutOfOrder):
        play >> request_headers("/v1/models", "GET")
    assert (play.exchange.call.request.path, play.exchange.phase) == ("/v1/messages", Phase.SENT)


@pytest.mark.parametrize("phase", [Phase.NEW, Phase.ADMITTED, Phase.SENT])
def test_a_bug_before_the_answer(gate: Gateway, phase: Phase) -> None:
    assert at(gate, phase).fail() << rejects(500, *BUG, **KNOWN)


@pytest.mark.parametrize("phase", [Phase.PASSED, Phase.PASSED_ERROR])
def test_a_bug_at_an_answer_that_passes_through(gate: Gateway, phase: Phase) -> None:
    assert at(gate, phase).fail() << answers({"error": {"message": BUG[1]}}, 500, **KNOWN)


def test_a_bug_while_the_answer_is_held(gate: Gateway) -> None:
    body = {"type": "error", "error": {"type": BUG[0], "message": BUG[1]}}
    play = at(gate, Phase.ANSWERING) >> response_body(CHUNK[:5])
    assert play.fail() << begins(500, **KNOWN) << says(end=True, body=body)


def test_a_bug_while_nothing_of_the_body_is_here(gate: Gateway) -> None:
    assert at(gate, Phase.ANSWERING).fail() << rejects(500, *BUG, **KNOWN)


def test_a_bug_at_an_answer_without_a_body(gate: Gateway) -> None:
    play = at(gate, Phase.SENT) >> response_headers(content_type=SSE, end=True) << rejects(502, "api_error")
    with pytest.raises(OutOfOrder):
        play.fail()


def test_a_bug_while_the_answer_flows(gate: Gateway) -> None:
    play = at(gate, Phase.ANSWERING) >> response_body(CHUNK) << begins() << says(end=False)
    data = [{"type": "error", "error": {"type": BUG[0], "message": BUG[1]}}]
    play.fail() << says(end=True, events=["error"], data=data, record=KNOWN)
    with pytest.raises(OutOfOrder):
        play.fail()


@pytest.mark.parametrize(("part", "method"), [(Timing, "progress"), (ClientAnswer, "begin")])
def test_a_bug_between_the_first_two_actions(
    gate: Gateway, part: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has been sent then, so the answer still begins with its headers."""
    play = at(gate, Phase.ANSWERING)
    with monkeypatch.context() as patch:
        patch.setattr(part, method, None)
        with pytest.raises(TypeError):
            play >> response_body(CHUNK)
    assert play.fail() << begins(500) << says(end=True)


def test_a_bug_after_the_end(gate: Gateway) -> None:
    with pytest.raises(OutOfOrder, match="failed after the end"):
        at(gate, Phase.DONE).fail()


@pytest.mark.parametrize(("size", "seconds"), [("100", 31.0), ("2000", 50.0), ("", 70.0)])
def test_a_body_has_its_time(tmp_path: Path, size: str, seconds: float) -> None:
    """30 s, and as long as its size takes at the minimum rate; a size that is not announced is the largest."""
    text = f"{GATEWAY}\nmax_body_bytes: 4000\nlimits: {{body_min_rate: 100}}"
    play = Playbook(gateway(tmp_path, text)) >> request_headers(token=token(), content_length=size) << awaits()
    assert play.exchange.deadline == START + seconds
    timed_out: Json = {"reason": "InvalidRequest", "error": "slow_body", "ended": True}
    assert play.after(seconds) >> DEADLINE_REACHED << rejects(408, "invalid_request_error", **timed_out)
    assert play.exchange.deadline is None


def test_a_body_that_has_arrived_has_no_deadline_before_it_is_translated(gate: Gateway) -> None:
    play = at(gate, Phase.ADMITTED)
    assert play.exchange.deadline
    play.exchange.body_arrived()
    assert play.exchange.deadline is None


@pytest.mark.parametrize("phase", Phase)
def test_only_bodies_and_answers_are_waited_for(gate: Gateway, phase: Phase) -> None:
    assert (at(gate, phase).exchange.deadline is None) == (phase not in (Phase.ADMITTED, Phase.ANSWERING))


def test_the_credential_stops_here(gate: Gateway) -> None:
    play = Playbook(gate) >> HEADERS << awaits() >> BODY
    [forward] = play.pending
    sent = str(forward)
    assert token()[:20] not in sent
    assert "authorization" in forward.set_headers  # type: ignore[union-attr]


def test_while_the_model_answers_nobody_holds_the_prompt(gate: Gateway) -> None:
    """An answer may take minutes, and there may be thousands of them."""
    prompt = "p" * 5000
    asked = request_body({**ASK, "stream": True, "messages": [{"role": "user", "content": prompt}]})
    play = Playbook(gate) >> HEADERS << awaits() >> asked << {"action": "Forward"}
    play = play >> response_headers(200, SSE) >> response_body(CHUNK) << begins() << {"action": "AnswerBody"}
    waiting, seen = [play.exchange], dict[int, object]()
    while waiting:
        held: Any = waiting.pop()
        if id(held) not in seen and not isinstance(held, type | ModuleType | FunctionType):
            seen[id(held)] = held
            waiting += gc.get_referents(held)
    assert len(seen) > 100
    assert not [held for held in seen.values() if isinstance(held, str) and prompt in held]
    assert not [held for held in seen.values() if isinstance(held, bytes) and prompt.encode() in held]
