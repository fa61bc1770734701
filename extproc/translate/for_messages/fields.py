"""Top-level members of a Messages request: for each, one rule."""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from extproc.errors import Rejection, invalid
from extproc.translate import want
from extproc.translate.for_messages.draft import Draft
from extproc.translate.want import Refused, refused, unsupported

_USER_ID_MAX = 64
_SESSION = "x-claude-code-session-id"
_TIERS = {"auto": "auto", "standard_only": "default"}
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")

DROPPED = frozenset(
    ("betas", "cache_control", "diagnostics", "fallback_credit_token", "user_profile_id", "workspace_id")
)
"""Neither content nor billing class depends on them: no word about it."""

ELSEWHERE = frozenset(
    (
        "max_tokens", "messages", "model", "output_format", "stop_sequences", "stream", "system", "temperature",
        "thinking", "tool_choice", "tools", "top_k", "top_p",
    )
)  # fmt: skip
"""Read by the modules they are named after, or by `limit`."""


def check(draft: Draft) -> None:
    """Refuses, reports or writes the members that depend on no other."""
    for name, rejection in _REFUSED.items():
        if draft.body.get(name) is not None:
            raise Refused(rejection)
    for name, rule in _RULES.items():
        if draft.body.get(name) is not None:
            rule(draft)
    draft.warnings.unknown(draft.body, _KNOWN, "")


def limit(draft: Draft, effort: str | None) -> None:
    """Writes what bounds and steers generating."""
    if draft.counting:
        return
    _max_tokens(draft)
    _sampling(draft, effort)
    _stop(draft)
    _stream(draft)
    _cache_key(draft)


def _max_tokens(draft: Draft) -> None:
    asked = want.integer(draft.body, "max_tokens", "")
    if asked < 1:
        raise refused("max_tokens", "Input should be greater than or equal to 1")
    limit = draft.profile.max_output_tokens
    if limit is not None and asked > limit:
        draft.warnings.add("clamped", "max_tokens", f"Input should be less than or equal to {limit}")
        asked = limit
    if asked < (least := draft.least_tokens):
        draft.warnings.add("clamped", "max_tokens", f"Input should be greater than or equal to {least}")
        asked = least
    draft.upstream[draft.limit_member] = asked


def _sampling(draft: Draft, effort: str | None) -> None:
    profile = draft.profile
    allowed = effort == "none" if profile.sampling_needs_no_effort else profile.sampling
    for name in ("temperature", "top_p", "top_k"):
        if draft.body.get(name) is None:
            continue
        if draft.strict_about_2026_10_21():
            raise refused(name, "Extra inputs are not permitted")
        value = want.integer(draft.body, name, "") if name == "top_k" else want.number(draft.body, name, "")
        if allowed and (name != "top_k" or profile.top_k):
            draft.upstream[name] = value
        else:
            draft.warnings.add("dropped", name)


def stop_sequences(draft: Draft) -> tuple[str, ...]:
    """All the client named."""
    return tuple(want.optional_texts(draft.body, "stop_sequences", ""))


def _stop(draft: Draft) -> None:
    sequences = stop_sequences(draft)
    profile = draft.profile
    if not sequences:
        return
    if profile.stop:
        draft.upstream["stop"] = list(sequences[: profile.stop_max])
        if len(sequences) > profile.stop_max and not profile.local_stop:
            draft.warnings.add("approx", "stop_sequences", f"List should have at most {profile.stop_max} items")
    elif not profile.local_stop:
        draft.warnings.add("dropped", "stop_sequences")


def _stream(draft: Draft) -> None:
    if not want.flag(draft.body, "stream", ""):
        return
    draft.upstream |= {"stream": True, **draft.stream_members()}


def _metadata(draft: Draft) -> None:
    metadata = want.mapping(draft.body, "metadata", "")
    user = want.optional_text(metadata, "user_id", "metadata")
    draft.warnings.unknown(metadata, frozenset(("user_id",)), "metadata")
    field = draft.profile.user_field
    if user and field != "none":
        draft.upstream[field] = _bounded(user)


