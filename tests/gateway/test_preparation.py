"""A heavy body is prepared by another process: what comes back is what would have been made here."""

import msgspec
import pytest

from extproc.errors import Rejection
from extproc.gateway.preparation import Prepared, Task, prepare
from extproc.policy.authorization.body import Bounds
from extproc.providers.model_settings import ModelSettings
from extproc.providers.profiles import Profile
from extproc.translate.job import Job
from extproc.translate.pair import Counted, Target, Translated
from extproc.wire import Dialect
from tests.body_shapes import Shape, shapes

SMALL = 7
DIALECTS: tuple[Dialect, ...] = ("messages", "chat", "responses")
SETTINGS = ModelSettings({"temperature": 0.5}, {"max_tokens": 50}, ("max_tokens",))


def task(dialect: Dialect, provider: Dialect, *, counting: bool = False, count_tokens: str = "estimate") -> Task:
    profile = msgspec.structs.replace(Profile(), count_tokens=count_tokens)
    target = Target(profile=profile, model="upstream", nonce="n", now=1.5, headers={"x-app": "cli"})
    job = Job(
        dialect=dialect, provider=(provider,), model="m", settings=SETTINGS, counting=counting, target=target
    )  # fmt: skip
    return Task(job, Bounds(), 2.0)


def sent_over(sent: object, kind: type) -> object:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=kind)


@pytest.mark.parametrize("shape", shapes(), ids=lambda shape: f"{shape.dialect}-{shape.name}")
def test_nothing_is_lost_between_the_processes(shape: Shape) -> None:
    raw = msgspec.json.encode(shape.build(SMALL))
    for provider in DIALECTS:
        for counting in {False, shape.dialect != "chat"}:
            given = task(shape.dialect, provider, counting=counting)
            assert sent_over(given, Task) == given
            made = prepare(raw, given)
            assert made.features is not None
            assert sent_over(made, Prepared) == made
            assert isinstance(made.outcome, Translated | Counted | Rejection)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"[]", "the body is not a JSON object"),
        (b'{"model":"m","Model":"n"}', "Model: write `model`"),
        (b'{"tools":[' + b"1," * 10_000 + b"1]}", "tools: List should have at most 10000 items, not 10001"),
    ],
)
def test_what_cannot_be_read_has_no_features(raw: bytes, problem: str) -> None:
    made = prepare(raw, task("messages", "chat"))
    assert made.features is None and made.rejection is not None
    assert (made.rejection.http_status, made.rejection.message) == (400, problem)


def test_rules_see_the_body_as_it_is_configured() -> None:
    made = prepare(b'{"max_tokens": 9, "messages": []}', task("messages", "chat"))
    assert made.features == {
        "stream": False,
        "max_tokens": 50,
        "tools": [],
        "has_images": False,
        "has_pdf": False,
        "messages": 0,
        "thinking": False,
        "session": "",
        "estimated_tokens": 9,
    }


PDF = "data:application/pdf;base64," + "A" * 133_336
ASKING: dict[Dialect, dict[str, object]] = {
    "messages": {
        "messages": [
            {"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}}]}
        ],
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": '{"session_id": "s"}'},
    },
    "chat": {
        "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": PDF}}]}],
        "reasoning_effort": "low",
        "prompt_cache_key": "s",
    },
    "responses": {
        "input": [{"role": "user", "content": [{"type": "input_file", "file_data": PDF}]}],
        "reasoning": {"effort": "low"},
        "client_metadata": {"session_id": "s"},
    },
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_rules_see_the_same_in_every_dialect(dialect: Dialect) -> None:
    raw = msgspec.json.encode({"model": "m", **ASKING[dialect]})
    features = prepare(raw, task(dialect, dialect)).features
    assert features is not None
    assert {name: features[name] for name in ("has_pdf", "has_images", "thinking", "session", "messages")} == {
        "has_pdf": True,
        "has_images": False,
        "thinking": True,
        "session": "s",
        "messages": 1,
    }
    assert 1500 < features["estimated_tokens"] < 1600
