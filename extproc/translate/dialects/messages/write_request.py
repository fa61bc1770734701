"""A conversation as an Anthropic Messages request (docs/mapping.md 4, 6.5).

How hard Claude shall think is a level, which becomes a mode and an effort, or a budget of tokens (4.5).
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from extproc.providers.profiles import Profile
from extproc.translate.checked import Json, Warnings, refused
from extproc.translate.conversation import Compacting, Conversation, Setting
from extproc.translate.dialects.messages import enforced_schema
from extproc.translate.dialects.messages.write_messages import MessageTurn, MessageWriter
from extproc.translate.dialects.messages.write_tools import ToolWriter
from extproc.translate.names import ToolNames
from extproc.translate.pair import Target
from extproc.translate.provider_request import lose_unmapped, nearest
from extproc.translate.translated import WrittenRequest

PATH = "/v1/messages"
COUNTED = frozenset((
    "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "context_management",
    "compaction", "mcp_servers", "speed",
))  # fmt: skip
"""Members of a request whose tokens Anthropic counts; all others say what to do with them."""
_BETA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
# https://platform.claude.com/docs/en/api/messages/create: longer ids are refused.
_USER_ID_MAX = 256
_TIERS = {
    "auto": "auto",
    "default": "standard_only",
    "priority": "auto",
    "fast": "auto",
    "scale": "auto",
    "on_demand": "standard_only",  # Groq's word for it
}
# https://platform.claude.com/docs/en/build-with-claude/extended-thinking#feature-compatibility
_TOP_P_WITH_BUDGET = 0.95
# https://platform.claude.com/docs/en/build-with-claude/prompt-caching: a fifth mark is refused.
_MAX_CACHE_MARKS = 4
_SEAM = "\n"
"""As Anthropic's own OpenAI layer joins instructions."""
_ANY_JSON = "Respond with a single valid JSON object and nothing else."
_BY_SCHEMA = "Respond with JSON that fulfils this JSON schema, and with nothing else:\n"


def write_request(conversation: Conversation, target: Target, warnings: Warnings) -> WrittenRequest:
    """The request for the provider. Raises Refused, with the path of the fault in the client's body."""
    return _Writer(conversation, target, warnings).write()


def write_count_request(conversation: Conversation, target: Target, warnings: Warnings) -> WrittenRequest:
    """The request that counts the tokens of the same conversation. Raises Refused."""
    return _Writer(conversation, target, warnings).write_count()


