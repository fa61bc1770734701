"""An Anthropic Messages request as a conversation (docs/mapping.md 1.1, 1.9, 1.10)."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

from extproc.errors import Rejection, invalid
from extproc.providers.profiles import Profile
from extproc.translate import checked
from extproc.translate.checked import Json, Refused, Warnings, members, one_of, refused, typed, unsupported
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
from extproc.translate.dialects.messages.read_turns import EFFORTS, Rules, TurnReader
from extproc.translate.pair import Target
from extproc.wire import messages_request

SESSION = "x-claude-code-session-id"
# https://platform.claude.com/docs/en/api/service-tiers: `auto` may use capacity that was bought in advance,
# `standard_only` does not.
_TIERS = {"auto": "auto", "standard_only": "default"}
_THINKING_TYPES = ("enabled", "adaptive", "disabled", "between_tools")
_DISPLAYS = ("summarized", "omitted", "updates")
# Other vendors take levels only; the bands are where Claude Code's own words for thinking lie (docs/mapping.md 1.9).
_BANDS = ((4096, "low"), (16384, "medium"), (32768, "high"))
"""Budgets of thinking below a number of tokens, and the effort that they stand for."""
_COMPACT = frozenset(("type", "trigger"))
_SILENT = frozenset(
    ("betas", "cache_control", "diagnostics", "fallback_credit_token", "user_profile_id", "workspace_id")
)
"""Neither content nor billing depends on these, so nothing is said of them."""
_REFUSED: dict[str, Rejection] = {
    # The answer would be a compaction block and nothing else.
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
        self._request = typed(body, messages_request.Request, "")
        self._steering = None if counting else typed(body, messages_request.Steering, "")
        self._target = target
        self._profile = target.profile
        self._warnings = warnings
        strict = target.profile.strictness == "strict"
        # Versions are dates: https://platform.claude.com/docs/en/api/versioning.
        self._refuses_old = strict and target.headers.get("anthropic-version", "") >= "2026-10-21"

    def read(self) -> Conversation:
        body, request, profile, steering = self._body, self._request, self._profile, self._steering
        unmapped = self._checked_members()
        rules = Rules(profile.strip_billing_header, self._refuses_old, profile.mid_system == "native")
        messages = TurnReader(request.messages, rules, self._warnings)
        turns = messages.turns()
        tools = ToolReader(body, request.tools or [], messages.tool_changes, profile, self._warnings)
        choice, parallel = tools.choice(request.tool_choice)
        return Conversation(
            model=request.model,
            turns=turns,
            system=(*self._system(messages), *messages.leading),
            continues_last_turn=steering is not None and isinstance(turns[-1], AssistantTurn),
            tools=tuple(tools.tools),
            tool_choice=choice,
            parallel_tool_calls=parallel,
            output_format=self._format(),
            thinking=self._thinking(messages.effort),
            user=self._user(),
            service_tier=self._service_tier(),
            session=self._target.headers.get(SESSION, ""),
            compaction=self._compaction() if "context_management" in body else (),
            unmapped=unmapped,
            without_search=answer_without_search(request.messages),
            shape=AnswerShape(
                stream=steering is not None and bool(steering.stream),
                namespaces={**messages.toolset_names, **tools.toolset_names},
                call_prefix="toolu_",
            ),
            **self._steered(),
        )

    def _system(self, messages: TurnReader) -> Iterable[Text]:
        system = self._request.system
        if not system:
            return ()
        if isinstance(system, str):
            return (Text(system, "system"),)
        found = [messages.system_text(block, f"system.{n}") for n, block in enumerate(system)]
        return [text for text in found if text is not None]

    def _checked_members(self) -> tuple[Unmapped, ...]:
        """Refuses what must not be ignored; returns what some providers have no place for."""
        body, warnings = self._body, self._warnings
        found: list[Unmapped] = []
        if not _RARE.isdisjoint(body):
            for name, rejection in _REFUSED.items():
                if body.get(name) is not None:
                    raise Refused(rejection)
            for name, read in _CHECKED.items():
                if body.get(name) is not None:
                    found += read(body, self._profile, warnings)
        warnings.unknown(body, _KNOWN, "")
        return tuple(found)

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
        metadata = self._request.metadata
        return Setting(metadata.user_id, "metadata.user_id") if metadata is not None and metadata.user_id else None

    def _service_tier(self) -> Setting[str] | None:
        """A faster tier that cannot be had is a loss, the choice of a slower one is not."""
        tier, speed = self._request.service_tier, self._request.speed
        if tier is not None:
            one_of(tier, tuple(_TIERS), "service_tier")
        if speed is not None and one_of(speed, ("standard", "fast"), "speed") == "fast":
            return Setting("priority", "speed")
        return Setting(_TIERS[tier], "service_tier") if tier and self._profile.service_tier else None

    # What steers the answer

    def _steered(self) -> dict[str, Any]:
        """Members of the conversation that a count does not need."""
        steering = self._steering
        if steering is None:
            return {}
        # Anthropic takes 0, which fills its cache and gives no answer; one token instead would be an answer.
        if steering.max_tokens < 1:
            raise refused("max_tokens", "Input should be greater than or equal to 1")
        found: dict[str, Any] = {"max_tokens": Setting(steering.max_tokens, "max_tokens")}
        sampling = {"temperature": steering.temperature, "top_p": steering.top_p, "top_k": steering.top_k}
        for name, value in sampling.items():
            if value is None:
                continue
            if self._refuses_old:
                raise refused(name, "Extra inputs are not permitted")
            found[name] = Setting(value, name)
        if steering.stop_sequences:
            found["stop"] = Setting(tuple(steering.stop_sequences), "stop_sequences")
        return found

    def _thinking(self, last_effort: tuple[str, str] | None) -> Thinking:
        """`last_effort`: of a message; it counts more than that of the request."""
        thinking, config = self._request.thinking, self._request.output_config
        if thinking is not None:
            self._check_thinking(thinking)
        effort = last_effort
        if effort is None and config is not None and config.effort is not None:
            effort = one_of(config.effort, EFFORTS, "output_config.effort"), "output_config.effort"
        kind, shown = thinking.type if thinking is not None else "", self._shown(thinking)
        # Between tools alone no other model can think, so that it does not think at all.
        if kind in ("disabled", "between_tools"):
            if effort:
                self._warnings.add("dropped", effort[1], f"thinking.type is {kind}")
            return Thinking(Setting("none", "thinking"), is_explicit=False, shown=shown)
        if effort:
            return Thinking(Setting(*effort), shown=shown, is_on=True)
        # A budget of tokens, which no other vendor has; the level that is nearest to it stands for it.
        if thinking is not None and kind == "enabled":
            budget = thinking.budget_tokens
            level = next((level for limit, level in _BANDS if budget < limit), "xhigh")
            path = "thinking.budget_tokens"
            return Thinking(Setting(level, path), is_explicit=False, budget=budget, shown=shown, is_on=True)
        if kind == "adaptive":
            # Claude decides how much it thinks; with others a level has to stand for that.
            usual = self._profile.adaptive_effort
            level_or_none = None if usual is None else Setting[str](usual, "thinking")
            return Thinking(level_or_none, is_explicit=False, shown=shown, is_on=True)
        return Thinking(shown=shown)

    def _check_thinking(self, thinking: messages_request.Thinking) -> None:
        one_of(thinking.type, _THINKING_TYPES, "thinking.type")
        if thinking.display is not None:
            one_of(thinking.display, _DISPLAYS, "thinking.display")
        if thinking.type == "enabled":
            checked.integer(self._body["thinking"], "budget_tokens", "thinking.enabled")
        self._warnings.unknown(self._body["thinking"], members(messages_request.Thinking), "thinking")

    def _shown(self, thinking: messages_request.Thinking | None) -> Literal["no", "hidden", "yes"]:
        """Whether the answer's reasoning goes to the client."""
        if self._profile.emit_thinking != "auto":
            return "yes" if self._profile.emit_thinking == "always" else "no"
        if thinking is None or thinking.type not in ("enabled", "adaptive"):
            return "no"
        # Signatures alone: the client shows no thinking, and returns it with the next turn.
        return "hidden" if thinking.display == "omitted" else "yes"

    def _format(self) -> OutputFormat | None:
        config, old = self._request.output_config, self._request.output_format
        # `output_format` was the member's name while structured output was a beta.
        if config is not None and config.format is not None:
            wanted, path, sent = config.format, "output_config.format", self._body["output_config"]["format"]
        elif old is not None:
            wanted, path, sent = typed(old, messages_request.Format, "output_format"), "output_format", old
        else:
            return None
        # Anthropic has no `json_object`, which OpenAI takes without a schema.
        one_of(wanted.type, ("json_schema",), f"{path}.type")
        self._warnings.unknown(sent, members(messages_request.Format), path)
        return OutputFormat(path, checked.mapping(sent, "schema", path))


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
    # A promise about the place cannot be dropped with a warning:
    # https://platform.claude.com/docs/en/build-with-claude/data-residency.
    if geo != "global" and geo not in profile.geos:
        raise unsupported("inference_geo", f"inference in '{geo}' cannot be promised here")
    return []


