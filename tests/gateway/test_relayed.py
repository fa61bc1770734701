"""Admission lets an attempt's answer pass, and makes an error of whatever did not come from one."""

# ruff: noqa: SLF001 - who is told of failures is given to the exchange when it begins

import json
from pathlib import Path

import pytest

from extproc.events import Action, AnswerBody, BeginAnswer, Headers, Record, Respond, ResponseBody, ResponseHeaders
from extproc.gateway import attempts
from extproc.gateway.attempts import Try
from extproc.gateway.relayed import RelayedAnswer
from extproc.providers.availability import AttemptOutcome
from tests.failing_over import ASK, Call, gateway
from tests.playbook import START

MODELS = "models: [{name: m, providers: [{provider: a}, {provider: b}]}]"
JSON, SSE = "application/json", "text/event-stream"
ANSWERED: Record = {attempts.COMMITTED: True} | attempts.fields([Try("a", START, 0.1, 200, "ok")])
SILENT: Record = attempts.fields([Try("a", START)])


class Relayed(Call):
    def __init__(self, folder: Path, *, stream: bool = False) -> None:
        super().__init__(gateway(folder, MODELS), ASK | {"stream": stream})
        self.reported: list[AttemptOutcome] = []
        assert self.relayed is not None
        self.relayed._report = self.reported.append

    @property
    def relayed(self) -> RelayedAnswer | None:
        return self.exchange._relayed

    def headers(self, status: int, known: Record, details: str, made: int = 1, media: str = JSON) -> list[Action]:
        headers = Headers([(":status", str(status)), ("content-type", media)])
        event = ResponseHeaders(status, headers, False, details, known, made)
        return self.gateway.go_on(self.exchange, event, START + 1)

    def piece(self, body: bytes, *, end: bool, known: Record | None = None) -> list[Action]:
        return self.gateway.go_on(self.exchange, ResponseBody(body, end, known or {}), START + 2)


@pytest.fixture
def call(tmp_path: Path) -> Relayed:
    return Relayed(tmp_path)


ENDED: Record = {"ended": True, "gen_ai.usage.input_tokens": 3}


def test_what_an_attempt_wrote_passes_as_it_is(call: Relayed) -> None:
    [begun] = call.headers(200, ANSWERED, "via_upstream")
    assert begun == BeginAnswer(200, {"content-type": JSON}, (), begun.record)
    assert begun.record["attempts"] == "a 200 0.10s"
    [said] = call.piece(b"{}", end=True, known=ENDED)
    assert said == AnswerBody(b"{}", True, ENDED)
    assert call.relayed is not None and call.relayed.over and call.reported == []


@pytest.mark.parametrize("status", [429, 529])
def test_an_error_passes_in_one_piece(call: Relayed, status: int) -> None:
    """So that it can be said in the form of a cloud's API, if the client speaks one."""
    assert call.headers(status, ANSWERED, "via_upstream") == call.piece(b'{"error":', end=False) == []
    begun, said = call.piece(b'"x"}', end=True, known=ENDED)
    assert begun == BeginAnswer(status, {"content-type": JSON}, (), begun.record)
    assert said == AnswerBody(b'{"error":"x"}', True, ENDED)
    assert call.relayed is not None and call.relayed.over and call.reported == []


def test_what_no_attempt_wrote_never_passes(call: Relayed) -> None:
    """A raw answer of a provider's, whose attempt has ended without a word."""
    assert call.headers(200, SILENT, "via_upstream") == []
    begun, said = call.piece(b'{"id":"raw"}', end=True)
    assert isinstance(begun, BeginAnswer) and begun.status == 502
    assert isinstance(said, AnswerBody) and b"raw" not in said.body and json.loads(said.body)["type"] == "error"


def test_envoys_own_answer_is_told_in_the_clients_dialect(call: Relayed) -> None:
    assert call.headers(503, SILENT, "upstream_reset_before_response_started{reset}", 2) == []
    begun, _ = call.piece(b"no healthy upstream", end=True)
    assert isinstance(begun, BeginAnswer) and begun.status == 529
    known = begun.record
    assert known["attempts"] == "a no_answer 1.00s; b unreachable"
    assert (known["gen_ai.provider.name"], known["gen_ai.upstream.model"]) == ("b", "m")
    assert call.reported == [AttemptOutcome("a", "failed"), AttemptOutcome("b", "failed")]


def test_who_was_not_asked_has_not_failed(call: Relayed) -> None:
    call.headers(504, SILENT, "upstream_per_try_timeout", 1)
    call.piece(b"", end=True)
    assert call.reported == [AttemptOutcome("a", "failed")]


def test_an_attempt_that_breaks_off_ends_in_an_error(tmp_path: Path) -> None:
    call = Relayed(tmp_path, stream=True)
    call.headers(200, ANSWERED, "via_upstream", media=SSE)
    assert call.piece(b"event: x\n\n", end=False) == [AnswerBody(b"event: x\n\n", False, {})]
    [said] = call.piece(b"", end=True)
    assert isinstance(said, AnswerBody) and said.end and said.body.startswith(b"event: error")
    assert said.record["reason"] == "Truncated"


def test_a_whole_answer_that_breaks_off_does_not_parse(call: Relayed) -> None:
    call.headers(200, ANSWERED, "via_upstream")
    [said] = call.piece(b'{"id"', end=True)
    assert said == AnswerBody(b"", True, said.record) and said.record["reason"] == "Truncated"


def test_a_bug_before_the_answer_is_told(call: Relayed) -> None:
    [said] = call.exchange.fail()
    assert isinstance(said, Respond) and said.status == 500
