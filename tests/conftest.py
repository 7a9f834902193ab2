"""A private home and cache for every test, one demo service and one kernel for many."""

from __future__ import annotations

import os
import queue
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from sutro_magic.api.retry import RetryPolicy
from sutro_magic.demo import DemoService
from sutro_magic.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


QUICK = RetryPolicy(tries=3, seconds=10, first_pause=0.01)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sweep", action="store_true", help="run the sweeps too, marked `sweep`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave sweeps out unless they are asked for, whatever -m says."""
    if config.getoption("--sweep"):
        return
    swept = [item for item in items if item.get_closest_marker("sweep")]
    items[:] = [item for item in items if not item.get_closest_marker("sweep")]
    config.hook.pytest_deselected(items=swept)


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the real home, cache or credentials."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith("SUTRO_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # IPython warns where another one than ours is active
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SUTRO_MAGIC_CACHE_DIR", str(home / "cache"))
    return home


@pytest.fixture(scope="session")
def _demo_service() -> Iterator[DemoService]:
    with DemoService(watch_seconds=0.6) as service:
        yield service


@pytest.fixture
def demo(_demo_service: DemoService) -> Iterator[DemoService]:
    """The demo service, with no fault on and nothing remembered."""
    _demo_service.reset()
    _demo_service.requests.clear()
    yield _demo_service
    _demo_service.clear_faults()


@pytest.fixture
def session(demo: DemoService, tmp_path: Path) -> Iterator[Session]:
    made = Session(api_url=demo.url, api_key=demo.api_key, cache_dir=tmp_path / "cache")
    made.client.retry = QUICK
    yield made
    made.close()


@dataclass
class Reply:
    """What one cell left behind."""

    ename: str = ""
    evalue: str = ""
    traceback: str = ""
    text: str = ""
    result: dict[str, Any] | None = None
    displays: list[dict[str, Any]] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.ename

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """Sort one message of the kernel in."""
        self.raw.append(content)
        if kind == "stream":
            self.text += content["text"]
        elif kind == "execute_result":
            self.result = content["data"]
        elif kind == "display_data":
            self.displays.append(content["data"])
            self.metadata.append(content["metadata"])
        elif kind == "update_display_data":
            self.updates.append(content["data"])
        elif kind == "error":
            self.ename, self.evalue = content["ename"], content["evalue"]
            self.traceback = "\n".join(content["traceback"])


class Kernel:
    """A real kernel; `run` executes a cell and collects its outputs."""

    def __init__(self, environment: dict[str, str]) -> None:
        from jupyter_client.manager import start_new_kernel

        self.manager, self.client = start_new_kernel(kernel_name="python3", env=os.environ | environment)

    def run(self, code: str, seconds: float = 60, answer: str | None = None) -> Reply:
        """Run one cell; with an ``answer``, a person sits there who types it when asked."""
        reply = Reply()
        sent = self.client.execute(code, allow_stdin=answer is not None)
        if answer is not None:
            self.client.get_stdin_msg(timeout=seconds)
            self.client.input(answer)
        deadline = time.monotonic() + seconds
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"the cell did not end in {seconds} s: {code}") from None
            if message["parent_header"].get("msg_id") != sent:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            reply.take(kind, content)
            if kind == "status" and content["execution_state"] == "idle":
                self.client.get_shell_msg(timeout=10)
                return reply

    def value(self, expression: str) -> str:
        """Return ``str(expression)`` as the kernel sees it."""
        reply = self.run(f"print(({expression}), end='')")
        assert reply.ok, reply.traceback
        return reply.text

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def _module_kernel(_demo_service: DemoService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    home = tmp_path_factory.mktemp("kernel-home")
    environment = {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "SUTRO_API_URL": _demo_service.url,
        "SUTRO_API_KEY": _demo_service.api_key,
        "SUTRO_MAGIC_CACHE_DIR": str(home / "cache"),
    }
    kernel = Kernel(environment)
    yield kernel
    kernel.close()


# What `%reset -f` does, without its 130 ms.
FORGET = """
for name in [n for n in globals() if n[0] != "_" and n not in {"In", "Out", "get_ipython", "exit", "quit", "open"}]:
    del globals()[name]
"""


@pytest.fixture
def kernel(_module_kernel: Kernel, demo: DemoService) -> Kernel:
    """A kernel with the extension loaded and an empty cache, pointed at the demo service."""
    _module_kernel.run(FORGET + "\n%reload_ext sutro_magic\n%sutro_cache clear --all")
    demo.requests.clear()
    return _module_kernel
