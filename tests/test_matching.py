from typing import Any

import pytest

from tests.matching import same


@pytest.mark.parametrize(
    ("actual", "expected", "differences"),
    [
        ({"a": [1, "x"]}, {"a": [1, {"$re": "^x$", "$eg": "x"}]}, 0),
        ({"a": 3}, {"a": {"$int": ">0"}}, 0),
        ({"a": 0}, {"a": {"$int": ">0"}}, 1),
        ({"a": True}, {"a": {"$int": ">=0"}}, 1),
        ({"a": 1}, {"a": True}, 1),
        ({"a": 1, "b": 2}, {"a": 2, "c": 3}, 3),
        ({"a": 7}, {"a": {"$re": "7"}}, 1),
        ([1], [1, 2], 1),
        (7, [7], 1),
        (7, {}, 1),
    ],
)
def test_same(actual: Any, expected: Any, differences: int) -> None:
    assert len(same(actual, expected)) == differences
