"""Demo models that `extproc up` starts in the place of providers whose key is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from extproc.config import loading, schema, schema_providers


@dataclass(frozen=True)
class Demo:
    """`url` is not the variable that clients read: that one may point at this gateway."""

    key: str
    url: str
    module: str


@dataclass(frozen=True)
class StandIn:
    demo: Demo
    providers: tuple[str, ...]
    """Names of the providers that it replaces."""


DEMOS = (
    Demo("OPENAI_API_KEY", "OPENAI_UPSTREAM_URL", "extproc.demo.model"),
    Demo("ANTHROPIC_API_KEY", "ANTHROPIC_UPSTREAM_URL", "extproc.demo.claude_model"),
)


def stand_ins(path: Path, environ: Mapping[str, str]) -> list[StandIn]:
    """Returns the demo models to start: none if a key that the configuration names is set, or if it cannot be read.

    A demo model answers for every provider whose URL is taken from its variable. So it is started only if exactly
    these providers take their key from its variable, too: it must not receive the key of another provider, and no
    other provider must receive its key.
    """
    places = {demo.url: f"http://demo-{number}.invalid" for number, demo in enumerate(DEMOS)}
    try:
        settings = loading.load(path, {**environ, **places}).config
    except loading.Invalid:
        return []
    followers = [(demo, _followers(settings, demo, places[demo.url])) for demo in DEMOS]
    found = [StandIn(demo, names) for demo, names in followers if names]
    return [] if any(environ.get(one.demo.key) for one in found) else found


def _followers(settings: schema.Config, demo: Demo, place: str) -> tuple[str, ...]:
    follow = {name for name, provider in settings.providers.items() if provider.base_url.startswith(place)}
    use_key = {name for name, provider in settings.providers.items() if _key_of(provider) == demo.key}
    return tuple(sorted(follow)) if follow == use_key else ()


def _key_of(provider: schema_providers.Provider) -> str | None:
    return provider.api_key.env if provider.api_key is not None else None
