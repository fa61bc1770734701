"""The names that clients may ask for: which provider serves a model, under which name and with which profile."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit
from weakref import proxy

import msgspec

from extproc.config import schema
from extproc.config.schema_models import Model
from extproc.providers import profiles
from extproc.providers.model_settings import ModelSettings
from extproc.providers.pools import Pool
from extproc.providers.profiles import Profile
from extproc.providers.providers import Provider
from extproc.wire import Dialect, dialects


class Resolved(msgspec.Struct, frozen=True):
    """One name a client asked for, resolved."""

    name: str
    """As the configuration has it; managed settings may have given the client another one."""
    upstream: str
    provider: Provider
    profile: Profile
    rule: "Rule"

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """What can be spoken about this model, the preferred first: as the profile says, then as `prefer` does."""
        listed = self.rule.dialects
        return tuple(dict.fromkeys((self.profile.dialect, *listed) if self.profile.dialect else listed))

    def configured(self, dialect: Dialect, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Members that the configuration sets in a client's body: defaults it did not name, and overrides."""
        rule = self.rule.settings
        return self.settings(dialect).for_body(sent) if rule.defaults or rule.overrides else {}

    def settings(self, dialect: Dialect) -> ModelSettings:
        return ModelSettings(self.rule.settings.defaults, self.rule.settings.overrides, self._limits(dialect))

    def _limits(self, dialect: Dialect) -> tuple[str, ...]:
        """Where a dialect has several names for it, the one that the provider knows comes first."""
        known = self.profile.max_tokens_field
        return tuple(sorted(dialects.row(dialect).limits, key=lambda name: name != known))


OF_A_ROUTE = -1
CLIENTS_OWN = "client"


class Rule(msgspec.Struct, frozen=True):
    """One entry of `models`, or what a route's provider stands for."""

    index: int
    pattern: re.Pattern[str]
    settings: Model
    provider: Provider
    number: int = 0
    """The candidate's number, where the model has several; 0: it has one provider."""
    pool: Pool | None = None
    """All candidates, where the model has several. The rule itself is that of the first."""

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """The provider's: first as `prefer` says, the rest in the default's order."""
        spoken = self.provider.dialects
        order = (*(self.settings.prefer or self.provider.prefer or ()), *dialects.PREFERENCE, *spoken)
        return tuple(dict.fromkeys(name for name in order if name in spoken))

    def matches(self, name: str) -> bool:
        return self.pattern.fullmatch(name) is not None or name in self.settings.aliases

    def upstream(self, name: str) -> str:
        """What the provider calls the model that the client knows by a name which matches."""
        return self.settings.model or (name if self.pattern.fullmatch(name) else self.settings.name)

    def names(self) -> list[str]:
        """Names that can be listed."""
        own = [self.settings.name] if self.settings.name and "*" not in self.settings.name else []
        return [*own, *self.settings.aliases]


MAX_MODEL_NAME = 256
_CLAUDE = "claude"


def published_name(name: str) -> str:
    """A model's name in managed settings: Claude Code puts `claude-` before any other name, whoever set it."""
    return name if name.startswith(_CLAUDE) else f"{_CLAUDE}-{name}"


