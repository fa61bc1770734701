"""Anthropic's own members in a Chat request (the SDK's `extra_body`): they pass unchanged and win."""

import re
from typing import Any

from extproc.translate.on_messages.draft import Draft
from extproc.translate.want import Json, refused

_NAMES = frozenset(("betas", "cache_control", "output_config", "thinking"))
_BETA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)


def is_passed(name: str) -> bool:
    return name in _NAMES or name.startswith("anthropic_")


def apply(draft: Draft) -> None:
    upstream = draft.upstream
    if draft.profile.auto_cache:
        upstream["cache_control"] = {"type": "ephemeral"}
    for name, value in draft.body.items():
        if is_passed(name) and name != "betas" and value is not None:
            upstream[name] = _joined(upstream.get(name), value) if name == "output_config" else value


def _joined(derived: Any, given: Any) -> Any:
    return {**derived, **given} if isinstance(derived, dict) and isinstance(given, dict) else given


def headers(draft: Draft) -> dict[str, str]:
    """For the upstream."""
    sent = {"anthropic-version": draft.profile.anthropic_version}
    if betas := list(dict.fromkeys([*draft.profile.betas, *_betas(draft.body), *draft.betas])):
        sent["anthropic-beta"] = ",".join(betas)
    return sent


def _betas(body: Json) -> list[str]:
    betas = body.get("betas") or []
    if not isinstance(betas, list):
        raise refused("betas", "Input should be a valid list")
    for n, beta in enumerate(betas):
        if not (isinstance(beta, str) and _BETA.fullmatch(beta)):
            raise refused(f"betas.{n}", "Input should be the name of a beta")
    return betas
