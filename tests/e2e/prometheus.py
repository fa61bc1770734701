"""Scrapes as Prometheus does, and adds up."""

import time
from collections import Counter
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.stack import SECONDS


class Scrape:
    def __init__(self, url: str) -> None:
        self.text = httpx.get(url, timeout=SECONDS, verify=False).raise_for_status().text
        families = text_string_to_metric_families(self.text)
        self.samples = [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series with these labels."""
        fitting = [s for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(sample.value for sample in fitting)

    def by(self, name: str, label: str) -> dict[str, int]:
        found: Counter[str] = Counter()
        for sample in self.samples:
            if sample.name == name:
                found[sample.labels.get(label, "")] += int(sample.value)
        return dict(found)

    def values(self, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if label in sample.labels}


def scraped(url: str, until: Callable[[Scrape], bool]) -> Scrape:
    """The first scrape of which that is true: a call is counted a moment after its answer has ended."""
    deadline = time.monotonic() + SECONDS
    while not until(found := Scrape(url)):
        assert time.monotonic() < deadline, found.text
        time.sleep(0.02)
    return found