def _container(body: Json, _profile: Profile, _warnings: Warnings) -> Iterable[Unmapped]:
    container = body["container"]
    # A container's files are lost, which a model can get over; skills are instructions that the client relies on.
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
    # https://platform.claude.com/docs/en/build-with-claude/compaction; all other edits clear old results of tools or
    # thinking, which no other vendor does.
    return profile.compaction and edit.get("type") == "compact_20260112"


def _fallbacks(body: Json, _profile: Profile, _warnings: Warnings) -> Iterable[Unmapped]:
    return [Unmapped("fallbacks", body["fallbacks"], "fallbacks", "warn")]


def _metadata(body: Json, _profile: Profile, warnings: Warnings) -> Iterable[Unmapped]:
    warnings.unknown(body["metadata"], members(messages_request.Metadata), "metadata")
    return []


def _output_config(body: Json, _profile: Profile, warnings: Warnings) -> Iterable[Unmapped]:
    """Effort and format are read where they are needed."""
    config, path = body["output_config"], "output_config.task_budget"
    warnings.unknown(config, members(messages_request.OutputConfig), "output_config")
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
_RARE = frozenset((*_REFUSED, *_CHECKED))
_KNOWN = members(messages_request.Request) | members(messages_request.Steering) | _RARE | _SILENT
