"""The lesson in JupyterLab: Run All reaches the end, the tables are there, nothing leaves the machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from jlab import (
    cell_output,
    external_requests,
    open_notebook,
    run_all,
    screenshot,
    set_theme,
    wait_until_idle,
)
from playwright.sync_api import expect

NOTEBOOK = Path(__file__).parent.parent.parent / "demo.ipynb"
SCREENSHOTS = os.environ.get("SUTRO_MAGIC_SCREENSHOTS")  # read now: fixtures hide such variables from tests
OUTPUT_AREA = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer"


@pytest.fixture
def index():
    """Where each cell is, by id."""
    return {cell.id: i for i, cell in enumerate(nbformat.read(NOTEBOOK, as_version=4).cells)}


@pytest.fixture
def lesson(lab_server, page):
    shutil.copy(NOTEBOOK, lab_server.root / "demo.ipynb")
    open_notebook(page, lab_server, "demo.ipynb")
    return page


def test_before_it_runs_the_saved_tables_are_there(lesson, traffic, index):
    expect(cell_output(lesson, index["magic"]).locator("table")).to_contain_text(
        "The capital of France is Paris."
    )
    expect(cell_output(lesson, index["films"]).locator("table")).to_contain_text("The Ministry of Naps")
    expect(cell_output(lesson, index["plot"]).locator("img")).to_be_visible()
    assert external_requests(traffic) == []
    assert traffic.errors == []


def test_run_all_shows_the_tables_the_plot_and_the_errors(lesson, traffic, index):
    run_all(lesson)

    for name, text in {
        "magic": "The capital of France is Paris.",
        "films": "The Ministry of Naps",
        "reviews": "Paper Comets",
        "fault-cache": "Greet somebody from Japan.",
        "fault-off": "Greet somebody from Japan.",
    }.items():
        table = cell_output(lesson, index[name]).locator("table").filter(has_text=text).first
        table.scroll_into_view_if_needed()
        expect(table).to_be_visible()
    expect(cell_output(lesson, index["jobs"])).to_contain_text("job-demo-films")
    expect(cell_output(lesson, index["plot"]).locator("img")).to_be_visible()
    expect(cell_output(lesson, index["error-flag"])).to_contain_text("Did you mean --inputs?")
    expect(cell_output(lesson, index["wait"])).to_contain_text("SUCCEEDED")
    browser = cell_output(lesson, index["browse"])
    browser.scroll_into_view_if_needed()
    expect(browser.get_by_text("Film reviews, judged")).to_be_visible()

    assert external_requests(traffic) == []
    assert traffic.failed == []
    assert traffic.errors == []
    if SCREENSHOTS:
        take_screenshots(lesson, Path(SCREENSHOTS))


def take_screenshots(page, folder):
    """One picture of each screenful, in the light and in the dark theme."""
    folder.mkdir(parents=True, exist_ok=True)
    page.set_viewport_size({"width": 1250, "height": 2400})
    for dark in (False, True):
        set_theme(page, dark)
        wait_until_idle(page)
        area = page.locator(OUTPUT_AREA)
        height, step = area.evaluate("e => [e.scrollHeight, e.clientHeight - 60]")
        for number, top in enumerate(range(0, height, step)):
            area.evaluate("(e, top) => { e.scrollTop = top; }", top)
            screenshot(page, folder / f"lesson-{'dark' if dark else 'light'}-{number}.png")
