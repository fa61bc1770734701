"""For all tests."""

from hypothesis import HealthCheck, settings

# How fast an example is made or run says something about the machine of the hour, nothing about the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
