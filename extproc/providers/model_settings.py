"""The members that the configuration sets in requests for one model."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

Json = dict[str, Any]


class ModelSettings(msgspec.Struct, frozen=True):
    defaults: Json = {}
    """Members that are set where the client has not set them."""
    overrides: Json = {}
    limits: tuple[str, ...] = ()
    """The dialect's names for `max_tokens`; the first is used if the client names none."""

    def for_body(self, sent: Mapping[str, Any]) -> Json:
        """Returns the members to set in this body."""
        defaults = _spelled(self.defaults, self.limits, sent)
        absent = {name: value for name, value in defaults.items() if name not in sent}
        return absent | _spelled(self.overrides, self.limits, sent)


def _spelled(settings: Json, limits: Sequence[str], sent: Mapping[str, Any]) -> Json:
    if "max_tokens" not in settings:
        return dict(settings)
    names = [name for name in limits if sent.get(name) is not None] or limits[:1]
    others = {name: value for name, value in settings.items() if name != "max_tokens"}
    return {**dict.fromkeys(names, settings["max_tokens"]), **others}
