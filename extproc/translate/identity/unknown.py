"""Members of a body that passes as it is, which no rule and nobody here knows (profile key `unknown_members`)."""

from extproc.translate.identity.members import Edit
from extproc.translate.pair import Json, Target
from extproc.translate.want import refused
from extproc.translate.warnings import Warnings
from extproc.wire import Dialect, dialects
from extproc.wire.members import steers

_MAX_NAME = 64
_REFUSED = "Extra inputs are not permitted"


def check_members(edit: Edit, body: Json, dialect: Dialect, to: Target, warnings: Warnings) -> None:
    """Drops or refuses them, as the profile says; those that the configuration sets stay. Raises Refused."""
    known, mode = dialects.row(dialect).members, to.profile.unknown_members
    ours = to.settings.keys() | to.profile.extra.keys()
    unknown = [name for name in body if name not in known and name not in ours]
    for name in unknown:
        # Some servers take `Model` for `model`, and then it is theirs that counts.
        if mode == "refuse" or steers(name, body[name]) or name.casefold() in known:
            raise refused(name[:_MAX_NAME], _REFUSED)
    if not unknown or mode == "pass":
        return
    warnings.unknown({name: body[name] for name in unknown}, frozenset(), "")
    for name in unknown:
        edit.drop(name)
