"""The providers of a model that has several: in which order they may be asked, and what is said of each.

Pure: what the configuration says, and a fair draw by weight that needs no random numbers.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence

import msgspec

from extproc.config.faults import Where
from extproc.config.schema_models import Candidate as Written
from extproc.config.schema_models import Failover, Mirror, Model
from extproc.providers.profiles import profile_keys

_OWN = ("model", "prefer", "profile", "context_window", "max_output_tokens")


class Candidate(msgspec.Struct, frozen=True):
    """A provider and a name of its own that may serve a model."""

    number: int
    """Its own among those of the model, from 1."""
    where: Where
    """Its place in `gateway.yaml`."""
    written: Written | Mirror
    settings: Model
    """The model as if this were its only provider."""

    @property
    def provider(self) -> str:
        return self.written.provider


Draw = tuple[Candidate, ...]
"""One entry of a list: the candidates among which is drawn by weight."""


class Pool(msgspec.Struct, frozen=True):
    """All candidates of a model."""

    lists: tuple[tuple[Draw, ...], ...]
    """First the model's own `providers`, then those of each entry of `choose`."""
    conditions: tuple[str, ...]
    """CEL expressions: when each of the further lists is used."""
    failover: Failover
    sticky: str | None
    mirror: Candidate | None = None
    """Gets a copy of some calls."""

    def is_mirrored(self, request_id: str) -> bool:
        """Whether a copy of this call is sent."""
        if self.mirror is None or not isinstance(self.mirror.written, Mirror):
            return False
        return _drawn(request_id, "mirror") <= self.mirror.written.share

    def places(self, index: int) -> list[Where]:
        """Returns the place of each of the conditions in `gateway.yaml`. `index`: the model's in `models`."""
        return [("models", index, "choose", n, "when") for n in range(len(self.conditions))]

    def __iter__(self) -> Iterator[Candidate]:
        return (candidate for entries in self.lists for draw in entries for candidate in draw)


def of_model(where: Where, model: Model) -> Pool:
    """`where`: the model's place in `gateway.yaml`."""
    count = 0
    lists = []
    for place, entries in model.lists:
        draws = []
        for n, entry in enumerate(entries):
            listed = entry if isinstance(entry, list) else [entry]
            draw = []
            for k, written in enumerate(listed):
                count += 1
                at: Where = (*where, *place, *([n] if place else []), *([k] if isinstance(entry, list) else []))
                draw.append(Candidate(count, at, written, _alone(model, written)))
            draws.append(tuple(draw))
        lists.append(tuple(draws))
    mirror = None
    if model.mirror is not None:
        mirror = Candidate(count + 1, (*where, "mirror"), model.mirror, _alone(model, model.mirror))
    return Pool(tuple(lists), tuple(choice.when for choice in model.choose), model.failover, model.sticky, mirror)


def names(model: Model) -> Iterator[str]:
    """Returns the providers among which a call to the model moves on."""
    for _, entries in model.lists:
        for entry in entries:
            yield from (one.provider for one in (entry if isinstance(entry, list) else [entry]))


def mirrors(model: Model) -> Iterator[str]:
    """Returns the provider that gets copies of the model's calls, if there is one."""
    if model.mirror is not None:
        yield model.mirror.provider


def _alone(model: Model, candidate: Written | Mirror) -> Model:
    own = {name: value for name in _OWN if (value := getattr(candidate, name)) is not None}
    if model.profile is not None and candidate.profile is not None:
        own["profile"] = {**profile_keys(model.profile), **profile_keys(candidate.profile)}
    return model.model_copy(
        update={
            **own,
            "provider": candidate.provider,
            "providers": None,
            "choose": [],
            "mirror": None,
            "defaults": {**model.defaults, **candidate.defaults},
            "overrides": {**model.overrides, **candidate.overrides},
        }
    )


def order(entries: Sequence[Draw], seed: str) -> list[Candidate]:
    """Returns all candidates in the order in which they are to be asked. `seed`: equal ones give equal orders.

    Each list is drawn by weight without replacement: Efraimidis and Spirakis, 2006,
    https://doi.org/10.1016/j.ipl.2005.11.003. A candidate's own number comes from the seed and its name, so one that
    joins or leaves moves no call between the others (rendezvous hashing)."""
    found: list[Candidate] = []
    for draw in entries:
        found += sorted(draw, key=lambda one: _rank(seed, one)) if len(draw) > 1 else draw
    return found


def _rank(seed: str, candidate: Candidate) -> float:
    weight = candidate.written.weight if isinstance(candidate.written, Written) else 1
    return -math.log(_drawn(seed, candidate.provider, candidate.settings.model or "")) / weight


def _drawn(*texts: str) -> float:
    """Returns a number above 0 and up to 1 that depends on nothing but the texts."""
    hashed = hashlib.blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=7).digest()
    return (int.from_bytes(hashed, "big") + 1) / 2**56
