"""A real JupyterLab and a real Chromium for the tests of this folder, both cut off from the network.

``lab`` is a server on a free loopback port with an empty home. ``page`` is a browser page that records every request,
refuses and notes those that would leave the machine, and collects the errors of the console; both must be empty when
a test ends. ``open_notebook`` opens a copy of a notebook, so the original stays without outputs.
"""

import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from benchmarks import laboratory

REPOSITORY = Path(__file__).parents[2]
ARTIFACTS = REPOSITORY / "tests" / "artifacts"
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


expect.set_options(timeout=20_000)  # a machine that is busy or new answers late


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab.

    Attributes:
      url: with its port, without a final slash.
      token: that it asks for.
      folder: what it shows.
    """

    url: str
    token: str
    folder: Path


@dataclass
class Watched:
    """A page and what happened on it: requests that would leave the machine, and errors of its console."""

    page: Page
    requests: int = 0
    away: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def away(url: str) -> bool:
    """Whether an address is outside this machine."""
    address = urlsplit(url)
    return address.scheme not in ("data", "blob", "about") and address.hostname not in LOOPBACK


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("lab")
    with laboratory.lab(folder, home, home / "workspace") as (url, token):
        yield Lab(url, token, folder)


def no_kernel_is_left(lab: Lab) -> None:
    """Ends the kernels of tests before: a notebook of the same name would get theirs, with their widgets."""

    def ask(method: str, place: str) -> bytes:
        request = urllib.request.Request(f"{lab.url}/api/kernels{place}?token={lab.token}", method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: bytes = answer.read()
        return found

    for kernel in json.loads(ask("GET", "")):
        ask("DELETE", f"/{kernel['id']}")


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    watched = Watched(context.new_page())

    def judge(route: Route) -> None:
        watched.requests += 1
        if away(route.request.url):
            watched.away.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    context.route("**/*", judge)
    page = watched.page
    page.on("console", lambda message: watched.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    # Sockets do not pass through `route`.
    page.on("websocket", lambda socket: watched.away.extend([socket.url] if away(socket.url) else []))
    yield watched
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=ARTIFACTS / "last.png")  # where it ended, for a test that failed
    context.close()
    assert watched.requests > 0
    assert watched.away == []
    assert watched.errors == []


@pytest.fixture
def open_notebook(lab: Lab, watched: Watched) -> Callable[[Path], Page]:
    """Opens a copy of a notebook, waits for its kernel and runs all cells; returns the page at once after that."""

    def act(path: Path) -> Page:
        no_kernel_is_left(lab)
        shutil.copy(path, lab.folder / path.name)
        laboratory.run_all(watched.page, lab.url, lab.token, path.name)
        return watched.page

    return act
