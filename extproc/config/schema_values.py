"""Kinds of values that several sections of `gateway.yaml` share: secrets, URLs, CEL expressions."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, model_validator

from extproc.config.schema_tls import STRICT


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("expected the name of an environment variable")  # not quoted: it may be the secret itself
    return name


class Secret(BaseModel):
    """Where a secret is read from; never the secret itself."""

    model_config = STRICT

    env: Annotated[str, AfterValidator(_variable)] | None = None
    """Name of the environment variable that holds it."""
    file: Path | None = None
    """File that holds it. Blanks and newlines around it do not count."""

    @model_validator(mode="before")
    @classmethod
    def _one_source(cls, value: Any) -> Any:
        named = [name for name in ("env", "file") if name in value] if isinstance(value, Mapping) else []
        if len(named) == 1 and value[named[0]] is not None:
            return value
        raise ValueError("a secret is {env: NAME} or {file: PATH}, never the value itself")


class SecretFile(BaseModel):
    """A secret that is only in a file, which its owner replaces now and then."""

    model_config = STRICT

    file: Path
    """The file."""


_KEY_URL = "expected an HTTPS URL; plain HTTP is for this machine alone (localhost, 127.0.0.1, [::1])"
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


def key_url(url: str) -> str:
    """The URL, if keys may be fetched from it: HTTPS, or HTTP on loopback. Raises ValueError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(_KEY_URL) from None
    host = parts.hostname or ""
    if not host or port == 0 or "@" in parts.netloc or parts.fragment or not url.isascii() or not url.isprintable():
        raise ValueError(_KEY_URL)
    if parts.scheme != "https" and not (parts.scheme == "http" and _LOOPBACK.fullmatch(host)):
        raise ValueError(_KEY_URL)
    return url


KeyUrl = Annotated[str, AfterValidator(key_url)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Expressions = Annotated[list[str], BeforeValidator(_listed)]


_NO_URL = "expected a URL such as https://api.openai.com/v1"


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(_NO_URL) from None  # the error's own text would quote what may be a password
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(_NO_URL)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a base URL has no credential, query or fragment")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a base URL has ASCII characters only, and no blanks")
    return url.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_base_url)]
