"""Claude Code's managed settings for one caller: what the configuration says, and what the gateway knows by itself.

The client asks for them at each start (`GET /managed/settings`). The base is the row that holds for everybody; the
first other row that holds is merged over it, as Claude Code's own gateway does: lists of what is denied unite, all
other lists are replaced, mappings merge.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from extproc.config.faults import Fault
from extproc.config.loading import Source
from extproc.config.schema import Config
from extproc.policy.authorization import variables
from extproc.policy.authorization.cel import Part, Rule
from extproc.providers.catalogue import Resolved, published_name
from extproc.sign_in import settings_keys
from extproc.sign_in.settings_keys import Unknown
from extproc.wire import dialects

Json = dict[str, Any]

EVERYBODY = "true"
_DENIES = re.compile(r"den(y|ied)|disabled|blocked")
_ONLY_CLAIMS = "only `jwt`, the claims of the token, is known here"


class Document(NamedTuple):
    settings: Json
    checksum: str
    """As the client computes it; also the ETag."""


class _Row(NamedTuple):
    when: Rule
    settings: Json


class ManagedSettings:
    """The section `managed_settings`, compiled. Adds to `faults` what is wrong with it."""

    def __init__(self, source: Source, faults: list[Fault]) -> None:
        self._config = source.config
        self._base: Json = {}
        self._rows: list[_Row] = []
        self.unknown: list[Unknown] = []
        """Keys that Claude Code may not know."""
        bases = 0
        for index, row in enumerate(source.config.managed_settings):
            where = ("managed_settings", index)
            for problem in settings_keys.check(row.settings, (*where, "settings")):
                (faults if isinstance(problem, Fault) else self.unknown).append(problem)  # type: ignore[arg-type]
            if row.when.strip() == EVERYBODY:
                bases += 1
                self._base = row.settings
                if bases > 1:
                    faults.append(Fault((*where, "when"), "another row holds for everybody, too; there is one base"))
            elif (rule := _compiled(row.when, (*where, "when"), faults)) is not None:
                self._rows.append(_Row(rule, row.settings))

    @property
    def lists_models(self) -> bool:
        """`availableModels` follows from `models`."""
        rows = [row.settings for row in self._rows]
        return bool(self._config.managed_settings) and not any("availableModels" in one for one in (self._base, *rows))

    def for_caller(self, claims: Mapping[str, Any], models: Sequence[Resolved]) -> Document:
        """`models`: those that the caller may use, of those that can be listed."""
        seen = variables.activation({"jwt": dict(claims)})
        chosen = next((row.settings for row in self._rows if row.when.evaluate(seen) is True), {})
        settings = merged(merged(self._computed(models), self._base), chosen)
        if env := settings.get("env"):
            # Claude Code takes texts alone, and YAML reads `1` as a number.
            settings["env"] = {name: str(value) for name, value in env.items()}
        return Document(settings, checksum(settings))

    def _computed(self, models: Sequence[Resolved]) -> Json:
        """What follows from the rest of the configuration; the rows may say otherwise."""
        found: Json = {"env": {**_window(models), **self._auto_mode(models), **_telemetry(self._config)}}
        if models:
            found["availableModels"] = list(dict.fromkeys(published_name(model.name) for model in models))
        return found if found["env"] else {name: value for name, value in found.items() if name != "env"}

    def _auto_mode(self, models: Sequence[Resolved]) -> Json:
        """Without verdicts of ours or of Claude's own the client must check tool calls itself."""
        if self._config.auto_mode is not None or all(dialects.DEFAULT in model.dialects for model in models):
            return {}
        return {"CLAUDE_CODE_AUTO_MODE_SERVER": "0"}


def _compiled(text: str, where: tuple[str | int, ...], faults: list[Fault]) -> Rule | None:
    rule = variables.compile_rule(text, where)
    if isinstance(rule, Fault):
        faults.append(rule)
        return None
    if rule.reads - {Part.CALLER} or "caller." in text:
        faults.append(Fault(where, _ONLY_CLAIMS))
    return rule


def _window(models: Sequence[Resolved]) -> Json:
    """The client takes a model that it does not know to have a million tokens. There is one number for all of them."""
    known = [model.profile.context_window for model in models if model.profile.context_window is not None]
    return {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(min(known))} if known else {}


def _telemetry(config: Config) -> Json:
    if config.telemetry is None or config.sign_in is None:
        return {}
    exporters = dict.fromkeys(("OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_TRACES_EXPORTER"), "otlp")
    return {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        **exporters,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": config.sign_in.public_url,
    }


def merged(base: Json, over: Json) -> Json:
    """`over` wins; see the module's text for lists and mappings."""
    found = dict(base)
    for name, value in over.items():
        before = found.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            found[name] = merged(before, value)
        elif isinstance(before, list) and isinstance(value, list) and _DENIES.match(name):
            found[name] = [*before, *(item for item in value if item not in before)]
        else:
            found[name] = value
    return found


def checksum(settings: Json) -> str:
    """SHA-256 of the settings as JavaScript writes them, with keys in the order of their UTF-16 code units."""
    text = json.dumps(_ordered(settings), ensure_ascii=False, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _ordered(value: Any) -> Any:
    match value:
        case dict():
            return {name: _ordered(value[name]) for name in sorted(value, key=lambda name: name.encode("utf-16-be"))}
        case list():
            return [_ordered(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
