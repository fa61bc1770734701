"""A mistake in the configuration, and where it stands in the file."""

Where = tuple[str | int, ...]
"""The keys that lead to a place in `gateway.yaml`, numbers in lists."""


class Fault(Exception):
    """One mistake in the configuration: where it is, and what was expected instead."""

    def __init__(self, where: Where, problem: str) -> None:
        super().__init__(problem)
        self.where = where
        self.problem = problem
