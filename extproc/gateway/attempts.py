"""What became of the attempts of one call: told by each attempt to those that come after it, and to admission."""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from extproc.events import Record, ResponseHeaders
from extproc.gateway import record
from extproc.providers.availability import AttemptOutcome
from extproc.providers.prices import DIGITS

TRIES = "attempt.tries"
COMMITTED = "attempt.committed"
"""Set by the attempt whose answer the client gets."""
VERDICT = "attempt.verdict"
"""What the guard of a provider's cluster wants to see: `CLUSTER#NUMBER`."""

Report = Callable[[AttemptOutcome], None]
"""Called with the end of each attempt at a provider."""
Word = Literal["", "ok", "failed", "no_answer", "unreachable"]


class Try(msgspec.Struct, omit_defaults=True):
    """One attempt."""

    provider: str
    started: float = 0.0
    """Unix seconds; 0: it reached no attempt's stage, since there was no connection."""
    seconds: float = 0.0
    """Until it was judged."""
    status: int = 0
    """The provider's; 0: it gave none."""
    word: Word = ""
    """How it ended; empty: it goes on."""
    why: str = ""
    """A short stable code."""
    input_tokens: int = 0
    output_tokens: int = 0
    """Tokens of an attempt that was given up, as far as the provider has named them; the input is all of it."""
    cost: float = 0.0
    """What these tokens cost, in USD; 0 also where that is not known."""

    def __str__(self) -> str:
        tokens = f"{self.input_tokens}+{self.output_tokens} tokens" if self.input_tokens or self.output_tokens else ""
        said = self.why or (self.word if self.word != "ok" and not self.status else "")
        seconds = f"{self.seconds:.2f}s" if self.seconds else ""
        cost = f"{self.cost:.6f} USD" if self.cost else ""
        return " ".join(filter(None, (self.provider, str(self.status or ""), said, seconds, tokens, cost)))


def read(known: Record) -> list[Try]:
    """Returns what earlier attempts have put on record."""
    return msgspec.json.decode(str(known[TRIES]), type=list[Try]) if TRIES in known else []


def fields(tries: Sequence[Try]) -> Record:
    """Returns the fields of the record."""
    sums = {
        record.GIVEN_UP_INPUT: sum(one.input_tokens for one in tries),
        record.GIVEN_UP_OUTPUT: sum(one.output_tokens for one in tries),
        record.GIVEN_UP_COST: round(sum(one.cost for one in tries), DIGITS),
    }
    told: Record = {TRIES: msgspec.json.encode(tries).decode(), record.ATTEMPTS: "; ".join(map(str, tries))}
    return told | {name: value for name, value in sums.items() if value}


def filled(tries: list[Try], order: Sequence[str], number: int, now: float) -> tuple[list[Try], list[str]]:
    """Returns the attempts before the one with this number (from 1), each with an end, and the providers of those whose
    end shows only now. An attempt that has begun and said nothing more has met a timeout or a broken connection; one
    that is missing has met no connection at all. `order`: names of the providers. `now`: Unix seconds."""
    found = tries[: number - 1]
    silent = [one for one in found if not one.word]
    for one in silent:
        one.word, one.seconds = "no_answer", round(max(0.0, now - one.started), 2)
    missing = [Try(name, word="unreachable") for name in order[len(found) : number - 1]]
    return found + missing, [one.provider for one in silent + missing]


def tried(event: ResponseHeaders, order: Sequence[str], now: float) -> tuple[list[Try], list[str]]:
    """Returns all attempts of a call whose answer begins, and the providers of those whose end shows only now. `order`:
    names of its providers."""
    known = read(event.attempts)
    if event.attempts.get(COMMITTED) or event.details == "via_upstream":
        return known, []
    return filled(known, order, max(event.attempts_made, len(known)) + 1, now)
