import pytest

from extproc.policy.token_bucket import TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


def taken(bucket: TokenBucket, tries: int) -> int:
    return sum(bucket.take() for _ in range(tries))


def test_a_burst_and_then_so_many_a_second() -> None:
    clock = Clock()
    bucket = TokenBucket(10, 3, clock)
    assert taken(bucket, 40) == 30
    clock.now += 0.5
    assert taken(bucket, 40) == 5
    clock.now += 1000
    assert taken(bucket, 40) == 30


@pytest.mark.parametrize(("per_second", "burst"), [(0.1, 1), (0.01, 20)])
def test_at_least_one_can_be_saved_up(per_second: float, burst: float) -> None:
    clock = Clock()
    bucket = TokenBucket(per_second, burst, clock)
    assert taken(bucket, 2) == 1
    clock.now += 0.5 / per_second
    assert not bucket.take()
    clock.now += 0.5 / per_second
    assert bucket.take()