class _Writer:
    def __init__(self, conversation: Conversation, target: Target, warnings: Warnings) -> None:
        self._conversation = conversation
        self._target = target
        self._profile = target.profile
        self._warnings = warnings
        self._names = ToolNames(target.profile)
        self._betas: list[str] = []

    def write(self) -> WrittenRequest:
        return self._written(PATH, self._body())

    def write_count(self) -> WrittenRequest:
        body = {name: value for name, value in self._body().items() if name in COUNTED or name == "model"}
        return self._written(f"{PATH}/count_tokens", body)

    def _written(self, path: str, body: Json) -> WrittenRequest:
        betas = list(dict.fromkeys([*self._profile.betas, *self._betas]))
        # Required in every request: https://platform.claude.com/docs/en/api/versioning.
        headers = {"anthropic-version": self._profile.anthropic_version}
        if betas:
            # One header for all of them: https://platform.claude.com/docs/en/api/beta-headers.
            headers["anthropic-beta"] = ",".join(betas)
        return WrittenRequest(
            path=path,
            body=msgspec.json.encode(body),
            headers=headers,
            names=self._names.originals,
            max_tokens=body.get("max_tokens"),
            # Claude sends text of its thinking only where it was requested, or always: then the client may read it.
            shown="yes" if self._profile.expose_reasoning else "hidden",
        )

    def _body(self) -> Json:
        """Members in a fixed order, so that equal requests give equal bytes."""
        conversation, profile = self._conversation, self._profile
        body: Json = {"model": self._target.model or conversation.model, "max_tokens": self._max_tokens()}
        self._write_rest(body)
        messages = MessageWriter(conversation, profile, self._names, self._warnings)
        turns = messages.turns()
        tools = ToolWriter(conversation, self._target, self._names, self._warnings).write(turns)
        body |= tools.members
        thinking = ThinkingWriter(conversation, profile, turns, self._warnings)
        thinking.write(body, is_tool_forced=tools.is_forced)
        format_note = self._write_format(body)
        self._write_own(body)
        if conversation.stop is not None:
            body["stop_sequences"] = list(conversation.stop.value)
        self._write_sampling(body)
        is_thinking = thinking.is_on(body)
        if is_thinking:
            self._betas += thinking.bind(body)
        body["messages"] = [turn.message(with_thinking=is_thinking) for turn in turns]
        notes = (tools.note, format_note, profile.system_suffix)
        _write_system(body, [block for _, block in messages.system], [note for note in notes if note])
        _keep_last_cache_marks(body)
        body.update(profile.extra)
        return body

    def _max_tokens(self) -> int:
        """Anthropic requires a limit; OpenAI's clients need not name one."""
        limit, most = self._conversation.max_tokens, self._profile.max_output_tokens
        # A conversation of OpenAI's may go on to the end of the context; Anthropic has no word for that.
        if limit is None:
            default = self._profile.default_max_tokens
            return default if most is None else min(default, most)
        if most is not None and limit.value > most:
            self._warnings.add("clamped", limit.path, f"Input should be less than or equal to {most}")
            return most
        return limit.value

    def _write_rest(self, body: Json) -> None:
        conversation = self._conversation
        self._write_compaction(body)
        foreign = [member for member in conversation.unmapped if not member.is_anthropic]
        lose_unmapped(foreign, (), self._warnings)
        for setting in (conversation.verbosity, conversation.logprobs):
            if setting is not None:
                self._warnings.add("dropped", setting.path)
        self._write_service_tier(body)
        if conversation.user is not None:
            body["metadata"] = {"user_id": _user_id(conversation.user.value)}
        if conversation.shape.stream:
            body["stream"] = True

    def _write_compaction(self, body: Json) -> None:
        wanted = self._conversation.compaction
        if self._profile.compaction and wanted:
            body["context_management"] = {"edits": [_compaction(each) for each in wanted]}
        for each in () if self._profile.compaction else wanted:
            self._warnings.add("dropped", each.path)

    def _write_service_tier(self, body: Json) -> None:
        tier = self._conversation.service_tier
        if tier is None:
            return
        # The same model, faster and dearer: https://platform.claude.com/docs/en/build-with-claude/fast-mode.
        if tier.value == "fast" and self._profile.fast_mode:
            body["speed"] = "fast"
        elif tier.value in _TIERS:
            # https://platform.claude.com/docs/en/api/service-tiers
            body["service_tier"] = _TIERS[tier.value]
        else:
            self._warnings.add("dropped", tier.path)

    def _write_format(self, body: Json) -> str:
        """Writes `output_config.format`, or returns what the system prompt says instead."""
        wanted = self._conversation.output_format
        if wanted is None:
            return ""
        schema, path = wanted.schema, f"{wanted.path}.schema"
        if schema and self._profile.structured_output == "json_schema" and enforced_schema.can_be(schema, path):
            sent = {"type": "json_schema", "schema": enforced_schema.transformed(schema, path)}
            body.setdefault("output_config", {})["format"] = sent
            return ""
        self._warnings.add("emulated", wanted.path, "the model cannot be held to this format")
        return _BY_SCHEMA + msgspec.json.encode(schema).decode() if schema else _ANY_JSON

    def _write_own(self, body: Json) -> None:
        """Anthropic's own members pass unchanged, and win over what is derived from others."""
        # OpenAI caches prompts unasked; Anthropic caches nothing without a mark.
        if self._profile.auto_cache:
            body["cache_control"] = {"type": "ephemeral"}
        for member in self._conversation.unmapped:
            if not member.is_anthropic:
                continue
            if member.name == "betas":
                self._betas += _betas(member.value)
            elif member.name == "output_config" and isinstance(member.value, dict):
                body["output_config"] = {**body.get("output_config", {}), **member.value}
            else:
                body[member.name] = member.value

    def _write_sampling(self, body: Json) -> None:
        """Claude 4 refuses temperature beside top_p, and a budget for thinking refuses most values of all three."""
        thinking = body.get("thinking")
        has_budget = isinstance(thinking, dict) and thinking.get("type") == "enabled"
        for name in ("temperature", "top_p", "top_k"):
            setting: Setting[Any] | None = getattr(self._conversation, name)
            if setting is None:
                continue
            if not self._profile.sampling or (has_budget and not _fits_budget(name, setting.value)):
                self._warnings.add("dropped", setting.path)
            # OpenAI's goes up to 2.
            elif name == "temperature" and setting.value > 1:
                self._warnings.add("clamped", setting.path, "Input should be less than or equal to 1")
                body[name] = 1
            elif name == "top_p" and "temperature" in body:
                problem = "temperature and top_p cannot be used together"
                self._warnings.add("dropped", setting.path, problem)
            else:
                body[name] = setting.value


