"""A line of the access log as the ledger gets it."""

from typing import Any

LINE: dict[str, Any] = {
    "time": "2026-11-30T10:11:12.345Z",
    "request_id": "req_1",
    "endpoint": "messages",
    "duration": 1234,
    "warnings": "dropped:a,dropped:b",
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "claude",
    "gen_ai.request.model": "best",
    "gen_ai.upstream.model": "claude-sonnet-5",
    "gen_ai.response.model": "claude-sonnet-5-20261001",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
    "gen_ai.usage.cache_read.input_tokens": 400,
    "gen_ai.usage.cache_creation.input_tokens": 0,
    "gen_ai.usage.cost": 0.002680001,
    "gen_ai.usage.cost.currency": "USD",
    "gen_ai.server.time_to_first_token": 0.25,
    "jwt.sub": "ann",
    "jwt.iss": "lab",
    "caller.team": "data",
    "caller.level": 3,
}
