"""What Prometheus is told, fed from the records of exchanges: what is counted is what is logged.

Workers write to files of one folder; the supervisor (monitor) reads them all and answers scrapes, with what it knows
itself (supervisor/metrics.py). Names, units and buckets are OpenTelemetry's, as Prometheus spells them:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from extproc.config.schema import Config
from extproc.config.schema_records import label_of
from extproc.errors import Reason
from extproc.events import Record
from extproc.gateway import attempts, record

OPERATION, PROVIDER = "gen_ai_operation_name", "gen_ai_provider_name"
REQUEST_MODEL, RESPONSE_MODEL = "gen_ai_request_model", "gen_ai_response_model"
COMMON = (OPERATION, PROVIDER, REQUEST_MODEL, RESPONSE_MODEL)
CLAIMS = "caller_*"
OTHER = "other"
# Values a label may have, and sets of labels altogether, in one process: what is beyond counts as `other`.
MAX_VALUES = 100
MAX_SETS = 1000


class Metric(NamedTuple):
    """One metric; `labels` come before those of the configured claims."""

    name: str
    kind: type[Counter] | type[Gauge] | type[Histogram]
    meaning: str
    labels: tuple[str, ...] = ()
    claims: bool = True
    buckets: tuple[float, ...] = ()


_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
# The last three are ours: an answer may take ten minutes.
_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
             655.36)  # fmt: skip
# The last two are ours: a model may think for a minute before its first word.
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)

# The library adds `_total` to the name of a counter: https://prometheus.github.io/client_python/instrumenting/counter/.
REQUESTS = Metric(
    "extproc_requests", Counter, "Calls by how they ended; `reason` is empty for those that went well.",
    (*COMMON, "reason"),
)  # fmt: skip
TOKENS = Metric(
    "gen_ai_client_token_usage", Histogram,
    "Tokens a call used, as the provider counted them, else estimated. `gen_ai_token_type`: input, output, cache_read, "
    "cache_creation; input holds the two of the cache, so input and output are what was used.",
    (*COMMON, "gen_ai_token_type"), buckets=_TOKENS,
)  # fmt: skip
SPENT = Metric(
    "extproc_cost_usd", Counter,
    "What calls cost, in USD, by the prices of their models, with attempts that were given up.", COMMON,
)  # fmt: skip
UNPRICED = Metric(
    "extproc_unpriced_calls", Counter, "Calls that used tokens of a model without a known price.", COMMON,
)  # fmt: skip
DURATION = Metric(
    "gen_ai_server_request_duration_seconds", Histogram,
    "From a request's headers to the end of its answer. `error_type` is the reason of a call that did not succeed.",
    (*COMMON, "error_type"), buckets=_DURATION,
)  # fmt: skip
TIME_TO_FIRST_TOKEN = Metric(
    "gen_ai_server_time_to_first_token_seconds", Histogram,
    "From a request's headers to the first event of its stream, for streams that ended well.",
    COMMON, buckets=_FIRST,
)  # fmt: skip
PER_TOKEN = Metric(
    "gen_ai_server_time_per_output_token_seconds", Histogram,
    "Between two tokens after the first, on the average of a stream that ended well.",
    COMMON, buckets=_PER_TOKEN,
)  # fmt: skip
WARNINGS = Metric(
    "translation_warnings", Counter, "What was not carried over, or only nearly.", ("action", "field"), claims=False
)
VERDICTS = Metric(
    "extproc_auto_mode_verdicts", Counter,
    "Answers whose calls of tools were judged for the client (`auto_mode`), by the strictest verdict, `allow`, "
    "`unavailable` or `deny`, and by who gave it: `rule`, `judge`, `provider`, `otherwise`.",
    ("outcome", "by"), claims=False,
)  # fmt: skip
ATTEMPTS = Metric(
    "extproc_attempts", Counter,
    "Attempts at providers of models that have several. `outcome`: ok; failed, which moved the call on or was told to "
    "the client; no_answer, a timeout or a broken connection; unreachable, no connection.",
    (PROVIDER, "outcome"), claims=False,
)  # fmt: skip
LEFT_OUT = Metric(
    "extproc_log_left_out", Counter, "Refusals of callers without a credential that were counted and not logged.",
    claims=False,
)  # fmt: skip
IN_FLIGHT = Metric(
    "extproc_streams_in_flight",
    Gauge,
    "Calls that are served at the moment; one that passes through, until the headers of its answer.",
    claims=False,
)
TELEMETRY = Metric(
    "extproc_telemetry_requests", Counter,
    "Telemetry of signed-in clients (`telemetry`), for each collector by what became of it. `result`: sent; "
    "queue_full, failed (the collector is down) and refused (by the collector) are lost; unreadable and no_collector "
    "are counted once.",
    ("signal", "result"), claims=False,
)  # fmt: skip
WITHOUT_KEYS = Metric(
    "extproc_keys_unavailable", Counter, "Calls refused because an issuer's keys could not be fetched.", claims=False
)
LIMITED = Metric(
    "extproc_budget_refusals", Counter,
    "Calls that `budgets` refused. `cause`: exceeded; undecided, since `key` or `when` failed; store_down, and then "
    "`budget` is empty.",
    ("budget", "cause"), claims=False,
)  # fmt: skip
MOVED = Metric(
    "extproc_budget_moved_calls", Counter, "Calls that a budget without room moved to another model.",
    ("budget", "model"), claims=False,
)  # fmt: skip
METRICS = (
    REQUESTS, TOKENS, SPENT, UNPRICED, DURATION, TIME_TO_FIRST_TOKEN, PER_TOKEN, WARNINGS, VERDICTS, ATTEMPTS,
    LEFT_OUT, IN_FLIGHT, WITHOUT_KEYS, LIMITED, MOVED, TELEMETRY,
)  # fmt: skip
"""Those of workers and of the web process; the others are in supervisor/metrics.py."""

_TOKEN_FIELDS = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "cache_creation": "gen_ai.usage.cache_creation.input_tokens",
}
# Operations that a model performs; of the others there is no duration worth a histogram. Only `chat` uses tokens up.
_USES_TOKENS = frozenset({"chat", record.MIRROR})
_OF_A_MODEL = _USES_TOKENS | {"count_tokens"}
_ACTIONS = frozenset({"dropped", "approx", "clamped", "reordered", "emulated"})
KEYS_UNAVAILABLE = "keys_unavailable"
# By reason and error, of which a provider cannot choose the first.
_LIMITED: dict[tuple[str, str], str] = {
    (Reason.BUDGET_EXCEEDED, "budget"): "exceeded",
    (Reason.AUTHORIZATION, "budget_undecided"): "undecided",
    (Reason.OVERLOADED, "budgets_down"): "store_down",
}
_INDEX = re.compile(r"\.\d+(?=\.|$)")


class Values:
    """The values of a label, so many and no more: they are of a stranger's choosing."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = set(known)
        self._room = MAX_VALUES

    def learn(self, value: str) -> str:
        """The value if there is room for it, else OTHER."""
        if value not in self._known and self._room:
            self._room -= 1
            self._known.add(value)
        return self.known(value)

    def known(self, value: str) -> str:
        return value if value in self._known else OTHER


