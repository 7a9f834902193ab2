"""Fixtures for tests in a real browser: a JupyterLab for the session, a fresh page for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from jlab import NO_CHROMIUM, chromium, find_chromium, lab, new_page

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest looks at -m
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory):
    if find_chromium() is None:
        pytest.skip(NO_CHROMIUM)
    with lab(tmp_path_factory.mktemp("notebooks")) as server:
        yield server


# Not for the session: as long as Playwright runs, its event loop is the running loop of this thread,
# and tests elsewhere could not use asyncio.run().
@pytest.fixture(scope="module")
def browser():
    if find_chromium() is None:
        pytest.skip(NO_CHROMIUM)
    with chromium() as running:
        yield running


@pytest.fixture
def page_and_traffic(browser):
    with new_page(browser) as opened:
        yield opened


@pytest.fixture
def page(page_and_traffic):
    return page_and_traffic[0]


@pytest.fixture
def traffic(page_and_traffic):
    return page_and_traffic[1]


@pytest.fixture(autouse=True)
def _no_kernel_is_left_running(request):
    server = request.getfixturevalue("lab_server") if "lab_server" in request.fixturenames else None
    yield
    if server is not None:
        server.shut_down_kernels()
