import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from extproc.transport import usage_sender
from extproc.transport.usage_sender import UsageSender, parse_call, parse_dropped
from extproc.usage.calls import call_of
from tests.usage_lines import LINE

SECONDS = 10.0
STARTED = 1_796_033_472.345
RECORD = {name: value for name, value in LINE.items() if name not in ("time", "duration")} | {"ended": True}


def sent(capsys: pytest.CaptureFixture[str], use: Callable[[UsageSender], Any]) -> list[str]:
    sender = UsageSender()
    use(sender)
    sender.close(SECONDS)
    return capsys.readouterr().out.splitlines()


def test_a_worker_sends_what_the_log_has(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = sent(capsys, lambda sender: sender.send(RECORD, STARTED, STARTED + 1.234))
    said = parse_call(line)
    assert said is not None
    assert call_of(msgspec.json.decode(said), "id") == call_of(LINE, "id")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({}, ""), ({"ended": None}, "Aborted"), ({"reason": "Truncated"}, "Truncated")],
)
def test_why_it_ended(capsys: pytest.CaptureFixture[str], changes: dict[str, Any], reason: str) -> None:
    record = {name: value for name, value in {**RECORD, **changes}.items() if value is not None}
    [line] = sent(capsys, lambda sender: sender.send(record, STARTED, STARTED))
    assert call_of(msgspec.json.decode(parse_call(line) or ""), "id").reason == reason


def test_what_is_not_for_the_ledger_is_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    strangers = {**RECORD, "jwt.sub": "", "gen_ai.provider.name": ""}
    assert not sent(capsys, lambda sender: sender.send(strangers, STARTED, STARTED))


def test_no_call_waits_for_a_supervisor_that_does_not_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, printed = threading.Event(), print

    def blocked(*words: object, **more: Any) -> None:
        reads.wait(SECONDS)
        printed(*words, **more)

    monkeypatch.setattr(usage_sender, "print", blocked, raising=False)
    monkeypatch.setattr(usage_sender, "MAX_WAITING", 10)

    def floods(sender: UsageSender) -> None:
        began = time.monotonic()
        for _ in range(100):
            sender.send(RECORD, STARTED, STARTED)
        assert time.monotonic() - began < 1
        reads.set()

    lines = sent(capsys, floods)
    calls = [line for line in lines if parse_call(line) is not None]
    lost = sum(map(parse_dropped, lines))
    assert 10 <= len(calls) <= 12
    assert len(calls) + lost == 100


def test_other_lines_say_nothing() -> None:
    assert parse_call("using 1 2") is None
    assert parse_dropped("using 1 2") == 0
