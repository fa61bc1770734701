"""JSON of strangers is decoded in one place, at a price that its bytes bound."""

import ast
import importlib
import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from extproc.wire import untrusted
from tests.imports import sources, unit

# Who else may decode, and whose JSON that is.
_OWN_STORE = "what the gateway itself has written, sealed or into its store"
DIRECTLY = {
    "extproc.wire.untrusted": "the place",
    "extproc.supervisor.envoy_admin": "our own Envoy's counters",
    "extproc.supervisor.control": "the words of a command, by a socket of its owner's",
    "extproc.transport.control": "the supervisor's answer",
    "extproc.supervisor.usage": "our own Envoy's log",
    "extproc.gateway.attempts": "what our own attempts have put on record",
    "extproc.store.overrides": _OWN_STORE,
    "extproc.store.shared_counters": _OWN_STORE,
    "extproc.transport.orders": "a worker's own lines",
    "extproc.sign_in.device": _OWN_STORE,
    "extproc.sign_in.loopback": _OWN_STORE,
    "extproc.sign_in.sealing": _OWN_STORE,
    "extproc.sign_in.signing_keys": _OWN_STORE,
}
COSTLY = ["9e307", "1.7976931348623157e308", "9e-308", "4.9e-324", "2.2250738585072011e-308", "0." + "1" * 300]


def members(count: int, number: str) -> bytes:
    return b'{"n":[' + b",".join([number.encode()] * count) + b"]}"


def seconds(data: bytes) -> float:
    """Of the processor, the best of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        untrusted.decode(data)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("number", COSTLY)
def test_no_number_costs_much_more_than_another(number: str) -> None:
    """Without the hook, 9e307 costs 30 times as much as 1.5, and 4.9e-324 twice as much again."""
    assert seconds(members(20_000, number)) < 12 * seconds(members(20_000, "1.5"))


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "1" * 400 + ".5", "1" * 400 + "e1", "1" * 5000, "NaN", "Infinity"]
)
def test_what_is_no_number_here(number: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        untrusted.decode(members(1, number))


@pytest.mark.parametrize("number", ["1.5", "-0.0", "9e307", "4.9e-324", "1e-400", "9007199254740993.0", "7", "1" * 100])
def test_numbers_are_what_python_says(number: str) -> None:
    value = untrusted.decode(number.encode())
    expected: Any = ast.literal_eval(number)
    assert value == expected and type(value) is type(expected)


class Usage(msgspec.Struct):
    details: dict[str, Any]
    more: Any = None


def test_members_without_a_type_go_through_the_hook() -> None:
    decoder = untrusted.decoder(Usage)
    assert decoder.decode(b'{"details":{"a":9e307},"more":[1.5]}') == Usage({"a": 9e307}, [1.5])
    with pytest.raises(msgspec.DecodeError):
        decoder.decode(b'{"details":{"a":1e400}}')


@pytest.mark.parametrize("data", [b'{"a":1,"a":1}', b'[{"b":{"a":1,"\\u0061":2}}]'])
def test_a_name_given_twice(data: bytes) -> None:
    untrusted.decode(data)
    with pytest.raises(untrusted.DuplicateName):
        untrusted.decode_unique(data)


def test_a_name_in_two_objects_is_no_duplicate() -> None:
    assert untrusted.decode_unique(b'{"a":{"a":1},"b":[{"a":2},{"a":3}]}') == {"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]}


def test_no_other_module_decodes_directly() -> None:
    direct = re.compile(r"msgspec\.json\.(decode|Decoder)\(")
    found = {module for module, path in sources().items() if direct.search(path.read_text())}
    assert found - {module for module in found if unit(module) == "demo"} == set(DIRECTLY)


def test_no_typed_number_is_decoded() -> None:
    """msgspec parses a member of type `float` by itself, at its own price."""
    found = dict(decoders())
    assert len(found) > 10
    assert not [name for name, decoder in found.items() if has_float(inspect.type_info(decoder.type), set())]


def decoders() -> Iterator[tuple[str, msgspec.json.Decoder[Any]]]:
    users = (module for module, path in sources().items() if "untrusted.decoder(" in path.read_text())
    for module in users:
        for name, value in vars(importlib.import_module(module)).items():
            if isinstance(value, msgspec.json.Decoder):
                yield f"{module}.{name}", value


def has_float(node: Any, seen: set[Any]) -> bool:
    match node:
        case inspect.FloatType():
            return True
        case inspect.StructType(cls=cls, fields=fields):
            new = cls not in seen
            seen.add(cls)
            return new and any(has_float(field.type, seen) for field in fields)
        case inspect.UnionType(types=types):
            return any(has_float(one, seen) for one in types)
        case inspect.DictType(key_type=key, value_type=value):
            return has_float(key, seen) or has_float(value, seen)
        case inspect.ListType(item_type=item):
            return has_float(item, seen)
        case inspect.AnyType() | inspect.NoneType() | inspect.StrType() | inspect.IntType() | inspect.BoolType():
            return False
        case inspect.RawType() | inspect.LiteralType():
            return False
        case _:
            raise AssertionError(f"{type(node).__name__}: say here whether a number may be in it")