def _compaction(wanted: Compacting) -> Json:
    """https://platform.claude.com/docs/en/build-with-claude/compaction"""
    edit: Json = {"type": "compact_20260112"}
    if wanted.threshold is None:
        return edit
    return {**edit, "trigger": {"type": "input_tokens", "value": wanted.threshold}}


def _user_id(user: str) -> str:
    return user if len(user) <= _USER_ID_MAX else sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def _betas(found: Any) -> list[str]:
    """Names for `anthropic-beta`. Raises Refused."""
    if not found:
        return []
    if not isinstance(found, list):
        raise refused("betas", "Input should be a valid list")
    for n, beta in enumerate(found):
        if not (isinstance(beta, str) and _BETA.fullmatch(beta)):
            raise refused(f"betas.{n}", "Input should be the name of a beta")
    return found


def _fits_budget(name: str, value: float) -> bool:
    if name == "temperature":
        return value == 1
    return name == "top_p" and _TOP_P_WITH_BUDGET <= value <= 1


def _write_system(body: Json, blocks: list[Json], notes: list[str]) -> None:
    blocks = [*blocks, *({"type": "text", "text": note} for note in notes)]
    if any("cache_control" in block for block in blocks):
        body["system"] = blocks
    elif blocks:
        body["system"] = _SEAM.join(block["text"] for block in blocks)


def _keep_last_cache_marks(body: Json) -> None:
    """Anthropic takes four marks, the one for the whole request among them."""
    marked = [block for block in _blocks(body) if "cache_control" in block]
    # A later mark covers all that stands before it.
    for block in marked[: max(0, len(marked) - (_MAX_CACHE_MARKS - ("cache_control" in body)))]:
        del block["cache_control"]


def _blocks(body: Json) -> Iterator[Json]:
    contents = (message["content"] for message in body["messages"])
    for holder in (body.get("tools"), body.get("system"), *contents):
        for block in holder if isinstance(holder, list) else ():
            yield block
            if block.get("type") == "tool_result" and isinstance(inner := block.get("content"), list):
                yield from inner


BINDING_BETA = "thinking-binding-controls-2026-08-01"
# What stands for a level with models that take a number of tokens only:
# https://platform.claude.com/docs/en/build-with-claude/extended-thinking.
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
_LEAST = 1024
"""The smallest budget that Anthropic takes, and what is left for the answer."""


