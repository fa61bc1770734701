"""For all tests."""

import gc

from hypothesis import HealthCheck, settings

# How fast an example is made or run says something about the machine of the hour, nothing about the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


# The tests themselves stay until the end: no need for the collector to go through thousands of them time and again.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()
