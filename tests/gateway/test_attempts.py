"""What attempts tell each other, and what follows from their silence."""

from extproc.events import Headers, Record, ResponseHeaders
from extproc.gateway import attempts
from extproc.gateway.attempts import Try

ORDER = ("a", "b", "c")


def ended(details: str, made: int, known: Record) -> ResponseHeaders:
    return ResponseHeaders(503, Headers(), False, details, known, made)


def test_what_is_written_is_read() -> None:
    tries = [Try("a", 1.0, 0.5, 529, "failed", "overloaded", 3, 4), Try("b")]
    assert attempts.read(attempts.fields(tries)) == tries
    assert attempts.read({}) == []


def test_people_read_it() -> None:
    tries = [
        Try("a", 1.0, 0.12, 529, "failed", "overloaded"),
        Try("b", word="unreachable"),
        Try("c", 1.0, 2.0, 200, "failed", "refusal", 9, 1),
        Try("d", 1.0, 0.004, 200, "ok"),
    ]
    told = "a 529 overloaded 0.12s; b unreachable; c 200 refusal 2.00s 9+1 tokens; d 200 0.00s"
    assert attempts.fields(tries)["attempts"] == told


def test_silence_has_met_a_timeout_and_absence_no_connection() -> None:
    tries, failed = attempts.filled([Try("a", started=10.0)], ORDER, 3, 12.5)
    assert tries == [Try("a", 10.0, 2.5, word="no_answer"), Try("b", word="unreachable")]
    assert failed == ["a", "b"]


def test_nothing_fails_twice() -> None:
    known = [Try("a", 10.0, 2.5, word="no_answer"), Try("b", 12.0, 1.0, 500, "failed")]
    assert attempts.filled(known, ORDER, 3, 14.0) == (known, [])


def test_only_attempts_that_were_made_have_failed() -> None:
    known = attempts.fields([Try("a", started=10.0)])
    tries, failed = attempts.tried(ended("upstream_reset_before_response_started{x}", 1, known), ORDER, 11.0)
    assert ([one.provider for one in tries], failed) == (["a"], ["a"])
    tries, failed = attempts.tried(ended("upstream_reset_before_response_started{x}", 3, known), ORDER, 11.0)
    assert [one.word for one in tries] == ["no_answer", "unreachable", "unreachable"] and failed == ["a", "b", "c"]


def test_an_attempt_that_has_answered_has_not_failed() -> None:
    known = attempts.fields([Try("a", 10.0, 1.0, 200, "ok")])
    assert attempts.tried(ended("via_upstream", 1, known), ORDER, 11.0) == (attempts.read(known), [])
    committed = known | {attempts.COMMITTED: True}
    assert attempts.tried(ended("an answer of our own", 1, committed), ORDER, 11.0) == (attempts.read(known), [])
