"""Messages -> Chat requests against the hand-derived vectors."""

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.errors import Rejection
from extproc.providers.profiles import Profile, shipped, with_overrides
from extproc.translate.for_messages.asked import Asked
from extproc.translate.messages_on_chat.request import translate
from extproc.translate.pair import Target
from tests.matching import same
from tests.openai_types import check_chat_request

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "req_m2c.json").read_text())["vectors"]
REQUESTS = [vector for vector in VECTORS if vector["direction"] == "messages_request->chat_request"]


def profile(named: str | dict[str, Any]) -> Profile:
    if isinstance(named, str):
        return shipped()[named]
    return with_overrides(shipped()[named["name"]], {k: v for k, v in named.items() if k != "name"})


@pytest.mark.parametrize("vector", REQUESTS, ids=lambda v: f"{v['case']}-{v['name']}")
def test_vector(vector: dict[str, Any]) -> None:
    body = vector["input"]
    asked = translate(body, Target(profile=profile(vector["profile"]), model=body["model"], nonce="n"))
    expected = vector["expected"]
    if "status" in expected:
        assert isinstance(asked, Rejection)
        assert asked.http_status == expected["status"]
        error = expected["body"]["error"]
        assert same({"type": str(asked.kind), "message": asked.message}, error) == []
    else:
        assert isinstance(asked, Asked), asked
        assert same(json.loads(asked.body), expected) == []
        if asked.profile.name.startswith("openai"):
            check_chat_request(json.loads(asked.body))
        assert sorted(asked.warnings) == sorted(vector["warnings"])
