"""`gateway.yaml` as read, and its faults with file, line and key. No other module reads the file."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from extproc.config import hints, placeholders
from extproc.config.faults import Fault, Where
from extproc.config.files import Files
from extproc.config.schema import Config


class Invalid(Exception):
    """The configuration cannot be used; `str()` lists every fault, one a line."""

    def __init__(self, lines: list[str], rest: "Source | None" = None) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.rest = rest
        """The configuration without its faulty keys, where that is enough to look for faults of another kind."""


class Source:
    """A configuration and where each of its keys stands, so that later faults can be placed too."""

    def __init__(
        self,
        path: Path,
        config: Config,
        lines: dict[Where, int],
        files: Files | None = None,
        ignored: Sequence[Where] = (),
    ) -> None:
        """`ignored`: keys whose faults are not reported, since they are known to be faulty or are placeholders."""
        self.path = path
        self.config = config
        self.files = files or Files()
        self._lines = lines
        self._ignored = ignored

    def replaced(self, config: Config) -> "Source":
        return Source(self.path, config, self._lines, self.files, self._ignored)

    def workers(self, requested: int | None = None) -> int:
        """Returns the number of worker processes: as requested, else as the file says, else one for each core."""
        return requested or self.config.workers or os.cpu_count() or 1

    def resolve(self, path: Path) -> Path:
        """Returns the absolute path of one that is relative to the file, and watches it for changes."""
        resolved = (self.path.parent / path).absolute()
        self.files.note(resolved)
        return resolved

    def read(self, path: Path) -> bytes:
        """The file's content, the same for all who build from this source. Raises OSError."""
        return self.files.read(self.resolve(path))

    def read_keys(self, path: Path, max_stale: float) -> bytes:
        """A file of keys, which may be deleted while the gateway runs. Raises OSError."""
        return self.files.read_keys(self.resolve(path), max_stale)

    def place(self, where: Where) -> str:
        """`gateway.yaml:12`"""
        return f"{self.path}:{_line(self._lines, where)}"

    def explain(self, faults: list[Fault]) -> Invalid:
        reported = [fault for fault in faults if not any(fault.where[: len(key)] == key for key in self._ignored)]
        # A provider's fault is found once for each of its models.
        return Invalid(list(dict.fromkeys(_place(self.path, self._lines, fault) for fault in reported)))


def load(path: Path, environ: Mapping[str, str] | None = None, files: Files | None = None) -> Source:
    """Read and check the file. Raises Invalid with every fault of form at once.
    `files`: holds afterwards what was read, also after a failure."""
    files = files or Files()
    lines: dict[Where, int] = {}
    faults: list[Fault] = []
    value = read(path, files, lines, faults, os.environ if environ is None else environ)
    if not isinstance(value, dict):
        raise Invalid([f"{path}: expected a mapping with the keys {', '.join(Config.model_fields)}"])
    config = _validate(value, faults)
    if config is None or faults:
        raise Invalid([_place(path, lines, fault) for fault in faults], _rest(path, value, faults, lines, files))
    return Source(path, config, lines, files)


