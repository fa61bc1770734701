"""Values in the place of required keys that are missing or faulty: the rest of a configuration can be checked then."""

from typing import Any

from extproc.config.faults import Where
from extproc.wire import dialects


def fill(config: dict[str, Any]) -> list[Where]:
    """Adds what must be there; returns where it stands."""
    found: list[Where] = []
    _default(config, (), found, authentication={})
    authentication = _mapping(config["authentication"])
    for index, issuer in enumerate(_list(authentication.get("jwt"))):
        where: Where = ("authentication", "jwt", index)
        inline: dict[str, Any] = {"inline": {"keys": []}}
        _default(issuer, where, found, issuer=f"placeholder-{index}", audiences=["placeholder"], jwks=inline)
    _default(config, (), found, providers={name: {} for name in _named(config) or ["placeholder"]})
    for name, provider in _mapping(config["providers"]).items():
        _default(provider, ("providers", name), found, dialects=[dialects.DEFAULT], base_url="http://placeholder")
    anyone = next(iter(_mapping(config["providers"])), "placeholder")
    for index, model in enumerate(_list(config.get("models"))):
        _default(model, ("models", index), found, name=f"placeholder-{index}", provider=anyone)
    for index, route in enumerate(_list(config.get("routes"))):
        _default(route, ("routes", index), found, path=f"/placeholder-{index}", serve=dialects.DEFAULT)
    _default(
        config.get("sign_in"),
        ("sign_in",),
        found,
        public_url="https://placeholder.invalid",
        issuer="https://placeholder-issuer.invalid",
        client_id="placeholder",
    )
    for index, row in enumerate(_list(_mapping(config.get("sign_in")).get("exchange"))):
        where = ("sign_in", "exchange", index)
        _default(row, where, found, issuer=f"https://placeholder-{index}.invalid", audiences=["placeholder"])
    for index, row in enumerate(_list(config.get("managed_settings"))):
        _default(row, ("managed_settings", index), found, settings={})
    for key in ("metrics", "health"):
        _default(config.get(key), (key,), found, port=1)
    return found


def _default(value: Any, where: Where, found: list[Where], **wanted: Any) -> None:
    for name, placeholder in wanted.items():
        if isinstance(value, dict) and name not in value:
            value[name] = placeholder
            found.append((*where, name))


def _named(config: dict[str, Any]) -> list[str]:
    """Providers that are spoken of."""
    entries = [*_list(config.get("models")), *_list(config.get("routes"))]
    return [name for entry in entries if isinstance(name := _mapping(entry).get("provider"), str)]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
