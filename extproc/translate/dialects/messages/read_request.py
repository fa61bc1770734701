"""An Anthropic Messages request as a conversation (docs/mapping.md 1.1, 1.9, 1.10)."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from extproc.errors import Rejection, invalid
from extproc.providers.profiles import Profile
from extproc.translate import checked
from extproc.translate.checked import Json, Refused, Warnings, refused, unsupported
from extproc.translate.conversation import (
    AnswerShape,
    AssistantTurn,
    Compacting,
    Conversation,
    OutputFormat,
    Setting,
    Text,
    Thinking,
    Unmapped,
)
from extproc.translate.dialects.messages.read_tools import ToolReader, answer_without_search
from extproc.translate.dialects.messages.read_turns import Rules, TurnReader, read_effort
from extproc.translate.pair import Target

SESSION = "x-claude-code-session-id"
_TIERS = {"auto": "auto", "standard_only": "default"}
_THINKING_TYPES = ("enabled", "adaptive", "disabled", "between_tools")
_DISPLAYS = ("summarized", "omitted", "updates")
_THINKING = frozenset(("type", "budget_tokens", "display", "block_binding"))
_BANDS = ((4096, "low"), (16384, "medium"), (32768, "high"))
"""Budgets of thinking below a number of tokens, and the effort that they stand for."""
_COMPACT = frozenset(("type", "trigger"))
_SILENT = frozenset(
    ("betas", "cache_control", "diagnostics", "fallback_credit_token", "user_profile_id", "workspace_id")
)
"""Neither content nor billing depends on these, so nothing is said of them."""
_TYPED = frozenset((
    "max_tokens", "messages", "model", "output_format", "service_tier", "speed", "stop_sequences", "stream", "system",
    "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p",
))  # fmt: skip
_REFUSED: dict[str, Rejection] = {
    "compaction": invalid("compaction", "compaction is not supported with this model", code="unsupported_value"),
    # The SDK's tool runner sends the whole conversation again when it reads this code in `error.details`.
    "thread": invalid(
        "thread",
        "threads are not supported with this model; send the whole conversation",
        code="thread_unsupported_request",
    ),
}


def read_request(body: Json, target: Target, warnings: Warnings, *, counting: bool = False) -> Conversation:
    """`counting`: only the size is wanted; what steers the answer is neither needed nor checked. Raises Refused."""
    return _Reader(body, target, warnings, counting=counting).read()


class _Reader:
    def __init__(self, body: Json, target: Target, warnings: Warnings, *, counting: bool) -> None:
        self._body = body
        self._target = target
        self._profile = target.profile
        self._warnings = warnings
        self._counting = counting
        strict = target.profile.strictness == "strict"
        self._refuses_old = strict and target.headers.get("anthropic-version", "") >= "2026-10-21"

    def read(self) -> Conversation:
        body = self._body
        model = checked.text(body, "model", "")
        unmapped = self._checked_members()
        profile = self._profile
        rules = Rules(profile.strip_billing_header, self._refuses_old, profile.mid_system == "native")
        messages = TurnReader(body, rules, self._warnings)
        turns = messages.turns()
        tools = ToolReader(body, messages.tool_changes, profile, self._warnings)
        choice, parallel = tools.choice(), tools.parallel()
        thinking = self._thinking(messages.effort)
        steering = {} if self._counting else self._steering()
        return Conversation(
            model=model,
            turns=turns,
            system=(*self._system(messages), *messages.leading),
            continues_last_turn=not self._counting and isinstance(turns[-1], AssistantTurn),
            tools=tuple(tools.tools),
            tool_choice=choice,
            parallel_tool_calls=parallel,
            output_format=self._format(),
            thinking=thinking,
            user=self._user(),
            service_tier=self._service_tier(),
            session=self._target.headers.get(SESSION, ""),
            compaction=self._compaction(),
            unmapped=tuple(unmapped),
            without_search=answer_without_search(body),
            shape=AnswerShape(
                stream=not self._counting and checked.flag(body, "stream", ""),
                namespaces={**messages.toolset_names, **tools.toolset_names},
                call_prefix="toolu_",
            ),
            **steering,
        )

    def _system(self, messages: TurnReader) -> Iterable[Text]:
        system = self._body.get("system")
        if system is None or isinstance(system, str):
            return [Text(system, "system")] if system else []
        blocks = checked.sequence(self._body, "system", "")
        found = (messages.system_text(block, f"system.{n}") for n, block in enumerate(blocks))
        return [text for text in found if text is not None]

    def _checked_members(self) -> list[Unmapped]:
        """Refuses what must not be ignored; returns what some providers have no place for."""
        body = self._body
        for name, rejection in _REFUSED.items():
            if body.get(name) is not None:
                raise Refused(rejection)
        found: list[Unmapped] = []
        for name, read in _CHECKED.items():
            if body.get(name) is not None:
                found += read(body, self._profile, self._warnings)
        self._warnings.unknown(body, _KNOWN, "")
        return found

    def _compaction(self) -> tuple[Compacting, ...]:
        edits = (self._body.get("context_management") or {}).get("edits") or ()
        found: tuple[Compacting, ...] = ()
        for n, edit in enumerate(edits):
            if not _compacts(edit, self._profile):
                continue
            path = f"context_management.edits.{n}"
            self._warnings.unknown(edit, _COMPACT, path)
            trigger = checked.optional_mapping(edit, "trigger", path)
            threshold = checked.integer(trigger, "value", f"{path}.trigger") if trigger else None
            found = (Compacting("context_management", threshold),)
        return found

    def _user(self) -> Setting[str] | None:
        metadata = self._body.get("metadata") or {}
        user = checked.optional_text(metadata, "user_id", "metadata")
        return Setting(user, "metadata.user_id") if user else None

    def _service_tier(self) -> Setting[str] | None:
        """A faster tier that cannot be had is a loss, the choice of a slower one is not."""
        tier = checked.optional_text(self._body, "service_tier", "")
        if tier is not None:
            checked.one_of(tier, tuple(_TIERS), "service_tier")
        speed = checked.optional_text(self._body, "speed", "")
        if speed is not None and checked.one_of(speed, ("standard", "fast"), "speed") == "fast":
            return Setting("priority", "speed")
        return Setting(_TIERS[tier], "service_tier") if tier and self._profile.service_tier else None

    # What steers the answer

    def _steering(self) -> dict[str, Any]:
        """Members of the conversation that a count does not need."""
        limit = checked.integer(self._body, "max_tokens", "")
        if limit < 1:
            raise refused("max_tokens", "Input should be greater than or equal to 1")
        found: dict[str, Any] = {"max_tokens": Setting(limit, "max_tokens")}
        for name in ("temperature", "top_p", "top_k"):
            if self._body.get(name) is None:
                continue
            if self._refuses_old:
                raise refused(name, "Extra inputs are not permitted")
            read = checked.integer if name == "top_k" else checked.number
            found[name] = Setting(read(self._body, name, ""), name)
        if stops := checked.optional_texts(self._body, "stop_sequences", ""):
            found["stop"] = Setting(tuple(stops), "stop_sequences")
        return found

    def _thinking(self, last_effort: tuple[str, str] | None) -> Thinking:
        """`last_effort`: of a message; it counts more than that of the request."""
        thinking = checked.optional_mapping(self._body, "thinking", "")
        kind = self._thinking_type(thinking)
        effort = last_effort or read_effort(self._body, "")
        shown = self._shown(thinking)
        if kind in ("disabled", "between_tools"):
            if effort:
                self._warnings.add("dropped", effort[1], f"thinking.type is {kind}")
            return Thinking(Setting("none", "thinking"), is_explicit=False, shown=shown)
        if effort:
            return Thinking(Setting(*effort), shown=shown, is_on=True)
        if kind == "enabled":
            budget = checked.integer(thinking, "budget_tokens", "thinking.enabled")
            level = next((level for limit, level in _BANDS if budget < limit), "xhigh")
            path = "thinking.budget_tokens"
            return Thinking(Setting(level, path), is_explicit=False, budget=budget, shown=shown, is_on=True)
        if kind == "adaptive":
            usual = self._profile.adaptive_effort
            level_or_none = None if usual is None else Setting[str](usual, "thinking")
            return Thinking(level_or_none, is_explicit=False, shown=shown, is_on=True)
        return Thinking(shown=shown)

    def _thinking_type(self, thinking: Json) -> str | None:
        if self._body.get("thinking") is None:
            return None
        kind = checked.one_of(checked.text(thinking, "type", "thinking"), _THINKING_TYPES, "thinking.type")
        display = checked.optional_text(thinking, "display", "thinking")
        if display is not None:
            checked.one_of(display, _DISPLAYS, "thinking.display")
        if kind == "enabled":
            checked.integer(thinking, "budget_tokens", "thinking.enabled")
        self._warnings.unknown(thinking, _THINKING, "thinking")
        return kind

    def _shown(self, thinking: Json) -> Literal["no", "hidden", "yes"]:
        """Whether the answer's reasoning goes to the client."""
        if self._profile.emit_thinking != "auto":
            return "yes" if self._profile.emit_thinking == "always" else "no"
        if thinking.get("type") not in ("enabled", "adaptive"):
            return "no"
        return "hidden" if thinking.get("display") == "omitted" else "yes"

    def _format(self) -> OutputFormat | None:
        config = checked.optional_mapping(self._body, "output_config", "")
        holder, name, path = config, "format", "output_config.format"
        if config.get("format") is None:
            holder, name, path = self._body, "output_format", "output_format"
        if holder.get(name) is None:
            return None
        wanted = checked.mapping(holder, name, path.removesuffix(name).rstrip("."))
        checked.one_of(checked.text(wanted, "type", path), ("json_schema",), f"{path}.type")
        self._warnings.unknown(wanted, frozenset(("type", "schema", "name")), path)
        return OutputFormat(path, checked.mapping(wanted, "schema", path))