class Metrics:
    """The metrics of one process. In a worker they are kept in files (`monitor`)."""

    def __init__(self, settings: Config, registry: CollectorRegistry | None = None) -> None:
        claims = settings.metrics.claims if settings.metrics is not None else []
        own = tuple(label_of(claim) for claim in claims)
        self._claims = [(f"caller.{claim}", Values([""])) for claim in claims]
        self._asked = Values(["", *(model.name for model in settings.models if "*" not in model.name)])
        self._answered = Values([""])
        self._fields = Values([""])
        self._sets: set[tuple[str, ...]] = set()
        self._requests = Counter(REQUESTS.name, REQUESTS.meaning, (*REQUESTS.labels, *own), registry=registry)
        self._tokens = _histogram(TOKENS, own, registry)
        self._spent, self._unpriced = (
            Counter(metric.name, metric.meaning, (*metric.labels, *own), registry=registry)
            for metric in (SPENT, UNPRICED)
        )
        self._duration = _histogram(DURATION, own, registry)
        self._first = _histogram(TIME_TO_FIRST_TOKEN, own, registry)
        self._per_token = _histogram(PER_TOKEN, own, registry)
        self._warnings = Counter(WARNINGS.name, WARNINGS.meaning, WARNINGS.labels, registry=registry)
        self._verdicts = Counter(VERDICTS.name, VERDICTS.meaning, VERDICTS.labels, registry=registry)
        self._attempts = Counter(ATTEMPTS.name, ATTEMPTS.meaning, ATTEMPTS.labels, registry=registry)
        self._left_out = Counter(LEFT_OUT.name, LEFT_OUT.meaning, registry=registry)
        self._without_keys = Counter(WITHOUT_KEYS.name, WITHOUT_KEYS.meaning, registry=registry)
        self._limited = Counter(LIMITED.name, LIMITED.meaning, LIMITED.labels, registry=registry)
        self._moved = Counter(MOVED.name, MOVED.meaning, MOVED.labels, registry=registry)
        # A worker that is gone serves nothing: `live`.
        self._in_flight = Gauge(IN_FLIGHT.name, IN_FLIGHT.meaning, registry=registry, multiprocess_mode="livesum")

    def begin(self) -> None:
        """A call has come."""
        self._in_flight.inc()

    def end(self, seen: Record, seconds: float) -> None:
        """It is over after so long; `seen` is all that was put on record of it."""
        self._in_flight.dec()
        if not seen:
            return
        if record.LEFT_OUT in seen:
            self._left_out.inc()
        reason, operation = record.reason(seen), str(seen.get(record.OPERATION, ""))
        common, claims = self._labels(operation, seen)
        self._requests.labels(*common, reason, *claims).inc()
        self._admitted(reason, seen)
        if operation in _OF_A_MODEL:
            self._duration.labels(*common, reason, *claims).observe(seconds)
        if operation in _USES_TOKENS:
            self._used(seen, common, claims)
        if not reason and seen.get("gen_ai.request.stream"):
            self._paced(seen, (*common, *claims))
        if outcome := seen.get(record.AUTO_MODE_OUTCOME):
            self._judged(str(outcome), str(seen.get(record.AUTO_MODE_RULE)))
        for one in attempts.read(seen):
            self._attempts.labels(one.provider, one.word or "no_answer").inc()
        for warning in filter(None, str(seen.get("warnings", "")).split(",")):
            self._warned(warning)

    def _labels(self, operation: str, seen: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
        asked, answered = str(seen.get("gen_ai.request.model", "")), str(seen.get("gen_ai.response.model", ""))
        common = (
            operation,
            str(seen.get("gen_ai.provider.name", "")),
            # Where `*` stands in the configuration any name resolves; one that is answered to is a model's.
            self._asked.learn(asked) if answered else self._asked.known(asked),
            self._answered.learn(answered),
        )
        claims = tuple(values.learn(str(seen.get(claim, ""))) for claim, values in self._claims)
        if (*common, *claims) not in self._sets:
            if len(self._sets) >= MAX_SETS:
                return (*common[:2], OTHER, OTHER), (OTHER,) * len(claims)
            self._sets.add((*common, *claims))
        return common, claims

    def _used(self, seen: Record, common: tuple[str, ...], claims: tuple[str, ...]) -> None:
        for kind, name in _TOKEN_FIELDS.items():
            if isinstance(count := seen.get(name), int) and count:
                self._tokens.labels(*common, kind, *claims).observe(count)
        cost, used = seen.get(record.COST), seen.get(_TOKEN_FIELDS["input"])
        if isinstance(cost, int | float):
            self._spent.labels(*common, *claims).inc(cost)
        elif used is not None:
            self._unpriced.labels(*common, *claims).inc()
        if isinstance(given_up := seen.get(record.GIVEN_UP_COST), int | float):
            self._spent.labels(*common, *claims).inc(given_up)

    def _paced(self, seen: Record, labels: tuple[str, ...]) -> None:
        for name, histogram in (
            (record.TIME_TO_FIRST_TOKEN, self._first),
            (record.TIME_PER_OUTPUT_TOKEN, self._per_token),
        ):
            if isinstance(seconds := seen.get(name), int | float):
                histogram.labels(*labels).observe(seconds)

    def _admitted(self, reason: str, seen: Record) -> None:
        """What keys and budgets had to do with it that the call went on, went elsewhere, or was refused."""
        if moved := seen.get(record.MOVED_BY):
            for budget in str(moved).split(", "):
                self._moved.labels(budget, str(seen.get(record.MOVED_TO, ""))).inc()
        kind, _, budget = str(seen.get("error", "")).partition(":")
        if kind == KEYS_UNAVAILABLE:
            self._without_keys.inc()
        elif (cause := _LIMITED.get((reason, kind))) is not None:
            self._limited.labels(budget, cause).inc()

    def _judged(self, outcome: str, by: str) -> None:
        self._verdicts.labels(outcome, "rule" if by.startswith("auto_mode.rules.") else by).inc()

    def _warned(self, warning: str) -> None:
        """Positions are no label: `tools.3.input_schema` counts as `tools.input_schema`, and an id does not count."""
        action, _, path = warning.partition(":")
        field = self._fields.learn(_INDEX.sub("", path)) if action in _ACTIONS else ""
        self._warnings.labels(action, field).inc()


def count_telemetry(signal: str, result: str) -> None:
    """In the process that takes telemetry of clients."""
    _telemetry_requests().labels(signal, result).inc()


@cache
def _telemetry_requests() -> Counter:
    """One for the process: a changed configuration goes on counting."""
    return Counter(TELEMETRY.name, TELEMETRY.meaning, TELEMETRY.labels)


def _histogram(metric: Metric, claims: tuple[str, ...], registry: CollectorRegistry | None) -> Histogram:
    return Histogram(metric.name, metric.meaning, (*metric.labels, *claims), buckets=metric.buckets, registry=registry)
