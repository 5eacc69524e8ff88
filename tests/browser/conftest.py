"""A real JupyterLab and a real Chromium for the tests of this folder, both cut off from the network.

``lab`` is a server on a free loopback port with an empty home. ``page`` is a browser page that records every request,
refuses and notes those that would leave the machine, and collects the errors of the console; both must be empty when
a test ends. ``open_notebook`` opens a copy of a notebook, so the original stays without outputs.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, TimeoutError

REPOSITORY = Path(__file__).parents[2]
ARTIFACTS = REPOSITORY / "tests" / "artifacts"
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("home")
    folder = tmp_path_factory.mktemp("lab")
    port, token = free_port(), secrets.token_hex(16)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    environment |= {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_TOKEN": token,
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": str(REPOSITORY),
        "LAB_KIT_WORKSPACE": str(home / "workspace"),
    }
    settings = REPOSITORY / "jupyter"
    if settings.exists():
        environment["JUPYTER_CONFIG_PATH"] = str(settings)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"]
    log = home / "jupyter.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=folder)
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, log)
            yield Lab(f"http://127.0.0.1:{port}", token, folder)
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not answer:\n{log.read_text()[-4000:]}")


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
        page = watched.page
        page.goto(f"{lab.url}/lab/tree/{path.name}?reset&token={lab.token}")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        # "Run All" before the kernel is connected is silently dropped, or asks for a kernel: wait until both the
        # notebook and the status bar call it idle, and press again until a cell runs.
        page.locator(".jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
        page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
        for _ in range(5):
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            try:
                page.get_by_text("[*]:").or_(page.get_by_text("[1]:")).first.wait_for(timeout=10_000)
                return page
            except TimeoutError:
                ask = page.get_by_role("button", name="Select", exact=True)
                if ask.is_visible():
                    ask.click()
                    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
        pytest.fail("JupyterLab did not run the notebook.")

    return act