# Members without a place of their own


def _mcp_servers(body: Json, _profile: Profile, _warnings: Warnings) -> Iterable[Unmapped]:
    problem = "MCP servers cannot be reached from here; connect them in the client"
    servers = checked.sequence(body, "mcp_servers", "")
    return [Unmapped("mcp_servers", servers, "mcp_servers", "reject", problem)] if servers else []


def _billing(body: Json, _profile: Profile, _warnings: Warnings) -> Iterable[Unmapped]:
    bill_to = checked.mapping(body, "billing_policy", "").get("bill_to")
    kind = bill_to.get("type") if isinstance(bill_to, dict) else bill_to
    if kind not in (None, "self"):
        raise unsupported("billing_policy.bill_to", "the call cannot be billed to somebody else")
    return []


def _geo(body: Json, profile: Profile, _warnings: Warnings) -> Iterable[Unmapped]:
    geo = checked.text(body, "inference_geo", "")
    if geo != "global" and geo not in profile.geos:
        raise unsupported("inference_geo", f"inference in '{geo}' cannot be promised here")
    return []


def _container(body: Json, _profile: Profile, _warnings: Warnings) -> Iterable[Unmapped]:
    container = body["container"]
    if not isinstance(container, str) and checked.mapping(body, "container", "").get("skills"):
        raise unsupported("container.skills", "skills cannot run with this model")
    return [Unmapped("container", container, "container", "warn")]


