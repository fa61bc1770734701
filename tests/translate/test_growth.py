"""What a body costs grows in proportion to its size, whatever it is made of, for every pair that may translate it."""

import gc
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from extproc.policy.authorization.features import read_features
from extproc.providers.profiles import Profile
from extproc.translate.count import COUNTERS, estimate
from extproc.translate.dialects.registry import PAIRS
from extproc.translate.pair import Json, Target
from extproc.wire import untrusted
from tests.body_shapes import Shape, shapes

Work = Callable[[Json, Target], object]
"""Something that is done with a body."""

TIMES = 4
SMALL, LARGE = 100_000, 600_000
# Proportional is 4, quadratic 16. The processor's caches and the allocator make large bodies a little dearer.
WORST = 9
SPARE_SECONDS = 0.02
# Where the quadratic part of the work is small, it shows only in large bodies.
CONVERSATIONS = ("pairs", "same_ids", "wide_pair", "alternating", "said", "schema_properties")


def works(dialect: str, size: int) -> Iterator[tuple[str, Work]]:
    yield "examined", lambda body, target: read_features(dialect, body, len(target.raw))
    for (client, provider), pair in PAIRS.items():
        if client == dialect:
            yield f"on_{provider}", pair.request
    if dialect == "messages" and size == SMALL:
        yield "counted", COUNTERS["responses"].request
        yield "estimated", estimate


def cases() -> Iterator[tuple[Shape, int]]:
    for shape in shapes():
        yield shape, SMALL
        if shape.name in CONVERSATIONS:
            yield shape, LARGE


def raw(shape: Shape, n: int) -> bytes:
    return msgspec.json.encode(shape.build(n))


def number(shape: Shape, size: int) -> int:
    """For a body of about this size."""
    return 100 * size // (len(raw(shape, 200)) - len(raw(shape, 100)))


def cost(body: bytes, work: Work, rounds: int) -> float:
    """CPU seconds of reading the body and of the work."""

    def once() -> float:
        began = time.process_time()
        decoded = untrusted.decode(body)
        work(decoded, Target(profile=Profile(), model="u", nonce="n", raw=body))
        return time.process_time() - began

    return min(once() for _ in range(rounds))


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    """Its rounds would be counted against whichever body they fall into."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(("shape", "size"), [*cases()], ids=lambda case: getattr(case, "name", case))
def test_cost_grows_in_proportion_to_the_body(shape: Shape, size: int) -> None:
    n = number(shape, size)
    small, large = raw(shape, n), raw(shape, TIMES * n)
    assert len(large) == pytest.approx(TIMES * len(small), rel=0.25)
    for name, work in works(shape.dialect, size):
        allowed = WORST * cost(small, work, 2) + SPARE_SECONDS
        measured = cost(large, work, 1)
        if measured > allowed:
            measured = min(measured, cost(large, work, 2))
        assert measured <= allowed, f"{shape.dialect} {shape.name} {name}: {TIMES} times the body"
