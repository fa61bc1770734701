"""URLs of Redis, Sentinels and clusters."""

import pytest

from extproc.config.schema_store import RedisAddress, redis_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisAddress("server", False, [("h", 6379)])),
        ("rediss://h:1/3", RedisAddress("server", True, [("h", 1)], database=3)),
        ("redis://[::1]:7", RedisAddress("server", False, [("::1", 7)])),
        ("redis+sentinel://a,b:2/main", RedisAddress("sentinel", False, [("a", 26379), ("b", 2)], "main")),
        ("rediss+sentinel://a/main/5", RedisAddress("sentinel", True, [("a", 26379)], "main", 5)),
        ("redis+cluster://a:1,[::1]:2", RedisAddress("cluster", False, [("a", 1), ("::1", 2)])),
        ("rediss+cluster://a/", RedisAddress("cluster", True, [("a", 6379)])),
    ],
)
def test_urls(url: str, address: RedisAddress) -> None:
    assert redis_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        *("", "h:6379", "redis:///0", "redis://h:0", "redis://h:x", "redis://h/-1", "redis://h/1/2", "redis://h?db=1"),
        *("redis+sentinel://a/", "redis+sentinel://a/x/y", "redis+cluster://a,,b", "redis+other://a", "redis://[::1"),
    ],
)
def test_what_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected redis://HOST:PORT/NUMBER, redis\+sentinel://"):
        redis_address(url)
