"""What bounds and steers generating (mapping 4.1)."""

from collections.abc import Sequence

from extproc.translate import want
from extproc.translate.on_messages.draft import Draft
from extproc.translate.want import refused

_TOP_P_WITH_BUDGET = 0.95


def max_tokens(draft: Draft, names: Sequence[str]) -> int:
    """Anthropic must be told; an OpenAI client need not. Of `names` the first that is there wins."""
    limit = draft.profile.max_output_tokens
    for name in names:
        if draft.body.get(name) is None:
            continue
        asked = want.integer(draft.body, name, "")
        if asked < 1:
            raise refused(name, "Input should be greater than or equal to 1")
        if limit is not None and asked > limit:
            draft.warnings.add("clamped", name, f"Input should be less than or equal to {limit}")
            return limit
        return asked
    default = draft.profile.default_max_tokens
    return default if limit is None else min(default, limit)


def stop(draft: Draft) -> None:
    asked = draft.body.get("stop")
    if asked is None:
        return
    listed = not isinstance(asked, str)
    kept = []
    for n, sequence in enumerate(want.optional_texts(draft.body, "stop", "") if listed else [asked]):
        if sequence.strip():
            kept.append(sequence)
        else:
            where = f"stop.{n}" if listed else "stop"
            draft.warnings.add("dropped", where, "stop sequences must contain more than white space")
    if kept:
        draft.upstream["stop_sequences"] = kept


def sampling(draft: Draft) -> None:
    """Claude 4 refuses temperature beside top_p, and a budget for thinking refuses most values of all three."""
    upstream, budgeted = draft.upstream, _has_budget(draft)
    for name in ("temperature", "top_p", "top_k"):
        if draft.body.get(name) is None:
            continue
        value = want.integer(draft.body, name, "") if name == "top_k" else want.number(draft.body, name, "")
        if not draft.profile.sampling or (budgeted and not _fits_budget(name, value)):
            draft.warnings.add("dropped", name)
        elif name == "temperature" and value > 1:
            draft.warnings.add("clamped", name, "Input should be less than or equal to 1")
            upstream[name] = 1
        elif name == "top_p" and "temperature" in upstream:
            draft.warnings.add("dropped", name, "temperature and top_p cannot be used together")
        else:
            upstream[name] = value


def _has_budget(draft: Draft) -> bool:
    thinking = draft.upstream.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") == "enabled"


def _fits_budget(name: str, value: float) -> bool:
    if name == "temperature":
        return value == 1
    return name == "top_p" and _TOP_P_WITH_BUDGET <= value <= 1
