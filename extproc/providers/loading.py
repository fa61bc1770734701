"""Providers and models as the configuration has them, with the faults of what it says."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from extproc.config import hints, schema, schema_providers
from extproc.config.faults import Fault, Where
from extproc.config.loading import Source
from extproc.config.schema_models import Model
from extproc.providers import clouds, credentials, pools, profiles
from extproc.providers.catalogue import OF_A_ROUTE, Catalogue, Rule, pattern_of, profile_of
from extproc.providers.cloud_credentials import SentCredentials
from extproc.providers.profiles import Profile
from extproc.providers.providers import Credential, Provider, cluster
from extproc.wire import Dialect, dialects


def load_catalogue(
    source: Source, environ: Mapping[str, str], sent: SentCredentials | None = None
) -> tuple[Catalogue, dict[str, Provider], list[Fault]]:
    """`sent`: credentials of clouds that the supervisor has fetched."""
    faults: list[Fault] = []
    sent = sent or SentCredentials()
    providers = {name: _provider(source, name, environ, sent, faults) for name in source.config.providers}
    rules, candidates = _rules(source.config, providers, faults)
    faults.extend(_shadowed(rules))
    of_routes, found = _of_routes(source.config, providers)
    faults.extend(found)
    faults.extend(_profile_faults([*rules, *candidates, *of_routes.values()], source.config))
    faults.extend(_preference_faults(source.config))
    if not rules and not of_routes and not faults:
        faults.append(Fault(("models",), "no model can be asked for: add one, or a route with a provider"))
    return Catalogue(rules, of_routes, source.config, candidates), providers, faults


def _rules(
    settings: schema.Config, providers: Mapping[str, Provider], faults: list[Fault]
) -> tuple[list[Rule], list[Rule]]:
    """Returns a rule for each model, and one for each candidate of those that have several."""
    rules: list[Rule] = []
    candidates: list[Rule] = []
    for index, model in enumerate(settings.models):
        where: Where = ("models", index)
        pattern = pattern_of(model.name)
        if model.provider is not None and model.mirror is None:
            if model.provider not in providers:
                faults.append(Fault((*where, "provider"), _no_provider(model.provider, providers)))
                continue
            rules.append(Rule(index, pattern, model, providers[model.provider]))
            continue
        pool = pools.of_model(where, model)
        everyone = [*pool, *([pool.mirror] if pool.mirror is not None else [])]
        unknown = [one for one in everyone if one.provider not in providers]
        faults += [Fault((*one.where, "provider"), _no_provider(one.provider, providers)) for one in unknown]
        if unknown:
            continue
        found = [Rule(index, pattern, one.settings, providers[one.provider], one.number, pool) for one in everyone]
        rules.append(found[0])
        candidates += found
    return rules, candidates


def _of_routes(settings: schema.Config, providers: Mapping[str, Provider]) -> tuple[dict[str, Rule], list[Fault]]:
    """For each provider that a route names, a rule that matches every model."""
    rules: dict[str, Rule] = {}
    faults: list[Fault] = []
    for index, route in enumerate(settings.routes):
        if route.provider is None:
            continue
        if route.provider not in providers:
            faults.append(Fault(("routes", index, "provider"), _no_provider(route.provider, providers)))
            continue
        every = Model(name="*", provider=route.provider)
        rules[route.provider] = Rule(OF_A_ROUTE, pattern_of("*"), every, providers[route.provider])
    return rules, faults


def _no_provider(name: str, providers: Mapping[str, Provider]) -> str:
    return f"no provider is named {name!r}; there are: {', '.join(providers)}"


def _provider(
    source: Source, name: str, environ: Mapping[str, str], sent: SentCredentials, faults: list[Fault]
) -> Provider:
    settings = source.config.providers[name]
    credential = None
    if settings.api_key is not None:
        credential = credentials.load(source, settings.api_key, ("providers", name, "api_key"), environ, faults)
    return Provider(
        name,
        tuple(settings.dialects),
        settings.base_url,
        credential,
        settings.timeouts,
        _key_header(settings, credential),
        settings.prefer,
        clouds.wrappings(settings),
        credentials.cloud_access(source, name, environ, sent, faults),
        settings.prices,
    )


def _key_header(settings: schema_providers.Provider, credential: Credential | None) -> str | None:
    if settings.key_header is not None:
        return settings.key_header
    # Anthropic's OAuth tokens are no API keys: https://platform.claude.com/docs/en/api/overview
    if credential is not None and credential.reveal().startswith("sk-ant-oat"):
        return dialects.AUTHORIZATION
    usual = {dialects.row(name).key_header for name in settings.dialects}
    return usual.pop() if len(usual) == 1 else None


def _shadowed(rules: list[Rule]) -> list[Fault]:
    """Entries that no name can reach, because an earlier pattern matches all that theirs does."""
    faults = []
    for at, rule in enumerate(rules):
        # A `*` of the later pattern stands for any text, so it is covered only by a `*` of the earlier one.
        if (earlier := _first(rules[:at], rule.settings.name)) is not None:
            faults.append(Fault(("models", rule.index, "name"), _never(earlier)))
        for n, alias in enumerate(rule.settings.aliases):
            where: Where = ("models", rule.index, "aliases", n)
            if (earlier := _first(rules[:at], alias)) is not None:
                faults.append(Fault(where, _never(earlier)))
            elif "*" in rule.upstream(alias):
                problem = f"{alias!r} does not fit {rule.settings.name!r}, and `model` does not say what it stands for"
                faults.append(Fault(where, problem))
    return faults


_UNKNOWN_FIELD = re.compile(r"unknown field `(\w+)`")


def _first(rules: list[Rule], name: str) -> Rule | None:
    return next((rule for rule in rules if rule.matches(name)), None)


def _never(earlier: Rule) -> str:
    return f"never reached: {earlier.settings.name!r} (models.{earlier.index}) matches first"


def _preference_faults(settings: schema.Config) -> Iterator[Fault]:
    """Dialects that are preferred where they are not spoken."""
    for name, provider in settings.providers.items():
        yield from _not_spoken(("providers", name), provider.prefer, provider)
    for index, model in enumerate(settings.models):
        if asked := settings.providers.get(model.provider or ""):
            yield from _not_spoken(("models", index), model.prefer, asked)
        for candidate in pools.of_model(("models", index), model):
            if asked := settings.providers.get(candidate.provider):
                yield from _not_spoken(candidate.where, candidate.written.prefer, asked)


def _not_spoken(where: Where, prefer: Sequence[Dialect] | None, provider: schema_providers.Provider) -> Iterator[Fault]:
    for n, name in enumerate(prefer or ()):
        if name not in provider.dialects:
            problem = f"the provider does not speak {name!r}; its dialects: {', '.join(provider.dialects)}"
            yield Fault((*where, "prefer", n), problem)


def _profile_faults(rules: list[Rule], settings: schema.Config) -> list[Fault]:
    found: dict[tuple[Where, str], None] = {}
    for rule in rules:
        own = next((one.where for one in rule.pool or () if one.number == rule.number), ("models", rule.index))
        where: Where = own if rule.settings.profile else ("providers", rule.provider.name)
        try:
            spoken = profile_of(rule, rule.settings.model or rule.settings.name, settings).dialect
            if spoken is not None and spoken not in dialects.names():
                problem = f"no dialect is named {spoken!r}; there are: {', '.join(dialects.names())}"
                found[(*where, "profile"), problem] = None
        except (KeyError, TypeError) as error:
            named = f"is named {error}" if isinstance(error, KeyError) else "has such a name"
            found[(*where, "profile"), f"no profile {named}; there are: {', '.join(profiles.shipped())}"] = None
        except msgspec.ValidationError as error:
            unknown = _UNKNOWN_FIELD.search(str(error))
            hint = hints.meant(unknown[1], Profile.__struct_fields__) if unknown else ""
            found[(*where, "profile"), f"{error}{hint}"] = None
    return [Fault(place, problem) for place, problem in found]


class Destination(msgspec.Struct, frozen=True):
    """A provider as Envoy must know it."""

    source: Source
    name: str
    settings: schema_providers.Provider
    is_candidate: bool = False
    """Some model has it among several providers."""
    is_mirror: bool = False
    """Some model sends it copies of calls."""


def destinations(sources: Sequence[Source]) -> dict[str, Destination]:
    """By cluster, all that some of these configurations send calls to; later settings replace earlier ones."""

    def clusters(named: Callable[[Model], Iterator[str]]) -> set[str]:
        return {
            cluster(name, source.config.providers[name].base_url)
            for source in sources
            for model in source.config.models
            for name in named(model)
        }

    candidates, mirrors = clusters(pools.names), clusters(pools.mirrors)
    return {
        (at := cluster(name, settings.base_url)): Destination(source, name, settings, at in candidates, at in mirrors)
        for source in sources
        for name, settings in source.config.providers.items()
    }
