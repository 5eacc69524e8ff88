"""JupyterLab and headless Chromium for a measurement: the real notebook on a page, as a reader has it."""

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


@contextmanager
def lab(folder: Path, workspace: Path) -> Iterator[tuple[str, str]]:
    """A JupyterLab that shows a folder: its address and its token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, home = secrets.token_hex(16), folder / ".home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")} | {
        "HOME": str(home), "JUPYTER_CONFIG_PATH": str(REPOSITORY / "jupyter"), "JUPYTER_TOKEN": token,
        "PYTHONPATH": str(REPOSITORY), "LAB_KIT_WORKSPACE": str(workspace), "IPYTHONDIR": str(home),
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"]
    with (home / "jupyter.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            _wait(f"http://127.0.0.1:{port}/api?token={token}", server)
            yield f"http://127.0.0.1:{port}", token
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait(url: str, server: subprocess.Popen[bytes], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit("JupyterLab did not answer.")


@contextmanager
def opened(notebook: Path, folder: Path, workspace: Path, size: tuple[int, int] = (1280, 800)) -> Iterator[Page]:
    """A page that shows a copy of the notebook, all of its cells asked to run."""
    shutil.copy(notebook, folder / notebook.name)
    with lab(folder, workspace) as (url, token), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_context(viewport={"width": size[0], "height": size[1]}).new_page()
        page.goto(f"{url}/lab/tree/{notebook.name}?reset&token={token}")
        page.locator(".jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
        page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
        for _ in range(5):  # "Run All" before the kernel is connected is silently dropped
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            try:
                page.get_by_text("[*]:").or_(page.get_by_text("[1]:")).first.wait_for(timeout=10_000)
                break
            except TimeoutError:
                continue
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
