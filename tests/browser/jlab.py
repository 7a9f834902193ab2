"""JupyterLab and Chromium, driven together.

Start both with `lab()` and `chromium()` (or the fixtures `lab_server` and `page` of conftest.py), write a
notebook with `notebook()`, then open it and run it in the page. Nothing here sleeps for a fixed time: every
helper waits for the state it promises.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import nbformat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from playwright.sync_api import Browser, Locator, Page

NO_CHROMIUM = (
    "no Chromium found: install Debian's package `chromium` (apt-get install chromium) to run browser tests, "
    "or let SUTRO_MAGIC_CHROMIUM name the program"
)

_OWN_CHROMIUM = os.environ.get("SUTRO_MAGIC_CHROMIUM")  # read now: fixtures hide such variables from tests
_CHROMIUM_FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    # A name off the machine fails at once inside the browser: a request to a CDN is an error, not a hang.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]

_LAB_SETTINGS = {
    # A toast with news would cover the lower right corner.
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # every cell is in the page
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}

_LOOPBACK = ("127.0.0.1", "localhost")
_TOUCHES_NO_NETWORK = ("about", "blob", "data", "file")
# What would carry the developer's own settings, keys and folders into the kernel.
_PERSONAL = ("IPYTHON", "JUPYTER", "SUTRO_", "XDG_")


# Notebooks and the server -------------------------------------------------------------------------


def notebook(path: Path, cells: Sequence[str]) -> Path:
    """Write a notebook with these code cells."""
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(nb, path)
    return path


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    token: str
    root: Path
    log: Path
    route: str = "lab/tree"
    """Where notebooks are."""

    def api(self, method: str, route: str) -> bytes:
        """Call the server's REST API."""
        request = urllib.request.Request(
            f"{self.url}/api/{route}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read()

    def shut_down_kernels(self) -> None:
        """End every notebook session, and with it its kernel."""
        for session in json.loads(self.api("GET", "sessions")):
            self.api("DELETE", f"sessions/{session['id']}")


@contextlib.contextmanager
def lab(
    root: Path, env: Mapping[str, str] | None = None, extra: Sequence[str] = (), *, notebook7: bool = False
) -> Iterator[Lab]:
    """Run JupyterLab, or Notebook 7, over `root` on a free port of loopback, with its own empty home and settings.

    `env` is added to the environment of the server, which its kernels inherit; `extra` to its command line.
    """
    root = root.resolve()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tmp = Path(folder)
        token = secrets.token_hex(16)
        log = tmp / "lab.log"
        command = [
            sys.executable,
            *("-m", "notebook" if notebook7 else "jupyterlab", "--no-browser", "--allow-root"),
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port=0",
            f"--ServerApp.root_dir={root}",
            f"--IdentityProvider.token={token}",
            f"--LabApp.app_settings_dir={tmp / 'app'}",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            f"--{'JupyterNotebookApp' if notebook7 else 'LabApp'}.expose_app_in_browser=True",
            "--LabApp.news_url=None",
            *extra,
        ]
        with log.open("wb") as out:
            server = subprocess.Popen(
                command, env=_server_env(tmp) | dict(env or {}), stdout=out, stderr=subprocess.STDOUT
            )
        try:
            url = _server_url(server, tmp / "runtime", token, log)
            yield Lab(url, token, root, log, "notebooks" if notebook7 else "lab/tree")
        finally:
            server.terminate()  # the server stops its kernels
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _server_env(tmp: Path) -> dict[str, str]:
    for name in ("app", "home", "runtime"):
        (tmp / name).mkdir()
    (tmp / "app/overrides.json").write_text(json.dumps(_LAB_SETTINGS))
    own = {
        "HOME": "home",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_PERSONAL)}
    return inherited | {name: str(tmp / folder) for name, folder in own.items()}


