"""The API for budgets in this process, with the counters of a supervisor that has no processes."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.policy.budgets.limits import account
from extproc.store.counters import Settlement
from extproc.supervisor.budget_commands import carry_out
from extproc.supervisor.budgets import BudgetKeeper
from extproc.transport.control import BudgetAnswer, BudgetCommand
from tests import issuing
from tests.web.site import ADDRESS, Json, Site

CONFIG = """
budgets:
  - {name: person-month, key: jwt.sub, limit: {usd: 100, requests: 50}, per: month}
  - {name: person-day, key: caller.id, limit: {usd: 10}, per: day}
  - {name: team-month, key: jwt.team, limit: {usd: 500}, per: month}
  - {name: everybody, key: '"all"', limit: {usd: 9000}, per: month}
  - {name: rolling, key: jwt.team, limit: {usd: 70}, per: 7d}
admin:
  allow:
    - 'jwt.team == "operators"'
    - 'jwt.team == "auditors" && request.method == "GET"'
    - 'source.address == "192.0.2.99"'
"""


class AdministeredSite(Site):
    def __init__(self, folder: Path, more: str = CONFIG) -> None:
        super().__init__(folder, more=more)
        self.keeper = BudgetKeeper(lambda _: None)
        self.keeper.use(self.gateway.source, {})
        self.commands: list[BudgetCommand] = []
        self.ask_budgets = self._carry_out
        self.restart()

    def _carry_out(self, path: Path, command: BudgetCommand) -> BudgetAnswer:
        assert path == self.gateway.source.path
        self.commands.append(command)
        return asyncio.run(carry_out(command, self.keeper))

    def uses(self, budget: str, key: str, nano_usd: int) -> None:
        """Counts what calls have cost, in billionths of a USD."""
        one = Settlement(account(budget, "usd", key), int(self.now()), 2**33, nano_usd, 0)
        self.run(self.keeper.counters.settle("w", [one]))

    def api(self, method: str, path: str, body: Json | None = None, **claims: Any) -> httpx.Response:
        """As an operator, unless the claims say otherwise."""
        token = issuing.token(issuing.claims(**({"sub": "olga", "team": "operators"} | claims)))
        headers = {"x-extproc-client-address": ADDRESS, "authorization": f"Bearer {token}", "x-request-id": "id-1"}
        if body is not None:
            headers["content-type"] = "application/json"
        content = json.dumps(body) if body is not None else None
        found: httpx.Response = self.run(self.client().request(method, path, content=content, headers=headers))
        return found


@pytest.fixture
def administered(tmp_path: Path) -> Iterator[AdministeredSite]:
    with AdministeredSite(tmp_path) as made:
        yield made
