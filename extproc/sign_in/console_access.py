"""Decides who may see everybody's calls in the console: people whose claims fit a rule, and whoever opens a link that
the machine itself has printed. No clock and no socket."""

import base64
import hmac
import secrets
from collections.abc import Mapping

from extproc.config.faults import Fault
from extproc.config.loading import Source
from extproc.policy.authorization import variables
from extproc.policy.authorization.cel import Part, Rule
from extproc.sign_in.configuration import holds

KEY_VARIABLE = "EXTPROC_CONSOLE_KEY"
"""The variable in which the supervisor gives the web process the key that links are made with."""
LINK_PATH = "/console/open"
LINK_SECONDS = 3600
"""A link counts for so long, and once."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_ONLY_CLAIMS = "only `jwt`, the claims of a signed-in person, is known here"
_NOBODY = "nobody could open it: it needs `sign_in`, or `listen.address` on loopback for the link of `extproc up`"


def faults(source: Source) -> list[Fault]:
    """Returns the mistakes in `console`."""
    found: list[Fault] = []
    load(source, found)
    return found


def load(source: Source, faults: list[Fault]) -> list[Rule]:
    """Returns the rules of `console.allow`. Adds to `faults`."""
    settings = source.config.console
    if settings is None:
        return []
    if source.config.sign_in is None and source.config.listen.address not in LOOPBACK:
        faults.append(Fault(("console",), _NOBODY))
    rules = []
    for index, text in enumerate(settings.allow):
        where = ("console", "allow", index)
        rule = variables.compile_rule(text, where)
        if isinstance(rule, Fault):
            faults.append(rule)
            continue
        if rule.reads - {Part.CALLER} or "caller." in text:
            faults.append(Fault(where, _ONLY_CLAIMS))
        rules.append(rule)
    return rules


def allows(rules: list[Rule], claims: Mapping[str, object]) -> bool:
    """Whether one of the rules holds; without rules nobody is allowed."""
    return any(holds(rule, dict(claims)) for rule in rules)


def new_link(source: Source, now: float) -> tuple[str, dict[str, str]]:
    """Returns a link for the person at this machine, and for the web process's environment what it checks it with;
    nothing where there is no console, or others than this machine reach the listener. `now`: Unix seconds."""
    listen = source.config.listen
    if source.config.console is None or listen.address not in LOOPBACK:
        return "", {}
    key = secrets.token_urlsafe(32)
    host = f"[{listen.address}]" if ":" in listen.address else listen.address
    base = f"http{'s' if listen.tls else ''}://{host}:{listen.port}"
    return f"{base}{LINK_PATH}?key={ConsoleLinks(key).make(now)}", {KEY_VARIABLE: key}


class ConsoleLinks:
    """Links that open the console once, made by the supervisor and checked by the web process with the same key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def make(self, now: float) -> str:
        """Returns the link's secret part. `now`: Unix seconds."""
        text = f"{int(now) + LINK_SECONDS}.{secrets.token_urlsafe(18)}"
        return f"{text}.{self._tag(text)}"

    def seconds_left(self, given: str, now: float) -> float:
        """Returns for how many seconds the link still counts; 0 where it never did."""
        text, _, tag = given.rpartition(".")
        until = text.partition(".")[0]
        # As bytes: strings must be ASCII there, or it raises TypeError.
        if not hmac.compare_digest(tag.encode(), self._tag(text).encode()):
            return 0
        return max(0, int(until) - now)

    def _tag(self, text: str) -> str:
        digest = hmac.digest(self._key, text.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
