"""What every test shares: four virtual CPU devices, reproducible examples, and the browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# JAX reads this when it starts, so nothing heavy is imported here and a pure Polars test stays quick.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

# The time of an example says nothing on a shared machine. In CI the same examples run each time.
settings.register_profile(
    "lab-kit", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("lab-kit")


@pytest.fixture
def one_step_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each compiled call of training is one step, so that there is a record of each."""
    from lab_kit import train

    monkeypatch.setattr(train, "SECONDS_PER_CALL", 0)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """The system's Chromium, headless. Without it a test is skipped, except in CI, where it fails."""
    if not CHROMIUM.exists():
        if "CI" in os.environ:
            pytest.fail(f"{CHROMIUM} is missing and CI is set: install it with `apt-get install chromium`.")
        pytest.skip(f"{CHROMIUM} is not installed.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield started
        started.close()