class ThinkingWriter:
    def __init__(
        self, conversation: Conversation, profile: Profile, turns: Sequence[MessageTurn], warnings: Warnings
    ) -> None:
        self._thinking = conversation.thinking
        self._level = self._thinking.effort.value if self._thinking.effort is not None else None
        self._names_own_thinking = any(member.name == "thinking" for member in conversation.unmapped)
        self._profile = profile
        self._turns = turns
        self._warnings = warnings

    def write(self, body: Json, *, is_tool_forced: bool) -> None:
        """Writes `thinking` and the effort. `body` has its `max_tokens` already."""
        profile, level = self._profile, self._level
        if profile.thinking == "enabled":
            if level not in (None, "none") and not self._names_own_thinking:
                self._write_budget(body, _BUDGETS[level], is_tool_forced=is_tool_forced)
        # A tool can be forced only without thinking:
        # https://platform.claude.com/docs/en/build-with-claude/extended-thinking#extended-thinking-with-tool-use.
        elif is_tool_forced and not profile.forced_choice_with_thinking:
            if level not in (None, "none"):
                self._lose("the upstream cannot think when a tool is forced")
            body["thinking"] = {"type": "disabled"}
        elif level == "none" and profile.thinking_always_on:
            self._lose("this model always thinks")
        elif level == "none":
            body["thinking"] = {"type": "disabled"}
        elif level is not None:
            self._write_adaptive(body, level)

    def is_on(self, body: Json) -> bool:
        """Whether thinking of the history may be sent: newer models think by default."""
        thinking = body.get("thinking")
        kind = thinking.get("type") if isinstance(thinking, dict) else None
        return kind != "disabled" if self._profile.thinking == "adaptive" else kind in ("enabled", "adaptive")

    def bind(self, body: Json) -> list[str]:
        """Returns the betas that are needed. Thinking is bound to its conversation, which translation may have changed
        since: to the system prompt, the tools and all earlier messages. What no longer fits shall be dropped, or the
        request would be refused. https://platform.claude.com/docs/en/build-with-claude/preserved-thinking"""
        if self._profile.block_binding == "default" or not any(turn.has_thinking for turn in self._turns):
            return []
        # `adaptive` is these models' default, and the binding is a member of it.
        thinking = body.setdefault("thinking", {"type": "adaptive"})
        if not isinstance(thinking, dict) or "block_binding" in thinking:
            return []
        body["thinking"] = {**thinking, "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
        return [BINDING_BETA]

    def _write_adaptive(self, body: Json, level: str) -> None:
        body["thinking"] = {"type": "adaptive"}
        if self._thinking.shown == "yes" and self._profile.expose_reasoning:
            # Newer models send no text of their thinking by default.
            body["thinking"]["display"] = "summarized"
        # Anthropic's levels begin with `low`.
        allowed = [name for name in self._profile.efforts if name not in ("none", "minimal")]
        if not allowed:
            self._lose("the model has no levels of effort")
            return
        found = nearest(level, allowed)
        if found != level:
            self._warnings.add("clamped", self._path)
        body["output_config"] = {"effort": found}

    def _write_budget(self, body: Json, budget: int, *, is_tool_forced: bool) -> None:
        """Anthropic refuses a budget beside a forced tool, one as large as the answer may be, and one amid calls that
        were made without thinking."""
        room = body["max_tokens"] - _LEAST
        if is_tool_forced:
            self._lose("the model cannot think when a tool is forced")
        elif room < _LEAST:
            self._lose("the limit of tokens leaves no room for thinking")
        elif self._last_calls_lack_thinking():
            self._lose("the last tool calls came without thinking")
        else:
            if budget > room:
                self._warnings.add("clamped", self._path)
            body["thinking"] = {"type": "enabled", "budget_tokens": min(budget, room)}

    def _last_calls_lack_thinking(self) -> bool:
        last = next((turn for turn in reversed(self._turns) if turn.has_calls), None)
        return last is not None and not last.has_thinking

    def _lose(self, problem: str) -> None:
        self._warnings.add("dropped", self._path, problem)

    @property
    def _path(self) -> str:
        effort = self._thinking.effort
        return effort.path if effort is not None else ""
