"""Keys of providers: where they come from, and that nothing shows them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from extproc.config import schema_values
from extproc.config.faults import Fault, Where
from extproc.config.loading import Source

M = TypeVar("M", bound=BaseModel)
_MIN_PATH = 12


class Credential:
    """A provider's key. Only `reveal` shows it; neither `repr` nor an error message does."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Credential(***)"


def _shown(source: Source, file: Path) -> str:
    """`file: "${KEY}"` is easily written for `env: KEY`: what does not look like a path is not quoted."""
    named = file.suffix or len(str(file)) < _MIN_PATH or (len(file.parts) > 1 and source.resolve(file).parent.is_dir())
    return f"the file {file}" if named else "the file of that name"


WITHHELD = "withheld"


def withheld_files(source: Source) -> set[Path]:
    """Files with keys of providers, which a process that makes no calls to models is not given."""
    return {source.resolve(key.file) for key in of_providers(source) if key.file is not None}


def withheld_variables(source: Source) -> dict[str, str]:
    """The same for variables of the environment: what stands in their place."""
    return {key.env: WITHHELD for key in of_providers(source) if key.env is not None}


def of_providers(source: Source) -> Iterator[schema_values.Secret]:
    """Yields where each key of a provider comes from, those of clouds included."""
    for provider in source.config.providers.values():
        if provider.api_key is not None:
            yield provider.api_key
        if provider.auth is not None:
            yield from (secret for _, secret in members(provider.auth, schema_values.Secret))


def members(section: BaseModel, kind: type[M], above: str = "") -> Iterator[tuple[str, M]]:
    """Yields the parts of a section that are of a kind, with their dotted keys."""
    for key in type(section).model_fields:
        match getattr(section, key):
            case BaseModel() as inner if isinstance(inner, kind):
                yield above + key, inner
            case BaseModel() as inner:
                yield from members(inner, kind, f"{above}{key}.")
            case _:
                pass


def load(  # noqa: PLR0913 - the last has a default
    source: Source,
    secret: schema_values.Secret,
    where: Where,
    environ: Mapping[str, str],
    faults: list[Fault],
    *,
    one_line: bool = True,
) -> Credential | None:
    """The secret that the configuration points at. Adds to `faults` where there is none, or none that is usable.
    `one_line`: it is to be the value of a header."""
    if secret.env is not None:
        value, origin = environ.get(secret.env, ""), f"the environment variable {secret.env}"
    else:
        assert secret.file is not None
        try:
            value, origin = source.read(secret.file).decode("utf-8"), f"the file {secret.file}"
        except PermissionError:
            problem = f"{_shown(source, secret.file)} cannot be read by user {os.getuid()}, as whom this runs"
            faults.append(Fault(where, f"{problem}: give it the file (chown) or the right to read it (chmod)"))
            return None
        except (OSError, UnicodeDecodeError):
            faults.append(Fault(where, f"{_shown(source, secret.file)} cannot be read"))
            return None
    value = value.strip()
    if not value:
        faults.append(Fault(where, f"{origin} is not set or empty"))
    elif one_line and not (value.isascii() and value.isprintable()):
        faults.append(Fault(where, f"{origin} holds characters that no header can carry"))
    return Credential(value)
