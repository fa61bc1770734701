"""Who answers: providers, the model names clients may ask for, and the profile of each pair of the two."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from extproc import config, profiles
from extproc.config import Fault, Source, Where
from extproc.profiles import Profile


class Credential:
    """A provider's key. Only `reveal` shows it; neither `repr` nor an error message does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Credential(***)"


class Provider(msgspec.Struct, frozen=True):
    name: str
    dialects: tuple[str, ...]
    base_url: str
    credential: Credential | None

    @property
    def cluster(self) -> str:
        """Envoy's name for it; routes match on it."""
        return f"provider:{self.name}"

    @property
    def authority(self) -> str:
        return urlsplit(self.base_url).netloc

    @property
    def base_path(self) -> str:
        return urlsplit(self.base_url).path


class Resolved(msgspec.Struct, frozen=True):
    """One name a client asked for, resolved."""

    name: str
    upstream: str
    provider: Provider
    profile: Profile
    rule: "Rule"


class Rule(msgspec.Struct, frozen=True):
    """One entry of `models`."""

    index: int
    pattern: re.Pattern[str]
    settings: config.Model
    provider: Provider


class Catalogue:
    """The `models` of the configuration in their order; the first match answers."""

    def __init__(self, rules: list[Rule], settings: config.Config) -> None:
        self.rules = rules
        self._settings = settings
        self.resolve = lru_cache(maxsize=1024)(self._resolve)

    def _resolve(self, name: str) -> Resolved | None:
        rule = next((rule for rule in self.rules if rule.pattern.fullmatch(name)), None)
        if rule is None:
            return None
        upstream = rule.settings.model or name
        return Resolved(name, upstream, rule.provider, profile_of(rule, upstream, self._settings), rule)

    def names(self) -> list[str]:
        """Names that can be listed: those without a wildcard."""
        return [rule.settings.name for rule in self.rules if rule.settings.name and "*" not in rule.settings.name]


def load(source: Source, environ: Mapping[str, str]) -> tuple[Catalogue, dict[str, Provider], list[Fault]]:
    faults: list[Fault] = []
    providers = {name: _provider(source, name, environ, faults) for name in source.config.providers}
    rules = []
    for index, settings in enumerate(source.config.models):
        where: Where = ("models", index)
        if settings.provider not in providers:
            known = ", ".join(providers)
            problem = f"no provider is named {settings.provider!r}; there are: {known}"
            faults.append(Fault((*where, "provider"), problem))
            continue
        rules.append(Rule(index, _pattern(settings.name), settings, providers[settings.provider]))
    faults.extend(_shadowed(rules))
    faults.extend(_profile_faults(rules, source.config))
    return Catalogue(rules, source.config), providers, faults


def profile_of(rule: Rule, upstream: str, settings: config.Config) -> Profile:
    """Later wins: the base profile, `translation`, the provider's keys, the model's keys.
    Raises KeyError for an unknown base, msgspec.ValidationError for an unknown or unfit key."""
    of_provider = _keys(settings.providers[rule.provider.name].profile)
    of_model = _keys(rule.settings.profile)
    base = of_model.pop("base", None) or of_provider.pop("base", None) or _by_name(rule.provider, upstream)
    of_provider.pop("base", None)
    limits = {
        key: value
        for key in ("context_window", "max_output_tokens")
        if (value := getattr(rule.settings, key)) is not None
    }
    changes = {**settings.translation, **of_provider, **of_model, **limits}
    return profiles.with_overrides(profiles.shipped()[base], changes)


def _by_name(provider: Provider, upstream: str) -> str:
    openai = provider.name == "openai" or provider.authority.endswith("openai.com")
    return profiles.for_model(upstream) if openai else "generic"


def _keys(profile: str | dict[str, Any] | None) -> dict[str, Any]:
    if profile is None:
        return {}
    if isinstance(profile, str):
        return {"base": profile}
    keys = dict(profile)
    if "name" in keys:
        keys.setdefault("base", keys.pop("name"))
    return keys


def _provider(source: Source, name: str, environ: Mapping[str, str], faults: list[Fault]) -> Provider:
    settings = source.config.providers[name]
    credential = None
    if settings.api_key is not None:
        credential = _secret(source, settings.api_key, ("providers", name, "api_key"), environ, faults)
    return Provider(name, tuple(settings.dialects), settings.base_url, credential)


def _secret(
    source: Source, secret: config.Secret, where: Where, environ: Mapping[str, str], faults: list[Fault]
) -> Credential | None:
    if secret.env is not None:
        value, origin = environ.get(secret.env, ""), f"the environment variable {secret.env}"
    else:
        assert secret.file is not None
        try:
            value, origin = source.resolve(secret.file).read_text("utf-8"), f"the file {secret.file}"
        except (OSError, UnicodeDecodeError):
            faults.append(Fault(where, f"the file {secret.file} cannot be read"))
            return None
    value = value.strip()
    if not value:
        faults.append(Fault(where, f"{origin} is not set or empty"))
    elif not value.isascii() or not value.isprintable():
        faults.append(Fault(where, f"{origin} holds characters that no header can carry"))
    return Credential(value)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in name.split("*")), re.DOTALL)


def _shadowed(rules: list[Rule]) -> list[Fault]:
    """Entries that no name can reach, because an earlier pattern matches all that theirs does."""
    faults = []
    for at, rule in enumerate(rules):
        # A `*` of the later pattern stands for any text, so it is covered only by a `*` of the earlier one.
        earlier = next((r for r in rules[:at] if r.pattern.fullmatch(rule.settings.name)), None)
        if earlier is not None:
            problem = f"never reached: {earlier.settings.name!r} (models.{earlier.index}) matches first"
            faults.append(Fault(("models", rule.index, "name"), problem))
    return faults


def _profile_faults(rules: list[Rule], settings: config.Config) -> list[Fault]:
    faults = []
    for rule in rules:
        where: Where = ("models", rule.index) if rule.settings.profile else ("providers", rule.provider.name)
        try:
            profile_of(rule, rule.settings.model or rule.settings.name, settings)
        except KeyError as error:
            known = ", ".join(profiles.shipped())
            faults.append(Fault((*where, "profile"), f"no profile is named {error}; there are: {known}"))
        except msgspec.ValidationError as error:
            faults.append(Fault((*where, "profile"), str(error)))
    return faults
