"""What holds for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A change is judged by the same examples each time, however slow the machine is. Others are looked for by
# ``pytest --hypothesis-profile=default``.
settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")
