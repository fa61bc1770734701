"""What the configuration sets in clients' bodies for one model."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Json = dict[str, Any]


class ModelSettings(msgspec.Struct, frozen=True):
    defaults: Json = {}
    """Members that a client which did not name them is given."""
    overrides: Json = {}
    limits: tuple[str, ...] = ()
    """What `max_tokens` of the configuration is to clients; the first where one names none."""

    def for_body(self, sent: Mapping[str, Any]) -> Json:
        """The members that are set in this body."""
        defaults = _spelled(self.defaults, self.limits, sent)
        absent = {name: value for name, value in defaults.items() if name not in sent}
        return absent | _spelled(self.overrides, self.limits, sent)


def _spelled(settings: Json, limits: Sequence[str], sent: Mapping[str, Any]) -> Json:
    if "max_tokens" not in settings:
        return dict(settings)
    names = [name for name in limits if sent.get(name) is not None] or limits[:1]
    others = {name: value for name, value in settings.items() if name != "max_tokens"}
    return {**dict.fromkeys(names, settings["max_tokens"]), **others}
