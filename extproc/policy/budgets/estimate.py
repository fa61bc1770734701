"""What a call may use, before it is sent."""

import math
from collections.abc import Sequence

from extproc.policy.authorization.features import read_features
from extproc.policy.budgets.limits import NANO
from extproc.policy.budgets.used import Used
from extproc.policy.facts import Examined, LightBody
from extproc.providers.catalogue import Resolved
from extproc.providers.prices import Prices
from extproc.translate.pair import Usage
from extproc.wire import dialects
from extproc.wire.media_tokens import BYTES_PER_TOKEN

MAX_TOKENS = 10**8
"""No call has as many: such a limit in a body is a mistake."""
MAX_PLAIN_BYTES = 64 * 1024
"""A larger body may have images in it, which have fewer tokens than their bytes say."""


def reserved(
    examined: Examined, candidates: Sequence[Resolved], prices: Prices, assumed_output: int, now: float
) -> Used:
    """Returns what a call may use: the input by the size of the body, the output by the body's limit or else
    `assumed_output`, at the dearest candidate's price. An unpriced model costs nothing here. `now`: Unix seconds."""
    tokens = Usage(input_tokens=input_tokens(examined), output_tokens=output_limit(examined, assumed_output))
    costs = [prices.price(one.provider, one.upstream).cost(tokens, "", now) or 0.0 for one in candidates]
    return Used(math.ceil(max(costs) * NANO), tokens.input_tokens, tokens.output_tokens, 1, 1)


UNREAD = Used(requests=1, concurrent=1)
"""What is reserved for a call that passes through."""


def input_tokens(examined: Examined) -> int:
    """An estimate."""
    body = examined.body
    size = len(body.raw)
    if not isinstance(body, LightBody):
        known = body.features.get("estimated_tokens")
    elif size > MAX_PLAIN_BYTES:
        known = read_features(examined.call.dialect, body.members, size).get("estimated_tokens")
    else:
        known = None
    return min(MAX_TOKENS, known if isinstance(known, int) else math.ceil(size / BYTES_PER_TOKEN))


def output_limit(examined: Examined, assumed: int) -> int:
    """The most that may be written, for all answers together."""
    body, call = examined.body, examined.call
    if not isinstance(body, LightBody):
        limit, answers = body.features.get("max_tokens"), 1
    else:
        configured = examined.resolved.configured(call.dialect, body.members)
        members = {**body.members, **configured} if configured else body.members
        limits = [members[name] for name in dialects.row(call.dialect).limits if type(members.get(name)) is int]
        limit = max(limits, default=None)
        answers = members["n"] if type(members.get("n")) is int else 1
    one = limit if isinstance(limit, int) and limit >= 0 else assumed
    return min(MAX_TOKENS, one * max(1, answers))
