"""Names and ids that both sides of a pair must spell alike. No table outlives a request."""

import base64
import binascii
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

from extproc.providers.profiles import Profile
from extproc.translate.checked import refused

IdStyle = Literal["any", "alnum9"]

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# As many as in Anthropic's own ids and in OpenAI's ids of calls.
_MADE_LENGTH = 24
# Ids that clients would refuse travel in base64, and are known again by this.
_ENCODED = "tlx_"
# What both vendors take in the name of a tool.
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
_PLAIN = re.compile(r"[a-zA-Z0-9_-]+")


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _base62(digest: bytes, length: int) -> str:
    number, out = int.from_bytes(digest, "big"), []
    for _ in range(length):
        number, rest = divmod(number, 62)
        out.append(_ALPHABET[rest])
    return "".join(out)


# 64 characters in Chat (https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools) and 128 for
# Anthropic (https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use); names of MCP tools,
# `mcp__SERVER__TOOL`, are often longer than the first.
def tool_name(name: str, limit: int = 64) -> str:
    """The name a tool has upstream: its own if that is legal there, else shortened and told apart by a hash."""
    clean = _FOREIGN.sub("_", name)
    if clean == name and len(name) <= limit:
        return name
    return f"{clean[: limit - 9]}_{_digest(name).hex()[:8]}"


class ToolNames:
    """The provider's names of the client's tools; remembers them for the answer."""

    def __init__(self, profile: Profile) -> None:
        self._limit = profile.tool_name_max
        self._known: dict[str, str] = {}
        self.originals: dict[str, str] = {}

    def declare(self, name: str, short: str) -> None:
        """`short`: the name under which the provider gets a tool."""
        self._known[name] = short
        self.originals.setdefault(short, name)

    def upstream(self, name: str) -> str:
        short = self._known.get(name)
        if short is None:
            short = tool_name(name, self._limit)
            self.declare(name, short)
        return short


def unique_names(sent: Sequence[str]) -> None:
    """Names may have become equal by being shortened. Raises Refused."""
    if len(set(sent)) != len(sent):
        raise refused("tools", "Tool names must be unique.")


def _decoded(identifier: str) -> str | None:
    text = identifier[len(_ENCODED) :]
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return decoded or None


# Clients keep a conversation when its model changes, so that ids of any vendor come with the history. OpenAI takes up
# to 40 characters.
def history_id(id: str, limit: int = 40, style: IdStyle = "any") -> str:
    """The id of a call upstream, from the id the client knows it by."""
    if id.startswith(_ENCODED) and (decoded := _decoded(id)) is not None:
        return _base62(_digest(decoded), 9) if style == "alnum9" and not _is_alnum9(decoded) else decoded
    # Mistral takes ids of nine letters and digits, and nothing else.
    if style == "alnum9":
        return id if _is_alnum9(id) else _base62(_digest(id), 9)
    if len(id) <= limit and _PLAIN.fullmatch(id):
        return id
    return f"call_{_digest(id).hex()[:32]}"


def _is_alnum9(id: str) -> bool:
    return len(id) == 9 and id.isascii() and id.isalnum()


# Anthropic checks ids of calls by the pattern `^[a-zA-Z0-9_-]+$`, and its clients send back what they were given.
def client_id(id: str) -> str:
    """The id a client may see: its pattern is narrower than what upstreams send."""
    if _PLAIN.fullmatch(id) and not id.startswith(_ENCODED):
        return id
    encoded = base64.urlsafe_b64encode(id.encode("utf-8", "surrogatepass")).decode()
    return _ENCODED + encoded.rstrip("=")


# Ids must differ from turn to turn: Claude Code takes messages of one id for one turn, and calls of one id for the same
# call.
def made_id(prefix: str, nonce: str, n: int) -> str:
    """The n-th id made for this exchange; equal input gives an equal id."""
    return prefix + _base62(_digest(f"{nonce}:{n}"), _MADE_LENGTH)


def message_id(upstream_id: str, nonce: str) -> str:
    """A message's id for the client, from the upstream's id of the completion."""
    suffix = _FOREIGN.sub("_", upstream_id.removeprefix("chatcmpl-").removeprefix("resp_"))
    return f"msg_{suffix}" if suffix else made_id("msg_", nonce, 0)


def completion_id(upstream_id: str, nonce: str) -> str:
    """The same for a Chat client."""
    return f"chatcmpl-{message_suffix(upstream_id, nonce)}"


def message_suffix(upstream_id: str, nonce: str) -> str:
    """What all ids of an answer have in common, from the upstream's id of the message."""
    for prefix in ("msg_", "resp_", "chatcmpl-"):
        upstream_id = upstream_id.removeprefix(prefix)
    return _FOREIGN.sub("_", upstream_id) or made_id("", nonce, 0)
