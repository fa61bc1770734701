import anthropic.types.beta
import pytest
from pydantic import TypeAdapter

from extproc.translate.dialects.messages.client_tools import TOOLSETS, ClientTool
from extproc.translate.schema import repair

MEMBERS = [(family, member, canned) for family, members in TOOLSETS.values() for member, canned in members.items()]


@pytest.mark.parametrize(
    ("family", "member", "canned"), MEMBERS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_members_are_those_of_the_sdk(family: str, member: str, canned: ClientTool) -> None:
    name = f"Beta{family.title()}{member.title().replace('_', '')}Input"
    theirs = TypeAdapter(getattr(anthropic.types.beta, name)).json_schema()
    ours = canned.parameters()
    assert ours["properties"].keys() == theirs["properties"].keys()
    assert set(ours["required"]) == set(theirs.get("required", []))
    assert repair(ours, "p").schema is ours
