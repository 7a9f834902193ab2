from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from sutro_magic.demo import DemoService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SDK_VERSION = "0.1.67"


class Client:
    """Plain requests with the service's key."""

    def __init__(self, service: DemoService) -> None:
        self.service = service
        self.http = requests.Session()
        self.headers = {"Authorization": f"Key {service.api_key}"}

    def send(self, method: str, path: str, **options: object) -> requests.Response:
        options.setdefault("headers", self.headers)
        return self.http.request(method, self.service.url + path, timeout=30, **options)

    def get(self, path: str, **params: object) -> requests.Response:
        return self.send("GET", path, params=params)

    def post(self, path: str, body: object) -> requests.Response:
        return self.send("POST", path, json=body)


@pytest.fixture(scope="module")
def _service() -> Iterator[DemoService]:
    with DemoService(watch_seconds=0.5) as service:
        yield service


@pytest.fixture
def service(_service: DemoService) -> DemoService:
    _service.reset()
    _service.requests.clear()
    return _service


@pytest.fixture
def client(service: DemoService) -> Iterator[Client]:
    made = Client(service)
    yield made
    made.http.close()


@pytest.fixture
def run_sdk(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, DemoService], None]:
    """Run a program with the official SDK, in an environment of its own, against a service."""
    cache = getattr(request.config, "cache", None)
    if cache is None:
        pytest.skip("pytest's cache is switched off; the SDK's environment would be made anew each time")
    python = _sdk_environment(Path(cache.mkdir(f"sutro-sdk-{SDK_VERSION}")))
    home = tmp_path / "home"
    home.mkdir()

    def run(script: str, service: DemoService) -> None:
        environment = {
            name: text for name, text in os.environ.items() if not name.startswith(("SUTRO_", "PYTHON"))
        }
        environment |= {
            "HOME": str(home),
            "USERPROFILE": str(home),
            "PYTHONIOENCODING": "utf-8",
            "SUTRO_API_URL": service.url,
            "SUTRO_API_KEY": service.api_key,
        }
        done = subprocess.run(
            [str(python), "-c", script],
            cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def _sdk_environment(folder: Path) -> Path:
    """Make the SDK's environment once; return its interpreter."""
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = folder / "complete"
    if not marker.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")], check=True)
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            f"sutro=={SDK_VERSION}",
        ]
        done = subprocess.run(install, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            pytest.skip(
                f"sutro=={SDK_VERSION} cannot be installed here: {done.stderr.strip().splitlines()[-1]}"
            )
        marker.write_text(SDK_VERSION)
    return python