def read(path: Path, files: Files, lines: dict[Where, int], faults: list[Fault], environ: Mapping[str, str]) -> Any:
    """A YAML file as plain values; adds to `lines` where each stands, and to `faults`. Raises Invalid."""
    try:
        node = yaml.compose(files.read(path).decode("utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid([f"{path}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}"]) from None
    except yaml.YAMLError as error:
        problem = (getattr(error, "problem", None) or "malformed") + hints.for_yaml(error)
        raise Invalid([f"{path}:{_mark(error)}: not YAML: {problem}"]) from None
    try:
        return _Reader(lines, faults, environ).read(node, ())
    except RecursionError:
        raise Invalid([f"{path}: nested too deeply"]) from None
    except _TooMany:
        raise Invalid([f"{path}: its aliases (`*name`) repeat more than {MAX_REPEATED} values"]) from None


def _rest(path: Path, value: Any, faults: list[Fault], lines: dict[Where, int], files: Files) -> "Source | None":
    """Returns the configuration without its faulty keys, with placeholders for required ones; None if that is no
    configuration either."""
    faulty = [fault.where for fault in faults]
    without = _without(value, faulty)
    made_up = placeholders.fill(without)
    config = _validate(without, [])
    return Source(path, config, lines, files, ignored=[*faulty, *made_up]) if config else None


def _validate(value: Any, faults: list[Fault]) -> Config | None:
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        faults.extend(Fault(_where(e["loc"], value), _problem(dict(e), value)) for e in error.errors(include_url=False))
        return None


def _without(value: Any, where: list[Where]) -> Any:
    """A copy that lacks these keys. Items of lists stay: faults are placed by their numbers."""
    if not where or () in where:
        return value
    below = {key: [path[1:] for path in where if path[0] == key] for key in {path[0] for path in where}}
    if isinstance(value, list):
        return [_without(item, below.get(index, [])) for index, item in enumerate(value)]
    return {key: _without(item, below.get(key, [])) for key, item in value.items() if () not in below.get(key, [])}


def _where(loc: tuple[int | str, ...], value: Any) -> Where:
    """Pydantic's location without the union branches it adds, which are no keys of the file."""
    where: list[str | int] = []
    for at, part in enumerate(loc, 1):
        if isinstance(value, dict):
            if str(part) not in value and at < len(loc):
                continue  # a branch of a union; a missing key would be the last part
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            break
        where.append(part)
    return tuple(where)


def _problem(error: dict[str, Any], value: Any) -> str:
    if error["type"] == "extra_forbidden":
        *above, name = _where(error["loc"], value)
        return "unknown key" + hints.meant(str(name), _keys(above))
    if error["type"] == "missing":
        return "this key is required"
    message: str = error["msg"]
    # Pydantic's prefix for the text of a ValueError.
    return message.removeprefix("Value error, ")


def _keys(where: Sequence[str | int]) -> set[str]:
    """The keys that may stand at a place of the file."""
    here: list[type[BaseModel]] = [Config]
    for part in where:
        fields = [model.model_fields[part] for model in here if part in model.model_fields]
        # What is no field is a place in a list, or a name of the user's own.
        here = [model for field in fields for model in _models_in(field.annotation)] if fields else here
    return {name for model in here for name in model.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _mark(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else 1


def _place(path: Path, lines: Mapping[Where, int], fault: Fault) -> str:
    key = ".".join(map(str, fault.where))
    return f"{path}:{_line(lines, fault.where)}: {key + ': ' if key else ''}{fault.problem}"


def _line(lines: Mapping[Where, int], where: Where) -> int:
    """Returns the line of a key, or of the mapping that it is missing in."""
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


MAX_REPEATED = 100_000
"""Most values that aliases may repeat. A few aliases of aliases can stand for billions of values."""


class _TooMany(Exception):
    """See MAX_REPEATED."""


class _Reader:
    """YAML nodes to plain values: remembers lines, refuses duplicate keys, fills in `${VAR}` and `${VAR:-default}`."""

    def __init__(self, lines: dict[Where, int], faults: list[Fault], environ: Mapping[str, str]) -> None:
        self._lines = lines
        self._faults = faults
        self._environ = environ
        self._scalars = yaml.SafeLoader("")
        self._seen: set[int] = set()
        self._repeated = 0

    def read(self, node: Any, where: Where) -> Any:
        if node is None:
            return None
        self._count(node)
        self._lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return dict(self._members(node, where))
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*where, i)) for i, item in enumerate(node.value)]
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, yaml.YAMLError):
            self._faults.append(Fault(where, "YAML cannot read this value; put it in quotes"))
            return None
        return self._fill_in(value, where) if isinstance(value, str) else value

    def _count(self, node: yaml.Node) -> None:
        self._repeated += id(node) in self._seen  # an alias stands for the very node
        self._seen.add(id(node))
        if self._repeated > MAX_REPEATED:
            raise _TooMany

    def _members(self, node: yaml.MappingNode, where: Where) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = (*where, key)
            self._lines[inner] = key_node.start_mark.line + 1
            # PyYAML keeps the last one, and does not say so.
            if key in seen:
                self._faults.append(Fault(inner, "this key occurs twice"))
            seen.add(key)
            yield key, self.read(value_node, inner)

    def _fill_in(self, text: str, where: Where) -> str:
        def value(match: re.Match[str]) -> str:
            name, default = match.groups()
            if name not in self._environ and default is None:
                self._faults.append(Fault(where, f"the environment variable {name} is not set"))
            return self._environ.get(name, default or "")

        return _VARIABLE.sub(value, text)