def _server_url(
    server: subprocess.Popen[bytes], runtime: Path, token: str, log: Path, seconds: float = 60
) -> str:
    """Wait until the server answers; the port it chose is in the file it writes into its runtime folder."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        # StopIteration: no file yet. ValueError: half written. OSError: not listening yet.
        with contextlib.suppress(StopIteration, ValueError, OSError):
            info = json.loads(next(runtime.glob("jpserver-*.json")).read_text())
            url = info["url"].rstrip("/").replace("localhost", "127.0.0.1")
            with urllib.request.urlopen(f"{url}/api/status?token={token}", timeout=2):
                return url
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


# The browser --------------------------------------------------------------------------------------


@dataclass
class Traffic:
    """What a page did: requests, failed requests (with the reason), console lines, uncaught errors.

    Events arrive only inside Playwright's own calls: make one (an `expect`, say) before looking.
    """

    requests: list[str] = field(default_factory=list)
    failed: list[tuple[str, str | None]] = field(default_factory=list)
    console: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def find_chromium() -> str | None:
    """Find the program to run, or None. SUTRO_MAGIC_CHROMIUM, where it is set, has the only word."""
    names = (_OWN_CHROMIUM,) if _OWN_CHROMIUM else ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run the installed Chromium without a window."""
    from playwright.sync_api import sync_playwright

    program = find_chromium()
    if program is None:
        raise RuntimeError(NO_CHROMIUM)
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    flags = [*_CHROMIUM_FLAGS, *(["--no-sandbox"] if is_root else [])]  # for root there is no sandbox
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=flags)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def new_page(browser: Browser, width: int = 1400, height: int = 1000) -> Iterator[tuple[Page, Traffic]]:
    """Open a page in a fresh context (no cookies, no storage), with a record of what it does."""
    context = browser.new_context(viewport={"width": width, "height": height})
    traffic = Traffic()
    context.on("request", lambda request: traffic.requests.append(request.url))
    context.on("requestfailed", lambda request: traffic.failed.append((request.url, request.failure)))
    context.on("console", lambda message: traffic.console.append((message.type, message.text)))
    context.on("weberror", lambda error: traffic.errors.append(str(error.error)))
    page = context.new_page()
    page.set_default_timeout(30_000)
    try:
        yield page, traffic
    finally:
        context.close()


def external_requests(traffic: Traffic) -> list[str]:
    """Requests that would have left the machine."""
    parts = [(url, urlsplit(url)) for url in traffic.requests]
    return [
        url
        for url, part in parts
        if part.scheme not in _TOUCHES_NO_NETWORK and part.hostname not in _LOOPBACK
    ]


# A notebook in the page ---------------------------------------------------------------------------


def open_notebook(page: Page, server: Lab, path: str) -> None:
    """Open the notebook at `path` (below the server's root) in the light theme; wait until its kernel is idle."""
    page.goto(f"{server.url}/{server.route}/{path}?token={server.token}&reset", wait_until="domcontentloaded")
    page.wait_for_function("() => window.jupyterapp")
    _evaluate(page, "() => window.jupyterapp.restored.then(() => true)")
    page.locator(
        ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook"
    ).wait_for()  # never comes without the file
    wait_until_idle(page)
    _wait_for_no_splash(page)
    set_theme(page, dark=False)  # the server remembers what an earlier test has chosen


def wait_until_idle(page: Page, timeout: float = 60) -> None:
    """Wait until the notebook's kernel is connected and has nothing to do."""
    page.wait_for_function(
        """() => {
            const context = window.jupyterapp.shell.currentWidget?.sessionContext;
            const kernel = context?.session?.kernel;
            return !!kernel && context.isReady
                && kernel.connectionStatus === 'connected' && kernel.status === 'idle';
        }""",
        timeout=timeout * 1000,
    )


def command(page: Page, name: str, args: Mapping[str, object] | None = None, *, timeout: float = 120) -> None:
    """Run a JupyterLab command to its end."""
    _evaluate(
        page,
        "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => true)",
        [name, dict(args or {})],
        timeout=timeout,
    )


def run_all(page: Page, *, timeout: float = 120) -> None:
    """Run all cells; raise AssertionError if one ended in an error or was not reached.

    An error is right in a cell that is tagged `raises-exception`. After one, JupyterLab's command ends
    before the cells that are still to run, so this waits for them itself.
    """
    from playwright.sync_api import TimeoutError  # noqa: A004 - Playwright's is not Python's

    command(page, "notebook:run-all-cells", timeout=timeout)
    over = f"() => {{ {_CELLS} return errors().length > 0 || missing().length === 0; }}"
    with contextlib.suppress(TimeoutError):  # what is missing then is said below
        page.wait_for_function(over, timeout=timeout * 1000)
    problems = page.evaluate(f"() => {{ {_CELLS} return [...errors(), ...missing()]; }}")
    if problems:
        raise AssertionError("\n".join(problems))
    wait_until_idle(page, timeout)


