"""The app: notebooks without code, in several windows that do not disturb one another, without the network."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.laboratory import free_port

from .conftest import ARTIFACTS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, place = free_port(), tmp_path_factory.mktemp("app")
    environment = os.environ | {"LAB_KIT_WORKSPACE": str(place / "workspace"), "HOME": str(place)}
    command = [sys.executable, "-m", "lab_kit", "app", "--no-browser", "--port", str(port)]
    with (place / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    limit = time.monotonic() + 90
    while "is running at" not in (place / "log").read_text():
        assert server.poll() is None, (place / "log").read_text()
        assert time.monotonic() < limit, (place / "log").read_text()
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(30)


def opened(browser: Browser, url: str, outside: list[str]) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    here = re.match(r"http://[^/]+", url).group()
    page.on(
        "request",
        lambda request: outside.append(request.url) if not request.url.startswith((here, "data:", "blob:")) else None,
    )
    page.goto(url, wait_until="commit", timeout=120_000)
    return page


def test_the_list_of_notebooks_calls_nothing_outside(browser: Browser, address: str) -> None:
    outside: list[str] = []
    page = opened(browser, address, outside)
    expect(page.locator("a", has_text=".ipynb").first).to_be_visible(timeout=60_000)
    names = [link.inner_text() for link in page.locator("a", has_text=".ipynb").all()]
    assert names == [path.name for path in sorted(Path("notebooks").glob("[0-9]*.ipynb"))]
    assert outside == []
    page.context.close()


def momentum(page: Page) -> Locator:
    """The racer: the box to tick, its line, and the loss at its end."""
    return page.locator(".lab-row").filter(has=page.get_by_role("checkbox", name="Momentum", exact=True))


def test_two_visitors_race_on_their_own(browser: Browser, address: str) -> None:
    outside: list[str] = []
    first, second = (opened(browser, f"{address}/voila/render/03_learn.ipynb", outside) for _ in range(2))
    for page in (first, second):
        expect(page.get_by_text("Learning rate").first).to_be_visible(timeout=120_000)
        expect(momentum(page)).to_have_text(re.compile(r"Momentum\s*[\d.]+(e-\d+)?$"), timeout=60_000)
    assert first.locator("pre", has_text="import numpy").count() == 0, "no code is shown"
    unmoved = momentum(second).inner_text()
    assert momentum(first).inner_text() == unmoved
    handle = first.get_by_role("slider").first
    handle.focus()
    for _ in range(8):
        first.keyboard.press("ArrowRight")
    expect(momentum(first)).not_to_have_text(unmoved, use_inner_text=True, timeout=20_000)
    assert momentum(second).inner_text() == unmoved, "the other visitor's race is as it was"
    for size in ((1280, 800), (1920, 1080)):
        first.set_viewport_size({"width": size[0], "height": size[1]})
        first.wait_for_timeout(500)
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        first.screenshot(path=ARTIFACTS / f"app_race_{size[0]}x{size[1]}.png")
    assert outside == []
    for page in (first, second):
        page.context.close()
