"""How hypothesis runs here: never against the clock, which on a busy machine fails what is right."""

from hypothesis import HealthCheck, settings

settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")
