"""What Claude Code and Codex say of their calls: the session, the agent that asks, and whether it works in the
background.

Claude Code: https://code.claude.com/docs/en/llm-gateway-protocol#request-headers. Its version 2.1.273 and later say the
class of a call and the type of a subagent, where its environment has `CLAUDE_CODE_GATEWAY_HINT_HEADERS=1`.
Codex: https://github.com/openai/codex/blob/main/codex-rs/core/src/responses_metadata.rs.
"""

import re
from typing import Any

import msgspec

from extproc.events import Headers
from extproc.wire import untrusted
from extproc.wire.lenient import Members, values_of

Json = dict[str, Any]

# Older versions of Codex send the names with underscores.
_SESSION = ("x-claude-code-session-id", "session-id", "session_id", "conversation_id")
_KIND_OF_AGENT = ("x-claude-code-agent-type", "x-openai-subagent")
# Subagents without a kind have these.
_SUBAGENT = ("x-claude-code-agent-id", "x-codex-parent-thread-id")
SUBAGENT = "subagent"

_CLASS = "x-claude-code-request-class"
_AUXILIARY = "auxiliary"
_SMALL_MODELS = "haiku"
# Codex's memory, and its checks of commands before they run.
_BACKGROUND_AGENTS = frozenset({"memory_consolidation", "guardian"})
_BACKGROUND = ("x-openai-memgen-request", "x-codex-guardian")
# `user_HASH_account_UUID_session_UUID`, which Claude Code sent before `user_id` held JSON.
_USER_ID = re.compile(r"_session_([0-9A-Za-z-]+)$")


def session(headers: Headers) -> str:
    """The session that the headers name, or nothing."""
    return _first(headers, _SESSION)


def session_in(body: Json) -> str | None:
    """The session that the body names, or nothing; None: not known."""
    members = Members(body)
    users = [user for holder in members.get("metadata") for user in _within(holder, "user_id")]
    found = [_session_of_user(user) for user in users]
    found += [one for holder in members.get("client_metadata") for one in _within(holder, "session_id")]
    found += members.get("prompt_cache_key")
    if not all(isinstance(one, str) for one in found):
        return None
    return next(filter(None, found), "")


def agent(headers: Headers) -> str:
    """The kind of subagent that asks, or nothing for a main conversation."""
    return _first(headers, _KIND_OF_AGENT) or (SUBAGENT if _first(headers, _SUBAGENT) else "")


def is_background(headers: Headers, model: str) -> bool:
    """Whether a call serves the client itself, such as a session's title, or a check of a command.

    `model`: the name that the client asked for. Claude Code without those headers is known by its small model."""
    if kind := headers.get(_CLASS):
        return kind == _AUXILIARY
    if headers.get("user-agent").startswith("claude-cli/"):
        return _SMALL_MODELS in model.casefold()
    return bool(_first(headers, _BACKGROUND)) or headers.get("x-openai-subagent") in _BACKGROUND_AGENTS


def _first(headers: Headers, names: tuple[str, ...]) -> str:
    return next(filter(None, map(headers.get, names)), "")


def _within(holder: Any, name: str) -> list[Any]:
    return values_of(holder, name) if isinstance(holder, dict) else [None]


def _session_of_user(user: Any) -> Any:
    """Claude Code's `user_id` is JSON in a string; that of others names nobody's session."""
    if not isinstance(user, str):
        return user
    if found := _USER_ID.search(user):
        return found[1]
    try:
        members = untrusted.decode(user) if user.startswith("{") else {}
    except (msgspec.DecodeError, RecursionError):
        return ""
    return members.get("session_id", "")