def _context_management(body: Json, profile: Profile, warnings: Warnings) -> Iterable[Unmapped]:
    path = "context_management"
    config = checked.mapping(body, path, "")
    warnings.unknown(config, frozenset(("edits",)), path)
    edits = checked.optional_sequence(config, "edits", path)
    compacts = [_compacts(checked.item(edit, f"{path}.edits.{n}"), profile) for n, edit in enumerate(edits)]
    if all(compacts):
        return []
    return [Unmapped(path, edits, path, "warn")]


def _compacts(edit: Json, profile: Profile) -> bool:
    return profile.compaction and edit.get("type") == "compact_20260112"


def _fallbacks(body: Json, _profile: Profile, _warnings: Warnings) -> Iterable[Unmapped]:
    return [Unmapped("fallbacks", body["fallbacks"], "fallbacks", "warn")]


def _metadata(body: Json, _profile: Profile, warnings: Warnings) -> Iterable[Unmapped]:
    warnings.unknown(checked.mapping(body, "metadata", ""), frozenset(("user_id",)), "metadata")
    return []


def _output_config(body: Json, _profile: Profile, warnings: Warnings) -> Iterable[Unmapped]:
    """Effort and format are read where they are needed."""
    config, path = checked.mapping(body, "output_config", ""), "output_config.task_budget"
    warnings.unknown(config, frozenset(("effort", "format", "task_budget")), "output_config")
    budget = config.get("task_budget")
    return [] if budget is None else [Unmapped(path, budget, path, "warn")]


_CHECKED: dict[str, Callable[[Json, Profile, Warnings], Iterable[Unmapped]]] = {
    "mcp_servers": _mcp_servers,
    "billing_policy": _billing,
    "inference_geo": _geo,
    "container": _container,
    "context_management": _context_management,
    "fallbacks": _fallbacks,
    "metadata": _metadata,
    "output_config": _output_config,
}
_KNOWN = _SILENT | _TYPED | _REFUSED.keys() | _CHECKED.keys()
