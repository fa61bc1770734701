"""A dialect of our own making, as an installed package would add it: no module of the product knows it.

A conversation is a list of lines, and the first character of each says what it is:

    {"model": "m", "most": 100, "stream": false,
     "lines": ["* be brief", "> weather?", "! c1 weather {\"city\": \"Paris\"}", "= c1 sunny", "< It is sunny."],
     "can": {"weather": {"about": "Tells the weather", "takes": {"type": "object"}}}}

    {"lines": ["< It is sunny."], "why": "done", "spent": [12, 5]}
    {"oops": "there is no such model", "kind": "not_found_error"}

A stream has one event for each piece: `<` text, `!` a call, `{` its arguments, `.` the end, `oops` an error.
"""

import msgspec

from extproc.errors import Kind, Rejection
from extproc.translate.dialects.registry import Halves, register
from extproc.wire.dialects import DialectRow, Envelope
from tests.e2e.toy_dialect.client import CLIENT
from tests.e2e.toy_dialect.provider import PROVIDER


def _oops(rejection: Rejection, request_id: str) -> bytes:
    found = {"oops": rejection.message, "kind": rejection.kind, "where": rejection.path, "call": request_id}
    return msgspec.json.encode(found)


ROW = DialectRow(
    name="toy",
    path="/toy/say",
    provider_path="/say",
    provider_list_path="/words",
    key_header="x-toy-key",
    envelope=Envelope(_oops, lambda found: 420 if found.kind is Kind.RATE_LIMIT else found.http_status),
    error_event=lambda rejection: b"event: oops\ndata: %b\n\n" % _oops(rejection, ""),
    members=frozenset({"model", "lines", "most", "stream", "can"}),
    turns="lines",
    limits=("most",),
    example={"most": 100, "lines": ["> hello"]},
)


def add() -> None:
    register(ROW, Halves(client=CLIENT, provider=PROVIDER))