_CELLS = """
    const cells = [...window.jupyterapp.shell.currentWidget.content.widgets.entries()]
        .filter(([_, cell]) => cell.model.type === 'code' && cell.model.sharedModel.getSource().trim());
    const missing = () => cells.flatMap(
        ([i, cell]) => cell.model.executionCount === null ? [`cell ${i}: not executed`] : []
    );
    const errors = () => cells
        .filter(([_, cell]) => !(cell.model.getMetadata('tags') ?? []).includes('raises-exception'))
        .flatMap(([i, cell]) => cell.model.outputs.toJSON()
            .filter(output => output.output_type === 'error')
            .map(output => `cell ${i}: ${output.ename}: ${output.evalue}`));
"""


def run_cell(page: Page, index: int, *, wait: bool = True, timeout: float = 120) -> None:
    """Run one cell, to its end unless `wait` is False. An error in it is an output like any other."""
    _evaluate(
        page,
        """([index, wait]) => {
            const content = window.jupyterapp.shell.currentWidget.content;
            content.activeCellIndex = index;
            content.deselectAll();
            const done = window.jupyterapp.commands.execute('notebook:run-cell');
            return wait ? done.then(() => true) : true;
        }""",
        [index, wait],
        timeout=timeout,
    )


def cell_output(page: Page, index: int) -> Locator:
    """Locate the output area of a cell."""
    return page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").nth(index).locator(".jp-OutputArea")


def kernel_eval(page: Page, code: str, *, timeout: float = 60) -> str:
    """Run code in the notebook's kernel without a cell; return what it printed, or its error."""
    return _evaluate(
        page,
        """async ([code]) => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const future = kernel.requestExecute({code, store_history: false, allow_stdin: false});
            let text = '';
            future.onIOPub = ({header, content}) => {
                if (header.msg_type === 'stream') text += content.text;
                if (header.msg_type === 'error') text += `${content.ename}: ${content.evalue}`;
            };
            await future.done;
            return text;
        }""",
        [code],
        timeout=timeout,
    )


def set_kernel_env(page: Page, env: Mapping[str, str]) -> None:
    """Set environment variables in a kernel that already runs: a test's own service on a shared server."""
    answer = kernel_eval(page, f"__import__('os').environ.update({dict(env)!r})")
    if answer:
        raise RuntimeError(answer)


def set_theme(page: Page, dark: bool) -> None:
    """Switch JupyterLab's theme and wait until the page wears it."""
    if _is_dark(page) == dark:
        return
    command(page, "apputils:change-theme", {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"})
    page.locator(f"body[data-jp-theme-light={json.dumps(str(not dark).lower())}]").wait_for(state="attached")
    _wait_for_no_splash(page)


def _is_dark(page: Page) -> bool:
    attribute = page.locator("body[data-jp-theme-light]").get_attribute("data-jp-theme-light")
    return attribute == "false"


def _wait_for_no_splash(page: Page) -> None:
    """Wait until the splash screen has faded: it covers the page, and JupyterLab fails if it returns too soon."""
    page.locator("#jupyterlab-splash").wait_for(state="detached")


def screenshot(page: Page, path: Path, target: Locator | None = None) -> Path:
    """Write a picture of the page (or of `target`) once the kernel is idle and the page is painted."""
    wait_until_idle(page)
    _evaluate(
        page,
        """() => document.fonts.ready.then(() => new Promise(
            done => requestAnimationFrame(() => requestAnimationFrame(() => done(true)))
        ))""",
    )
    (target or page).screenshot(path=path, animations="disabled", caret="hide")
    return path


def _evaluate(page: Page, script: str, args: Sequence[object] = (), *, timeout: float = 60) -> Any:
    """Evaluate a function whose promise must be kept in time: `page.evaluate` alone would wait for ever."""
    return page.evaluate(
        f"""([args, ms]) => Promise.race([
            ({script})(args),
            new Promise((_, fail) => setTimeout(() => fail(new Error(`not done after ${{ms}} ms`)), ms)),
        ])""",
        [list(args), timeout * 1000],
    )
