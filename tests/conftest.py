"""What every test shares: four virtual CPU devices, reproducible examples, and the browser."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# JAX reads this when it starts, so nothing heavy is imported here and a pure Polars test stays quick.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")

CHROMIUM = Path("/usr/bin/chromium")

# The time of an example says nothing on a shared machine. In CI the same examples run each time.
settings.register_profile(
    "lab-kit", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("lab-kit")


@pytest.fixture
def chromium() -> str:
    """The path of the system's Chromium. Without one the test is skipped, except in CI, where it fails."""
    if not CHROMIUM.exists():
        if "CI" in os.environ:
            pytest.fail(f"{CHROMIUM} is missing and CI is set: install it with `apt-get install chromium`.")
        pytest.skip(f"{CHROMIUM} is not installed.")
    return str(CHROMIUM)
