"""A provider's time: without a byte for too long, or in all; what is said then, and when."""

from pathlib import Path
from typing import Any

import pytest

from extproc.gateway.gateway import Gateway
from tests.gateway.test_answer import ANSWER, CHUNK, DONE, FINISH, SSE, patience, sent
from tests.playbook import DEADLINE_REACHED, Playbook, begins, rejects, response_body, response_headers, says
from tests.settings import GATEWAY, gateway

LIMITED = GATEWAY.replace("{env: OPENAI_API_KEY}}", "{env: OPENAI_API_KEY}, timeouts: {idle: 40, total: 100}}")
TIMEOUT: Any = {"reason": "UpstreamTimeout"}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    assert LIMITED != GATEWAY
    return gateway(tmp_path_factory.mktemp("limited"), LIMITED)


def silent_at(play: Playbook, seconds: float) -> Playbook:
    """The deadline comes after so many seconds and not before."""
    assert patience(play) == pytest.approx(seconds)
    return play.after(seconds) >> DEADLINE_REACHED


def test_an_answer_of_headers_only(gate: Gateway) -> None:
    play = silent_at(sent(gate) >> response_headers(), 40)
    assert play << rejects(504, "timeout_error", error="idle_timeout", **TIMEOUT)


def test_half_an_answer(gate: Gateway) -> None:
    play = silent_at(sent(gate) >> response_headers() >> response_body(b'{"id":'), 40)
    assert play << begins(504, error="idle_timeout", **TIMEOUT) << says(end=True)


def test_each_byte_moves_it_until_the_whole_takes_too_long(gate: Gateway) -> None:
    play = sent(gate) >> response_headers()
    for _ in range(3):
        play.after(30) >> response_body(b" ")
    play = silent_at(play, 10)
    assert play << begins(504, error="total_timeout", **TIMEOUT) << says(end=True)


def test_pings_do_not_move_it(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers(content_type=SSE) >> response_body(CHUNK) << begins()
    play << says(end=False)
    for _ in range(2):
        play = silent_at(play, 15) << says(end=False, events=["ping"])
    play = silent_at(play, 10)
    assert play << says(end=True, events=["error"], record={"error": "idle_timeout", **TIMEOUT})
    assert patience(play) is None


def test_envoy_must_see_to_it_while_it_takes_nothing_for_the_body(gate: Gateway) -> None:
    """The status has gone out before the first piece of the provider's: see answer.py."""
    play = silent_at(sent(gate, stream=True) >> response_headers(content_type=SSE), 10) << begins()
    assert patience(play) is None


def test_an_error_is_told_although_its_rest_is_missing(gate: Gateway) -> None:
    play = silent_at(sent(gate) >> response_headers(429) >> response_body(b'{"error":'), 40)
    assert play << begins(429, reason="Upstream") << says(end=True)


def test_what_is_complete_has_no_time_to_lose(gate: Gateway) -> None:
    play = sent(gate, stream=True) >> response_headers(content_type=SSE) >> response_body(CHUNK + FINISH + DONE)
    play << begins() << says(end=False)
    assert silent_at(play, 1) << says(end=True, body="")


def test_a_whole_answer_in_time(gate: Gateway, tmp_path: Path) -> None:
    play = (sent(gate) >> response_headers()).after(39) >> response_body(ANSWER, end=True)
    assert play << begins() << says(end=True)


def test_a_comment_of_the_providers_is_a_ping_once_a_second(gate: Gateway) -> None:
    """And none before the client has got something: the status is still held."""
    play = sent(gate, stream=True) >> response_headers(content_type=SSE) >> response_body(b": wait\n\n")
    play = play >> response_body(CHUNK) << begins() << says(end=False)
    for seconds, events in ((0.5, []), (0.5, ["ping"]), (0.9, []), (0.1, ["ping"])):
        play = play.after(seconds) >> response_body(b": wait\n\n")
        if events:
            play << says(end=False, events=events)
    assert patience(play) == pytest.approx(15)