def _bounded(value: str) -> str:
    if len(value) <= _USER_ID_MAX:
        return value
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def _cache_key(draft: Draft) -> None:
    """One key per session keeps a conversation on the machine that has its prefix."""
    session = draft.target.headers.get(_SESSION)
    if draft.profile.prompt_cache_key == "session" and session:
        draft.upstream["prompt_cache_key"] = _bounded(session)


def _service_tier(draft: Draft) -> None:
    tier = want.one_of(want.text(draft.body, "service_tier", ""), tuple(_TIERS), "service_tier")
    if draft.profile.service_tier:
        draft.upstream.setdefault("service_tier", _TIERS[tier])


def _speed(draft: Draft) -> None:
    if want.one_of(want.text(draft.body, "speed", ""), ("standard", "fast"), "speed") == "standard":
        return
    if draft.profile.service_tier:
        draft.upstream["service_tier"] = "priority"
    else:
        draft.warnings.add("dropped", "speed")


def _geo(draft: Draft) -> None:
    geo = want.text(draft.body, "inference_geo", "")
    if geo != "global" and geo not in draft.profile.geos:
        raise unsupported("inference_geo", f"inference in '{geo}' cannot be promised here")


def _container(draft: Draft) -> None:
    container = draft.body["container"]
    if not isinstance(container, str) and want.mapping(draft.body, "container", "").get("skills"):
        raise unsupported("container.skills", "skills cannot run with this model")
    draft.warnings.add("dropped", "container")


def _context_management(draft: Draft) -> None:
    config = want.mapping(draft.body, "context_management", "")
    edits = want.optional_sequence(config, "edits", "context_management")
    carried = [draft.carries_edit(want.item(edit, path), path) for edit, path in _with_paths(edits)]
    if not all(carried):
        draft.warnings.add("dropped", "context_management")
    draft.warnings.unknown(config, frozenset(("edits",)), "context_management")


def _with_paths(edits: list[Any]) -> list[tuple[Any, str]]:
    return [(edit, f"context_management.edits.{n}") for n, edit in enumerate(edits)]


def _output_config(draft: Draft) -> None:
    """Effort and format are read where they are needed."""
    config = want.mapping(draft.body, "output_config", "")
    if config.get("task_budget") is not None:
        draft.warnings.add("dropped", "output_config.task_budget")
    draft.warnings.unknown(config, frozenset(("effort", "format", "task_budget")), "output_config")


def _fallbacks(draft: Draft) -> None:
    draft.warnings.add("dropped", "fallbacks")


def _billing(draft: Draft) -> None:
    bill_to = want.mapping(draft.body, "billing_policy", "").get("bill_to")
    kind = bill_to.get("type") if isinstance(bill_to, dict) else bill_to
    if kind not in (None, "self"):
        raise unsupported("billing_policy.bill_to", "the call cannot be billed to somebody else")


def _mcp_servers(draft: Draft) -> None:
    if want.sequence(draft.body, "mcp_servers", "") and not draft.reaches_mcp:
        raise unsupported("mcp_servers", "MCP servers cannot be reached from here; connect them in the client")


_REFUSED: dict[str, Rejection] = {
    "compaction": invalid("compaction", "compaction is not supported with this model", code="unsupported_value"),
    # The SDK's tool runner sends the whole conversation again when it reads this code in `error.details`.
    "thread": invalid(
        "thread",
        "threads are not supported with this model; send the whole conversation",
        code="thread_unsupported_request",
    ),
}
_RULES: dict[str, Callable[[Draft], None]] = {
    "mcp_servers": _mcp_servers,
    "billing_policy": _billing,
    "inference_geo": _geo,
    "container": _container,
    "context_management": _context_management,
    "fallbacks": _fallbacks,
    "metadata": _metadata,
    "output_config": _output_config,
    "service_tier": _service_tier,
    "speed": _speed,
}
_KNOWN = DROPPED | ELSEWHERE | _REFUSED.keys() | _RULES.keys()
