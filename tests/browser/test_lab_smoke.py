"""The tools themselves: JupyterLab and Chromium start, a notebook runs, and nothing leaves the machine."""

from __future__ import annotations

from jlab import (
    cell_output,
    external_requests,
    kernel_eval,
    notebook,
    open_notebook,
    run_all,
    run_cell,
    screenshot,
    set_kernel_env,
    set_theme,
)
from playwright.sync_api import expect


def test_a_notebook_runs_and_shows_its_output(lab_server, page, traffic, tmp_path):
    notebook(
        lab_server.root / "smoke.ipynb", ["import os\nx = 6 * 7\nprint(f'x is {x}')", "os.environ['HOME']"]
    )
    open_notebook(page, lab_server, "smoke.ipynb")
    run_all(page)
    expect(cell_output(page, 0)).to_have_text("x is 42")
    expect(cell_output(page, 1)).to_contain_text("home")
    assert kernel_eval(page, "print(x + 1)").strip() == "43"
    assert kernel_eval(page, "1 / 0") == "ZeroDivisionError: division by zero"

    for dark in (True, False):
        set_theme(page, dark)
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", str(not dark).lower())
        assert screenshot(page, tmp_path / f"dark-{dark}.png").stat().st_size > 10_000

    assert external_requests(traffic) == []
    assert traffic.failed == []
    assert traffic.errors == []


def test_a_second_notebook_has_its_own_kernel_and_environment(lab_server, page):
    notebook(lab_server.root / "second.ipynb", ["import os\nos.environ.get('SUTRO_API_URL')", "'x' in dir()"])
    open_notebook(page, lab_server, "second.ipynb")
    set_kernel_env(page, {"SUTRO_API_URL": "http://127.0.0.1:1"})
    run_cell(page, 0)
    run_cell(page, 1)
    expect(cell_output(page, 0)).to_contain_text("http://127.0.0.1:1")
    expect(cell_output(page, 1)).to_contain_text("False")
