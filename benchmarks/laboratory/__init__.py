"""JupyterLab and headless Chromium, for measurements and for tests: the real notebook on a page, as a reader has it."""

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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, TimeoutError, sync_playwright

REPOSITORY = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def lab(folder: Path, home: Path, workspace: Path) -> Iterator[tuple[str, str]]:
    """A JupyterLab that shows a folder, on a free loopback port and with an empty home: its address and its token.

    Raises:
      RuntimeError: it does not answer; with the end of what it said.
    """
    port, token = free_port(), secrets.token_hex(16)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")} | {
        "HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"), "IPYTHONDIR": str(home / "ipython"), "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_PATH": str(REPOSITORY / "jupyter"), "PYTHONPATH": str(REPOSITORY),
        "LAB_KIT_WORKSPACE": str(workspace),
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"]
    log = home / "jupyter.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out, cwd=folder)
        try:
            if not _answers(f"http://127.0.0.1:{port}/api?token={token}", server):
                raise RuntimeError(f"JupyterLab did not answer:\n{log.read_text()[-4000:]}")
            yield f"http://127.0.0.1:{port}", token
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _answers(url: str, server: subprocess.Popen[bytes], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def run_all(page: Page, url: str, token: str, notebook: str) -> None:
    """Opens a notebook, waits for its kernel and has all cells run; returns at once after that.

    Raises:
      RuntimeError: no cell runs.
    """
    page.goto(f"{url}/lab/tree/{notebook}?reset&token={token}")
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
            return
        except TimeoutError:
            ask = page.get_by_role("button", name="Select", exact=True)
            if ask.is_visible():
                ask.click()
                page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
    raise RuntimeError("JupyterLab did not run the notebook.")


@contextmanager
def opened(notebook: Path, folder: Path, workspace: Path, size: tuple[int, int] = (1280, 800)) -> Iterator[Page]:
    """A page that shows a copy of the notebook, all of its cells asked to run."""
    shutil.copy(notebook, folder / notebook.name)
    home = folder / ".home"
    home.mkdir()
    with lab(folder, home, workspace) as (url, token), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_context(viewport={"width": size[0], "height": size[1]}).new_page()
        run_all(page, url, token, notebook.name)
        yield page
        browser.close()


def timed(path: str, fit):
    """A ``fit`` whose records are noted with the time of day, and written to a file when it ends."""

    def act(*given, **named):
        noted = []
        try:
            for record in fit(*given, **named):
                noted.append((record.epoch, time.time()))
                yield record
        finally:
            Path(path).write_text(json.dumps(noted))

    return act
