"""A judging model that does not judge: nothing is allowed, and the answer is there all the same."""

import pytest

from tests.e2e.judging import answers, asked
from tests.e2e.raw_provider import Play, RawProvider, resets, whole
from tests.e2e.stack import Stack


@pytest.mark.parametrize(
    ("play", "reason"),
    [
        (resets(), "error"),
        (whole(b"{}", status="500 Internal Server Error"), "error"),
        (answers("certainly!"), "error"),
        (lambda connection: connection.until_left(), "timeout"),
    ],
    ids=["reset", "500", "unreadable", "silent"],
)
def test_without_a_judgement_nothing_is_allowed(
    judged: Stack, judge: RawProvider, play: Play | bytes, reason: str
) -> None:
    judge.plays(play)
    verdict, line = asked(judged, "ls", stream=True)
    assert verdict == {"type": "unavailable", "reason": reason}
    assert (line["auto_mode.outcome"], line["auto_mode.rule"]) == ("unavailable", "judge")
    assert (line["reason"], line["http.status"]) == (None, 200)
