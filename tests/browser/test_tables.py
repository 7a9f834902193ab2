"""Tables of results as a person sees them: in JupyterLab, light and dark, with awkward texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jlab import (
    cell_output,
    command,
    external_requests,
    notebook,
    open_notebook,
    run_all,
    screenshot,
    set_kernel_env,
    set_theme,
)
from playwright.sync_api import expect

SCREENSHOTS = os.environ.get("SUTRO_MAGIC_SCREENSHOTS")
"""A folder: pictures of every state are put there."""

WIDE = """
import pyarrow as pa
from sutro_magic.query.pages import Pages
from sutro_magic.ui.table.paged_table import PagedTable
wide = pa.table({f"column {i}": [i * j for j in range(30)] for i in range(40)})
PagedTable(Pages(lambda: wide), wide, num_rows=30, caption=["40 columns"])
"""

PRICES = """
import pyarrow as pa
from sutro_magic.query.pages import Pages
from sutro_magic.ui.display import Display
from sutro_magic.ui.table.paged_table import PagedTable
from sutro_magic.ui.render.static import PairsView, TableView
text = "$x^2$ costs $5 or $10"
display = Display(get_ipython())
display.show(display.view(PairsView(title=text, pairs={"name": text})))
display.show(display.view(TableView(columns=["a"], rows=[[text]], total=1)))
priced = pa.table({"a": [text]})
PagedTable(Pages(lambda: priced), priced, num_rows=1)
"""

CELLS = [
    "%load_ext sutro_magic",
    "%sutro_jobs",
    "%sutro_results job_12345 --inputs --logprobs",
    "%sutro_results job-demo-films --inputs --name films",
    "%sutro_results job-demo-awkward --inputs",
    "%sutro_results job-demo-recipes --inputs --logprobs --name recipes",
    "%sutro_results job-demo-empty",
    "%sutro_status job-demo-failed",
    "%sutro_cache",
    WIDE,
    "r = %sutro_results job-demo-broken --inputs",
    "r",
    "r.errors",
    "%sutro_results job-demo-museum --name museum",
    "%sutro_results job-demo-puzzles",
    "%sutro_results job-demo-riddles",
    "%sutro_results job-demo-broken --name postcards",
]


@pytest.fixture
def run_cells(lab_server, page, demo, tmp_path):
    def run_cells(name, cells):
        notebook(lab_server.root / name, cells)
        open_notebook(page, lab_server, name)
        set_kernel_env(
            page,
            {
                "SUTRO_API_URL": demo.url,
                "SUTRO_API_KEY": demo.api_key,
                "SUTRO_MAGIC_CACHE_DIR": str(tmp_path),
            },
        )
        run_all(page)

    return run_cells


@pytest.fixture
def opened(run_cells, page):
    run_cells("tables.ipynb", CELLS)
    return page


def test_tables_are_interactive_and_hostile_texts_do_nothing(opened, traffic):
    expect(cell_output(opened, 1).locator("table.dataTable tbody tr")).not_to_have_count(0)
    expect(cell_output(opened, 2)).to_contain_text("The capital of France is Paris.")
    expect(
        cell_output(opened, 2).get_by_text("The capital of France is Paris.").locator("visible=true")
    ).to_have_count(1)
    films = cell_output(opened, 3)
    expect(films).to_contain_text("films · DataFrame 10,000 × 7 · ")
    expect(films.locator(".dt-info")).to_contain_text("rows 1 to 10 of 10,000")
    expect(films.locator("table.dataTable tbody tr")).to_have_count(10)
    awkward = cell_output(opened, 4)
    awkward.locator(".dt-length select").select_option("100")
    expect(awkward).to_contain_text("<script>alert('owned')</script>")
    expect(awkward).to_contain_text("<b>")  # the job's own name
    expect(cell_output(opened, 6).locator("table.dataTable")).to_contain_text("no rows")
    expect(cell_output(opened, 7)).to_contain_text("FAILED")
    assert "owned" not in opened.title()
    assert opened.locator(".jp-OutputArea img").count() == 0
    if SCREENSHOTS:
        for dark in (False, True):
            set_theme(opened, dark)
            for index in (i for i in range(1, len(CELLS)) if cell_output(opened, i).is_visible()):
                name = f"table-{index}-{'dark' if dark else 'light'}.png"
                screenshot(opened, Path(SCREENSHOTS) / name, cell_output(opened, index))
    assert external_requests(traffic) == []
    assert traffic.errors == []


def test_a_saved_notebook_with_a_fresh_kernel_shows_rows_and_no_broken_widget(opened, lab_server):
    command(opened, "docmanager:save")
    lab_server.shut_down_kernels()
    open_notebook(opened, lab_server, "tables.ipynb")
    recipes = cell_output(opened, 5)
    expect(recipes).to_contain_text("recipes · DataFrame ")
    expect(recipes.get_by_text("Error displaying widget").locator("visible=true")).to_have_count(0)
    expect(recipes.get_by_text("Loading widget").locator("visible=true")).to_have_count(0)


def test_words_and_numbers_are_not_broken_where_there_is_little_room(run_cells, page):
    cells = [
        "%load_ext sutro_magic\n%sutro_results job-demo-million --quiet",
        "%sutro_cache list",
        "%sutro_cache info job-demo-million",
        "%sutro_compare job-demo-reviews job-demo-opinion",
        "%sutro_profile job-demo-reviews",
        "%sutro_jobs --search opinion",
    ]
    page.set_viewport_size({"width": 800, "height": 1000})
    run_cells("narrow.ipynb", cells)
    expect(cell_output(page, 1)).to_contain_text("1,000,000")
    expect(cell_output(page, 5).locator("tr:visible", has_text="A second opinion")).to_contain_text("2,000")
    broken = """
        nodes => nodes.flatMap((node) => {
          const text = node.firstChild;
          if (node.childNodes.length !== 1 || text.nodeType !== Node.TEXT_NODE) return [];
          const words = [...text.data.matchAll(/\\S+/g)].filter(([word]) => word.length <= 14);
          return words.filter((found) => {
            const range = document.createRange();
            range.setStart(text, found.index);
            range.setEnd(text, found.index + found[0].length);
            return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1 && !found[0].includes("-");
          }).map(([word]) => word);
        })"""
    for index in range(1, len(cells)):
        found = cell_output(page, index).locator(".sutro-results :is(th, td):visible")
        assert found.count() > 5
        assert found.evaluate_all(broken) == []
    for number in ("1,000,000", "77.2 MB"):
        cell = cell_output(page, 1).get_by_role("cell", name=number)
        assert cell.evaluate("node => node.getClientRects().length") == 1


def test_prices_in_a_text_are_not_set_as_formulas(lab_server, page, demo, tmp_path):
    notebook(lab_server.root / "prices.ipynb", [PRICES])
    open_notebook(page, lab_server, "prices.ipynb")
    run_all(page)
    expect(cell_output(page, 0).get_by_text("$x^2$ costs $5 or $10").locator("visible=true")).to_have_count(4)
    assert page.locator("mjx-container").count() == 0


def test_a_saved_notebook_without_a_kernel_still_shows_rows(opened, lab_server):
    command(opened, "docmanager:save")
    lab_server.shut_down_kernels()
    opened.goto(f"{lab_server.url}/lab?token={lab_server.token}&reset", wait_until="domcontentloaded")
    opened.wait_for_function("() => window.jupyterapp")
    opened.evaluate("() => window.jupyterapp.restored.then(() => true)")
    no_kernel = {"shouldStart": False, "autoStartDefault": False, "canStart": False}
    command(opened, "docmanager:open", {"path": "tables.ipynb", "kernelPreference": no_kernel})
    expect(cell_output(opened, 2)).to_contain_text("The capital of France is Paris.")
    expect(cell_output(opened, 5)).to_contain_text("recipes · DataFrame ")
    expect(cell_output(opened, 5).locator("table").first).to_be_visible()
    if SCREENSHOTS:
        opened.screenshot(path=Path(SCREENSHOTS) / "table-saved.png")


def test_what_was_printed_before_a_list_stays_to_be_read(lab_server, page, demo, tmp_path):
    cells = [
        "%load_ext sutro_magic",
        "print('printed before')\n%sutro_cache",
        "print('printed before')\n%sutro_jobs --search nothing-like-that",
        "r = %sutro_results job_12345\nprint('printed before')\nr.table()",
    ]
    notebook(lab_server.root / "printed.ipynb", cells)
    open_notebook(page, lab_server, "printed.ipynb")
    set_kernel_env(
        page,
        {"SUTRO_API_URL": demo.url, "SUTRO_API_KEY": demo.api_key, "SUTRO_MAGIC_CACHE_DIR": str(tmp_path)},
    )
    run_all(page)
    for index in (1, 2, 3):
        expect(cell_output(page, index).get_by_text("printed before")).to_be_visible()
