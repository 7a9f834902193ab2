from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

from sutro_magic.demo import DemoService

if TYPE_CHECKING:
    from collections.abc import Iterator


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