class Catalogue:
    """The `models` of the configuration in their order; the first match answers."""

    def __init__(
        self,
        rules: list[Rule],
        of_routes: Mapping[str, Rule],
        settings: schema.Config,
        candidates: Sequence[Rule] = (),
    ) -> None:
        """`candidates`: those of all models that have several."""
        self.rules = rules
        self._candidates = {(rule.index, rule.number): rule for rule in candidates}
        self._of_routes = of_routes
        self._settings = settings
        published = {published_name(name): name for name in self.names()} if settings.managed_settings else {}
        self._published = {name: model for name, model in published.items() if name not in self.names()}
        """Names that managed settings give to models, and their own."""
        # A cache that refers to its owner would keep an old configuration, provider keys included, until the collector
        # looks.
        self._known = lru_cache(maxsize=1024)(partial(Catalogue._resolve, proxy(self)))
        self._of_pools = lru_cache(maxsize=1024)(partial(Catalogue._resolve_candidate, proxy(self)))

    def resolve(self, name: str, provider: str | None = None, dialect: Dialect | None = None) -> Resolved | None:
        """`provider`: the route's, which answers where no rule does. `dialect`: the client's. Longer names are no
        model's; kept by the thousand they would fill the memory."""
        return self._known(name, provider, dialect) if len(name) <= MAX_MODEL_NAME else None

    def _resolve(self, name: str, provider: str | None, dialect: Dialect | None) -> Resolved | None:
        name = self._published.get(name, name)
        rule = next((rule for rule in self.rules if rule.matches(name)), self._of_routes.get(provider or ""))
        if rule is None:
            return None
        upstream = rule.upstream(name)
        return Resolved(name, upstream, rule.provider, profile_of(rule, upstream, self._settings, dialect), rule)

    def first_known(self, names: Sequence[str]) -> str | None:
        """Returns, of several names for one model, the first that fits the first entry which any of them fits; None
        where none fits any."""
        known = [name for name in names if len(name) <= MAX_MODEL_NAME]
        fitting = (name for rule in self.rules for name in known if rule.matches(self._published.get(name, name)))
        return next(fitting, None)

    def candidate(self, name: str, index: int, number: int, dialect: Dialect | None = None) -> Resolved:
        """Returns one of several candidates. `name`: the model's, as resolved; `index`: in `models`; `number`: the
        candidate's. Raises KeyError."""
        return self._of_pools(name, index, number, dialect)

    @property
    def every_rule(self) -> list[Rule]:
        """Those of models with one provider, and those of all candidates."""
        return [*(rule for rule in self.rules if rule.pool is None), *self._candidates.values()]

    @property
    def has_pools(self) -> bool:
        """Some model has several providers."""
        return bool(self._candidates)

    def candidates(self, resolved: Resolved) -> tuple[Resolved, ...]:
        """Returns all that may serve a model."""
        rule = resolved.rule
        if rule.pool is None:
            return (resolved,)
        return tuple(self.candidate(resolved.name, rule.index, one.number) for one in rule.pool)

    def _resolve_candidate(self, name: str, index: int, number: int, dialect: Dialect | None) -> Resolved:
        rule = self._candidates[index, number]
        upstream = rule.upstream(name)
        return Resolved(name, upstream, rule.provider, profile_of(rule, upstream, self._settings, dialect), rule)

    def names(self) -> list[str]:
        """Names that can be listed: those without a wildcard, and aliases."""
        return list(dict.fromkeys(name for rule in self.rules for name in rule.names()))


def profile_of(rule: Rule, upstream: str, settings: schema.Config, client: Dialect | None = None) -> Profile:
    """Later wins: the base profile, `translation`, the provider's keys, the model's keys. `client`: its dialect.
    Raises KeyError for an unknown base, msgspec.ValidationError for an unknown or unfit key."""
    of_provider = profiles.profile_keys(settings.providers[rule.provider.name].profile)
    of_model = profiles.profile_keys(rule.settings.profile)
    chosen = of_model.pop("base", None) or of_provider.pop("base", None)
    of_provider.pop("base", None)
    asked = settings.providers[rule.provider.name]
    base = chosen or _by_name(rule, upstream, client, asked.cloud)
    own = profiles.of_model(upstream, profiles.shipped()[base])
    # Here deltas are padded unless this is off, and other servers may refuse the member:
    # https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options
    if (urlsplit(rule.provider.base_url).hostname or "").endswith("api.openai.com"):
        own["stream_obfuscation_off"] = True
    limits = {
        key: value
        for key in ("context_window", "max_output_tokens")
        if (value := getattr(rule.settings, key)) is not None
    }
    of_cloud = profiles.of_cloud(asked.cloud, _spoken(rule, client))
    changes = {
        **own,
        **_version(asked.version),
        **of_cloud,
        **settings.translation,
        **of_provider,
        **of_model,
        **limits,
    }
    return profiles.with_overrides(profiles.shipped()[base], changes)


def _version(version: str) -> dict[str, str]:
    if version == CLIENTS_OWN:
        return {"version_from": "client", "anthropic_version": Profile().anthropic_version}
    return {"version_from": "profile", "anthropic_version": version}


def _by_name(rule: Rule, upstream: str, client: Dialect | None, cloud: str | None) -> str:
    """Name of the profile that suits the model where none is named: it depends on the dialect it is asked in."""
    provider = rule.provider
    openai = provider.name == "openai" or provider.authority.endswith(".openai.com") or cloud == "azure-openai"
    return profiles.by_name(upstream, _spoken(rule, client), openai=openai)


def _spoken(rule: Rule, client: Dialect | None) -> Dialect:
    return client if client is not None and client in rule.provider.dialects else rule.dialects[0]


def pattern_of(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in name.split("*")), re.DOTALL)
