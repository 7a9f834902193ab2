"""The lesson as a page: executed, converted to HTML, opened as a file, without a kernel and without a network."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from jlab import external_requests
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import expect

LESSON = Path(__file__).parent.parent.parent / "demo.ipynb"
TABLES = {
    "magic": "The capital of France is Paris.",
    "jobs": "job-demo-films",
    "films": "The Ministry of Naps",
    "reviews": "Paper Comets",
    "fault-off": "Greet somebody from Japan.",
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    lesson = nbformat.read(LESSON, as_version=4)
    folder = tmp_path_factory.mktemp("lesson")
    return NotebookClient(
        lesson, timeout=120, store_widget_state=False, resources={"metadata": {"path": str(folder)}}
    ).execute()


def test_the_exported_lesson_reads_well_and_asks_nobody(executed, page, traffic, tmp_path):
    # The template's own scripts, for formulas and for widgets, come from elsewhere; ours need none.
    html, _ = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="").from_notebook_node(executed)
    exported = tmp_path / "lesson.html"
    exported.write_text(html, encoding="utf-8")
    page.goto(exported.as_uri())
    for name, text in TABLES.items():
        table = page.locator(f"[id='cell-id={name}'] table").filter(has_text=text).first
        expect(table).to_be_visible()
        box, room = table.bounding_box(), page.viewport_size
        assert box["x"] >= 0 and box["x"] + box["width"] <= room["width"], f"{name} is cut"
    expect(page.locator("[id='cell-id=plot'] img")).to_be_visible()
    expect(page.locator("[id='cell-id=browse']")).to_contain_text("Job browser: run this cell to open it")
    assert external_requests(traffic) == []
    assert traffic.errors == []
    assert traffic.failed == []
