import logging

from extproc.config.schema_limits import REFUSALS_BURST
from extproc.web import rate
from extproc.web.rate import LogLimit, RateLimit


def test_so_many_in_a_window() -> None:
    now = [0.0]
    limit = RateLimit(2, 10, lambda: now[0])
    assert [limit.count("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert limit.count("192.0.2.2") and not limit.allows("192.0.2.1") and limit.allows("192.0.2.3")
    now[0] = 10
    assert limit.allows("192.0.2.1") and limit.count("192.0.2.1")


def test_a_network_counts_as_one_address() -> None:
    limit = RateLimit(1, 10, lambda: 0)
    assert limit.count("2001:db8::1") and not limit.count("2001:db8::ffff:2")
    assert limit.count("2001:db8:0:1::1")
    assert limit.count("192.0.2.1") and not limit.count("::ffff:192.0.2.1")


def test_its_memory_is_bounded() -> None:
    limit = RateLimit(1, 10, lambda: 0)
    for n in range(rate.MAX_ADDRESSES + 10):
        limit.count(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(limit) == rate.MAX_ADDRESSES


def test_strangers_cannot_fill_the_log() -> None:
    now = [0.0]
    limit = LogLimit(1, lambda: now[0])

    def passes(level: int) -> str:
        record = logging.LogRecord("extproc", level, "", 0, "refused %s", ("x",), None)
        return record.getMessage() if limit.filter(record) else ""

    passed = [passes(logging.WARNING) for _ in range(REFUSALS_BURST + 5)]
    assert passed == ["refused x"] * REFUSALS_BURST + [""] * 5
    assert passes(logging.ERROR) == "" and passes(logging.INFO) == "refused x"
    now[0] = 1
    assert passes(logging.WARNING) == "refused x (6 such lines were left out before)"
    assert passes(logging.WARNING) == ""
