"""The table as a person uses it, in JupyterLab: hostile texts first, then every control, by mouse and keyboard."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from hostile import CORPUS
from jlab import (
    NO_CHROMIUM,
    cell_output,
    command,
    external_requests,
    find_chromium,
    kernel_eval,
    lab,
    notebook,
    open_notebook,
    run_all,
    run_cell,
    screenshot,
    set_kernel_env,
    set_theme,
)
from playwright.sync_api import expect

SCREENSHOTS = os.environ.get("SUTRO_MAGIC_SCREENSHOTS")

MADE = """
import pyarrow as pa
from sutro_magic.query.pages import Pages
from sutro_magic.ui.table.paged_table import PagedTable
def shown(table, **options):
    return PagedTable(Pages(lambda: table), table.slice(0, 10), num_rows=table.num_rows, **options)
"""


def picture(page, name, target=None):
    if SCREENSHOTS:
        for dark in (False, True):
            set_theme(page, dark)
            screenshot(page, Path(SCREENSHOTS) / f"paged-{name}-{'dark' if dark else 'light'}.png", target)
        set_theme(page, dark=False)


def ready(page, index):
    """The table of a cell, once DataTables has it."""
    table = cell_output(page, index)
    expect(table.locator(".dt-info")).to_be_visible()
    return table


def first_row(table):
    return table.locator("table.dataTable tbody tr").first


def expect_in_kernel(page, code, answer):
    """Wait until code, run in the kernel, prints this: a question may still be on its way."""
    end = time.monotonic() + 20
    while (said := kernel_eval(page, code).strip()) != answer:
        assert time.monotonic() < end, said
        page.wait_for_timeout(100)


@pytest.fixture
def run(lab_server, page, demo, tmp_path):
    def run(*cells):
        notebook(lab_server.root / "paged.ipynb", cells)
        open_notebook(page, lab_server, "paged.ipynb")
        set_kernel_env(
            page,
            {
                "SUTRO_API_URL": demo.url,
                "SUTRO_API_KEY": demo.api_key,
                "SUTRO_MAGIC_CACHE_DIR": str(tmp_path),
            },
        )
        run_all(page)

    return run


# --- hostile texts ---------------------------------------------------------------------------------

HOSTILE = f"""
corpus = {json.dumps(CORPUS)}
names = corpus[:20] + ["few"]
few = [corpus[i % 3] for i in range(len(corpus))]
hostile = pa.table([pa.array(corpus)] * 20 + [pa.array(few)], names=names)
nested = pa.table({{"nested": [{{"key": text, "list": [text]}} for text in corpus], "json": [__import__("json").dumps([text]) for text in corpus]}})
shown(hostile, caption=corpus)
"""


def test_hostile_texts_do_nothing_but_show_themselves(run, page, traffic, lab_server):
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    run(MADE, HOSTILE, "shown(nested)", "from sutro_magic.errors import SutroError\nshown(hostile)")
    table = ready(page, 1)
    for text in CORPUS[:6]:
        expect(table.locator("th").get_by_text(text, exact=True).first).to_be_attached()
        expect(table.locator("td").get_by_text(text, exact=True).first).to_be_attached()
    table.locator(".dt-length select").select_option("100")
    expect(table.locator(".dt-info")).to_contain_text(f"1 to {len(CORPUS)} of")

    table.get_by_role("button", name="Summaries").click()
    table.locator("th").nth(21).scroll_into_view_if_needed()
    expect(table.locator(".st-common").first).to_be_attached()
    table.get_by_role("button", name="Columns").click()
    expect(table.locator(".st-panel").get_by_text(CORPUS[1], exact=True)).to_be_visible()
    for column in (0, 20):
        table.locator(".st-menu").nth(column).evaluate("button => button.click()")
        expect(table.locator(".st-panel .st-list .st-choice").first).to_be_visible()
    table.locator(".st-panel .st-choice input").first.check()
    expect(table.locator(".st-chip")).to_have_count(1)
    expect(table.locator(".dt-info")).to_contain_text("found among")
    table.locator(".st-search").fill(CORPUS[2])  # stands in the chips, errors and messages, too
    expect(table.locator(".dt-info")).to_contain_text("found among")
    table.locator(".st-search").fill("")
    table.locator(".st-chip button").click()
    expect(table.locator(".dt-info")).to_contain_text(f"of {len(CORPUS)}")
    for row in (0, 3, 10):
        table.locator(f"tr[data-row='{row}'] td.st-lead").click(position={"x": 2, "y": 2})
        expect(table.locator(".st-pane .st-bar")).to_contain_text(f"row {row}")
    table.get_by_label("go to page").fill(CORPUS[0])
    table.get_by_label("go to page").press("Enter")
    expect(table.locator(".st-problem")).to_have_text(f"{CORPUS[0]} is not a whole number.")
    pane = ready(page, 2)
    pane.locator("tr[data-row='1'] td").nth(1).click()
    expect(pane.locator(".st-pane .st-json").first).to_contain_text("<script>alert('owned')</script>")

    assert asked == []
    assert (
        page.evaluate(
            "() => document.querySelectorAll('.sutro-table :is(img, iframe, svg, video, base, link, meta)').length"
        )
        == 0
    )
    assert page.locator("mjx-container").count() == 0
    assert [url for url in traffic.requests if "sutro-owned" in url] == []
    assert "owned" not in page.title()
    assert traffic.errors == []
    assert external_requests(traffic) == []
    picture(page, "hostile", table)


STATIC = """
from sutro_magic.ui.render import views as words
from sutro_magic.ui.display import Display
from sutro_magic.ui.render.static import PairsView, TableView
display = Display(get_ipython())
view = TableView(columns=names, rows=[[t] * 21 for t in corpus[:10]], total=len(corpus), caption=corpus)
display.show(words.mimebundle(view, html=True))
display.show(display.view(PairsView(title=corpus[0], pairs={text: text for text in corpus})))
"""


def test_hostile_texts_in_an_exported_page_do_nothing(page, traffic, tmp_path):
    import nbconvert
    import nbformat
    from nbclient import NotebookClient

    path = notebook(tmp_path / "hostile.ipynb", [MADE, HOSTILE, HOSTILE, STATIC])
    executed = NotebookClient(
        nbformat.read(path, as_version=4), timeout=120, store_widget_state=True
    ).execute()
    # The state of both tables is in the page, hostile texts and all.
    assert "onerror" in str(executed.metadata.widgets)
    html, _ = nbconvert.HTMLExporter().from_notebook_node(executed)
    exported = tmp_path / "exported.html"
    exported.write_text(html, encoding="utf-8")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.goto(exported.as_uri())
    expect(page.locator(".sutro-results").first).to_contain_text("<script>alert('owned')</script>")
    state = page.locator("script[type='application/vnd.jupyter.widget-state+json']")
    kept = json.loads(state.text_content())["state"].values()
    assert len([1 for model in kept if model["state"].get("_setup")]) == 2
    assert asked == []
    assert page.locator(".jp-OutputArea :is(img, iframe, svg)").count() == 0
    assert [url for url in traffic.requests if "sutro-owned" in url] == []


# --- what a person does ----------------------------------------------------------------------------


def test_turning_jumping_sorting_searching_filtering_and_shuffling(run, page, traffic):  # noqa: PLR0915 - one visit
    run("%load_ext sutro_magic", "r = %sutro_results job-demo-films\nr")
    table = ready(page, 1)
    info = table.locator(".dt-info")
    expect(info).to_have_text("rows 1 to 10 of 10,000")
    picture(page, "films", table)

    table.get_by_role("link", name="Next", exact=False).or_(
        table.locator(".dt-paging-button.next")
    ).first.click()
    expect(info).to_have_text("rows 11 to 20 of 10,000")
    table.get_by_label("go to page").fill("1000")
    table.get_by_label("go to page").press("Enter")
    expect(info).to_have_text("rows 9,991 to 10,000 of 10,000")
    table.get_by_label("go to row, by its number").fill("4,321")
    table.get_by_label("go to row, by its number").press("Enter")
    expect(table.locator("tr[data-row='4321']")).to_be_focused()
    table.get_by_label("go to row, by its number").fill("10000")
    table.get_by_label("go to row, by its number").press("Enter")
    expect(table.locator(".st-problem")).to_have_text("There is no row 10,000. Rows go from 0 to 9,999.")

    year = table.locator("th", has_text="year")
    year.locator(".dt-column-order").click()
    expect(first_row(table)).to_contain_text("1950")
    year.locator(".dt-column-order").click()
    expect(first_row(table)).to_contain_text("2025")
    expect_in_kernel(page, "print(r.filtered.head(1)['year'][0].as_py() == r.to_pandas().year.max())", "True")
    table.locator("th", has_text="score").locator(".dt-column-order").click(modifiers=["Shift"])
    expect(table.locator("th[aria-sort]")).not_to_have_count(0)
    order = "f = r.filtered.to_pandas(); s = r.to_pandas().sort_values(['year', 'score'], ascending=[False, True], kind='stable')"
    expect(table.locator(".st-status")).to_have_text("")
    expect_in_kernel(page, f"{order}; print((f._row.to_numpy() == s.index.to_numpy()).all())", "True")

    table.locator(".st-search").fill("VOLCANO")
    expect(info).to_contain_text("found among 10,000")
    found = kernel_eval(
        page,
        "print(r.to_pandas().select_dtypes('str').apply(lambda c: c.str.lower().str.contains('volcano')).any(axis=1).sum())",
    ).strip()
    expect(info).to_contain_text(f"of {found} found")
    expect_in_kernel(page, "print(len(r.filtered))", found)

    table.locator("th", has_text="genre").locator(".st-menu").click()
    panel = table.locator(".st-panel")
    panel.locator(".st-choice", has_text="horror").locator("input").check()
    expect(table.locator(".st-chip")).to_have_text("genre is “horror”✕")
    expect(first_row(table)).to_contain_text("horror")
    table.locator("th", has_text="year").locator(".st-menu").click()
    panel.get_by_label("from").fill("1990")
    panel.get_by_label("to", exact=True).fill("nonsense")
    panel.get_by_role("button", name="Filter").click()
    expect(table.locator(".st-problem")).to_have_text("'nonsense' is not a number. Correct the bound.")
    panel.get_by_label("to", exact=True).fill("1999")
    panel.get_by_role("button", name="Filter").click()
    expect(table.locator(".st-problem")).to_be_hidden()
    expect(first_row(table)).to_contain_text("1999")
    kernel = "f = r.filtered.to_pandas(); print(f.year.min() >= 1990, f.year.max() <= 1999, set(f.genre))"
    expect_in_kernel(page, kernel, "True True {'horror'}")
    picture(page, "filtered", table)
    for _ in range(2):
        table.locator(".st-chip button").first.click()
    table.locator(".st-search").fill("")
    expect(info).to_contain_text("of 10,000")

    table.get_by_role("button", name="Shuffle").click()
    expect(table.locator(".st-chip")).to_contain_text("shuffled, seed")
    seed = table.locator(".st-chip").inner_text().split("seed ")[1].split("✕")[0].strip()
    expect(table.locator(".st-status")).to_have_text("")
    code = f"import numpy as np; print((np.random.default_rng({seed}).permutation(10_000) == r.filtered.to_pandas()._row).all())"
    expect_in_kernel(page, code, "True")

    table.get_by_role("button", name="Columns").click()
    panel.locator(".st-choice", has_text="genre").locator("input").uncheck()
    expect(table.locator(".st-grid th", has_text="genre")).to_have_count(0)
    assert traffic.errors == []
    assert external_requests(traffic) == []


def test_ticks_over_pages_and_what_is_bound(run, page, traffic):
    run("%load_ext sutro_magic", "r = %sutro_results job-demo-films\nr", "'chosen' in dir() and chosen.shape")
    table = ready(page, 1)
    table.locator(".st-tick").nth(2).check()
    table.locator(".dt-paging-button.next").click()
    expect(table.locator(".dt-info")).to_contain_text("rows 11")
    table.locator(".st-tick").nth(4).check()
    expect_in_kernel(page, "print(r.selected.to_pandas()._row.tolist())", "[2, 14]")
    table.locator(".dt-paging-button.previous").click()
    expect(table.locator(".st-tick").nth(2)).to_be_checked()
    expect(table.locator(".st-chip")).to_have_text("2 rows ticked✕")

    table.get_by_role("button", name="Bind…").click()
    panel = table.locator(".st-panel")
    panel.get_by_label("name of the variable").fill("print")
    panel.get_by_role("button", name="Bind", exact=True).click()
    expect(table.locator(".st-problem")).to_contain_text("'print' would hide what Python or IPython calls")
    panel.get_by_label("name of the variable").fill("chosen")
    panel.get_by_role("button", name="Bind", exact=True).click()
    expect(panel.locator(".st-said")).to_have_text("chosen · DataFrame 2 × 7")
    run_cell(page, 2)
    expect(cell_output(page, 2)).to_contain_text("(2, 7)")
    table.locator(".st-search").fill("volcano")
    expect(table.locator(".dt-info")).to_contain_text("found among")
    panel.get_by_label("rows").select_option("filtered")
    panel.get_by_label("type").select_option("arrow")
    panel.get_by_label("name of the variable").fill("found")
    panel.get_by_role("button", name="Bind", exact=True).click()
    expect(panel.locator(".st-said")).to_contain_text("found · Arrow table")
    expect_in_kernel(page, "print(type(found).__name__, found.num_rows == len(r.filtered))", "Table True")
    assert traffic.errors == []


def test_keys_typed_in_the_table_are_no_commands_to_the_notebook(run, page):
    run("%load_ext sutro_magic", "%sutro_results job-demo-films")
    table = ready(page, 1)
    cells = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
    count = cells.count()
    for clicked in (
        first_row(table).locator("td").nth(1),
        table.locator(".st-pane .st-button", has_text="next"),
        table.locator(".st-button", has_text="Summaries"),
        table.locator(".st-tick").nth(2),
    ):
        clicked.click()
        for key in ("a", "b", "x", "m", "Shift+M"):
            page.keyboard.press(key)
        expect(cells).to_have_count(count)
    expect(table.locator(".st-pane")).to_be_visible()


def test_a_page_begins_at_its_top_and_the_pane_opens_in_sight(run, page):
    run("%load_ext sutro_magic", "%sutro_results job-demo-films")
    table = ready(page, 1)
    page.set_viewport_size({"width": 1366, "height": 768})
    table.locator(".dt-length select").select_option("100")
    expect(table.locator(".dt-info")).to_contain_text("1 to 100")
    scrolled = table.locator(".dt-layout-table > .dt-layout-cell")
    scrolled.evaluate("node => node.scrollTo(0, 9_000)")
    assert scrolled.evaluate("node => node.scrollTop") > 0
    table.locator(".dt-paging-button.next").click()
    expect(table.locator(".dt-info")).to_contain_text("101 to 200")
    assert scrolled.evaluate("node => node.scrollTop") == 0
    first_row(table).locator("td").nth(1).click()
    expect(table.locator(".st-pane .st-bar")).to_be_in_viewport()


def test_the_pane_goes_with_a_row_that_a_search_leaves_out(run, page):
    run("%load_ext sutro_magic", "%sutro_results job-demo-films")
    table = ready(page, 1)
    pane, info, search = table.locator(".st-pane"), table.locator(".dt-info"), table.locator(".st-search")
    first_row(table).locator("td").nth(1).click()
    expect(pane).to_be_visible()
    table.locator("thead th[data-column]", has_text="year").click()  # an order keeps all rows
    expect(table.locator(".st-status")).to_have_text("")
    expect(pane).to_be_visible()
    search.fill("volcano")
    expect(info).to_contain_text("found among")
    expect(pane).to_be_hidden()
    first_row(table).locator("td").nth(1).click()
    expect(pane).to_be_visible()
    search.fill("volcan")
    expect(table.locator(".st-status")).to_have_text("")
    expect(pane).to_be_visible()


def test_the_pane_of_one_row_by_mouse_and_by_keyboard(run, page, traffic):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    run(
        "%load_ext sutro_magic",
        "%sutro_results job-demo-puzzles --inputs",
        "%sutro_results job-demo-films --raw",
    )
    table = ready(page, 1)
    first_row(table).locator("td").nth(1).click()
    pane = table.locator(".st-pane")
    expect(pane.locator(".st-bar")).to_contain_text("row 0")
    expect(pane).to_contain_text("reasoning_content (how the model got there)")
    picture(page, "pane", table)
    table.locator("tr[data-row='0']").focus()
    page.keyboard.press("ArrowDown")
    expect(pane.locator(".st-bar")).to_contain_text("row 1")
    for _ in range(9):
        page.keyboard.press("ArrowDown")
        expect(table.locator(".st-status")).to_have_text("")
    expect(pane.locator(".st-bar")).to_contain_text("row 10")  # on the next page
    page.keyboard.press("Space")
    expect(table.locator("tr[data-row='10'] .st-tick")).to_be_checked()
    pane.get_by_role("button", name="Copy").first.click()
    expect(pane.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied and copied in pane.inner_text()
    page.keyboard.press("Escape")
    expect(pane).to_be_hidden()

    raw = ready(page, 2)
    first_row(raw).locator("td").nth(1).click()
    laid_out = raw.locator(".st-pane .st-json").first.inner_text()
    assert json.loads(laid_out) and laid_out.count("\n") > 3
    sent = kernel_eval(
        page, "r = %sutro_results job-demo-films --raw\nprint(r.to_pandas().outputs[0])"
    ).strip()
    for clipboard in (
        "",
        "Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })",
    ):
        page.evaluate(f"() => {{ navigator.clipboard.writeText(''); {clipboard} }}")
        raw.locator(".st-pane").get_by_role("button", name="Copy", exact=True).first.click()
        expect(raw.get_by_role("button", name="Copied")).to_be_visible()
        page.evaluate("() => { delete navigator.clipboard }")
        assert page.evaluate("() => navigator.clipboard.readText()") == sent  # as sent, not as laid out
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        expect(raw.locator(".st-bar")).to_contain_text("row 0")
    expect(raw.get_by_role("button", name="◀ previous")).to_be_disabled()
    expect(raw.get_by_role("button", name="next ▶")).to_be_enabled()
    assert len(page.locator(".jp-Cell").all()) == 3  # no key was a command to the notebook
    assert traffic.errors == []


def test_prompts_are_offered_with_their_size_and_fetched(run, page, traffic):
    run("%load_ext sutro_magic", "%sutro_results job-demo-reviews")
    table = ready(page, 1)
    expect(table.locator("th", has_text="inputs")).to_have_count(0)
    table.get_by_role("button", name="Summaries").click()
    table.get_by_role("button", name="Fetch prompts").click()
    expect(table.locator(".st-panel")).to_contain_text("to fetch.")
    table.locator(".st-panel").get_by_role("button", name="Fetch the prompts").click()
    expect(table.locator("th", has_text="inputs")).to_be_visible()
    expect(table.get_by_role("button", name="Fetch prompts")).to_have_count(0)
    expect(table.locator(".dt-info")).to_have_text("rows 1 to 10 of 2,000")
    expect(table.get_by_role("button", name="Summaries")).to_have_attribute("aria-pressed", "true")
    expect(table.locator("th", has_text="label").locator(".st-summary")).to_contain_text("distinct")
    expect(table.locator(".st-search")).to_be_focused()
    assert traffic.errors == []


def test_prompts_whose_size_nobody_says_are_offered_all_the_same(run, page, demo):
    run("%load_ext sutro_magic", "%sutro_results job-demo-reviews")
    table = ready(page, 1)
    demo.set_fault("401")
    table.get_by_role("button", name="Fetch prompts").click()
    expect(table.locator(".st-panel")).to_contain_text("Their size is not known now.")
    expect(table.locator(".st-problem")).to_be_visible()


def test_null_and_the_text_null_are_told_apart_and_spaces_are_seen(run, page):
    values = [None, "null", " ", "  lead", "null", " ", "  lead", None]
    run(MADE, f"t = pa.table({{'txt': {values!r}}})\nshown(t)")
    table = ready(page, 1)
    table.get_by_role("button", name="column txt: sort, filter, hide", exact=True).click()
    panel, chip = table.locator(".st-panel"), table.locator(".st-chip")
    listed = panel.locator(".st-choice")
    expect(listed).to_have_count(4)
    told = {}
    for place in range(4):
        listed.nth(place).locator("input").check()
        expect(chip).to_have_count(1)
        told[listed.nth(place).inner_text().strip().replace("\n", " ")] = chip.inner_text()
        listed.nth(place).locator("input").uncheck()
        expect(chip).to_have_count(0)
    assert told == {
        "∅ 2": "txt is ∅✕",
        "“null” 2": "txt is “null”✕",
        "“ ” 2": "txt is “ ”✕",
        "“  lead” 2": "txt is “  lead”✕",
    }


def test_the_keyboard_goes_on_where_what_had_the_focus_has_gone(run, page):
    run("%load_ext sutro_magic", "%sutro_results job-demo-films")
    table = ready(page, 1)
    table.get_by_role("button", name="column genre: sort, filter, hide", exact=True).click()
    table.locator(".st-panel").get_by_role("button", name="Hide", exact=True).press("Enter")
    expect(table.locator("th[data-column]", has_text="genre")).to_have_count(0)
    expect(table.locator(".st-button").first).to_be_focused()
    table.get_by_role("button", name="Shuffle").click()
    expect(table.locator(".st-chip")).to_have_count(2)
    table.locator(".st-chip button").first.press("Enter")
    expect(table.locator(".st-chip")).to_have_count(1)
    expect(table.locator(".st-chip button")).to_be_focused()
    table.locator(".st-chip button").press("Enter")
    expect(table.locator(".st-search")).to_be_focused()


def test_what_one_was_looking_at_is_still_there_with_the_prompts(run, page, traffic):
    run("%load_ext sutro_magic", "r = %sutro_results job-demo-reviews\nr")
    table = ready(page, 1)
    info, caption = table.locator(".dt-info"), table.locator(".st-caption > div").first
    expect(caption).to_have_text(re.compile(r"^r · Results 2,000 × 2 · (from cache|fetched in .+ s)$"))
    named = caption.text_content()
    assert "(job-demo-reviews)" in table.locator(".st-caption").get_attribute("title")
    expect(table.locator(".sutro-table")).to_have_accessible_description(re.compile(r"\(job-demo-reviews\)"))
    table.get_by_role("button", name="column label: sort, filter, hide", exact=True).click()
    table.locator(".st-choice", has_text="negative").locator("input").check()
    expect(info).to_contain_text("found among 2,000")
    table.locator("th", has_text="confidence").locator(".dt-column-order").click()
    table.locator(".dt-paging-button", has_text="2").first.click()
    expect(info).to_contain_text("rows 11 to 20 of")
    said, row = info.text_content(), first_row(table).get_attribute("data-row")
    table.get_by_role("button", name="Fetch prompts").click()
    table.locator(".st-panel").get_by_role("button", name="Fetch the prompts").click()
    expect(table.locator("th", has_text="inputs")).to_be_visible()
    expect(info).to_have_text(said)
    expect(first_row(table)).to_have_attribute("data-row", row)
    expect(caption).to_have_text(named)
    expect(table.locator(".st-chip")).to_contain_text("label is “negative”")
    table.get_by_label("take this filter away").click()
    expect(info).to_have_text("rows 1 to 10 of 2,000")
    assert traffic.errors == []


def test_the_keys_of_an_order_are_numbered_and_a_name_in_use_is_told(run, page):
    run("%load_ext sutro_magic", "r = %sutro_results job-demo-films\nr")
    table = ready(page, 1)
    for number, name in enumerate(("genre", "year", "score")):
        arrows = table.locator("th", has_text=name).locator(".dt-column-order")
        arrows.click(modifiers=["Shift"] if number else [])
    numbers = table.locator(".st-order")
    expect(numbers).to_have_text(["1", "2", "3"])
    table.locator("th", has_text="year").locator(".dt-column-order").click()
    expect(numbers).to_have_count(0)
    table.get_by_role("button", name="Bind…").click()
    said = table.locator(".st-said")
    named = table.get_by_label("name of the variable")
    for name, words in (
        ("r", "r holds a Results now; Bind replaces it."),
        ("lambda", "is a keyword"),
        ("mine", "mine is not used yet."),
    ):
        named.fill(name)
        expect(said).to_contain_text(words)
    # Enter at once, before anything could be read: it is told first, and replaced at the second time only.
    kernel_eval(page, "kept = 'precious'")
    named.evaluate(
        "node => { node.value = 'kept'; node.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' })) }"
    )
    expect(said).to_have_text("kept holds a str of 8 now; Bind replaces it.")
    assert kernel_eval(page, "print(kept)").strip() == "precious"
    named.press("Enter")
    expect(said).to_have_text("kept · DataFrame 10,000 × 7")
    ticked = table.get_by_label("rows", exact=True).locator("option[value=selected]")
    expect(ticked).to_be_disabled()  # there are none
    table.locator(".st-tick").first.check()
    expect(ticked).to_be_enabled()


def test_what_is_not_seen_is_said(run, page):
    run("%load_ext sutro_magic", "%sutro_results job-demo-films")
    table = ready(page, 1)
    chips, heads = table.locator(".st-chips"), table.locator("thead th[data-column]")
    table.get_by_role("button", name="Columns").click()
    for name in ("genre", "year"):
        table.locator(".st-choice", has_text=name).locator("input").uncheck()
    expect(chips).to_contain_text("2 columns hidden")
    chips.get_by_role("button", name="show all columns").click()
    expect(heads).to_have_count(6)
    expect(chips).to_be_empty()
    table.get_by_role("button", name="Summaries").click()
    expect(chips).to_be_empty()
    table.locator(".st-search").fill("volcano")
    expect(chips).to_have_text("summaries are of all 10,000 rows")


def test_a_column_has_one_filter_and_its_panel_shows_that_one(run, page):
    run("%load_ext sutro_magic", "%sutro_results job-demo-films")
    table = ready(page, 1)
    table.get_by_role("button", name="column genre: sort, filter, hide", exact=True).click()
    panel, chip = table.locator(".st-panel"), table.locator(".st-chip")
    ticks = panel.locator(".st-choice input")
    panel.locator(".st-choice", has_text="comedy").locator("input").check()
    expect(chip).to_contain_text("is “comedy”")
    panel.get_by_label("text").fill("ho")
    panel.get_by_role("button", name="Filter").click()
    expect(chip).to_contain_text("contains “ho”")
    expect(ticks.and_(page.locator(":checked"))).to_have_count(0)
    panel.locator(".st-choice", has_text="drama").locator("input").check()
    expect(chip).to_contain_text("is “drama”")
    expect(panel.get_by_label("text")).to_have_value("")


def test_tables_of_every_shape_and_the_summaries(run, page, traffic):
    run(
        MADE,
        "import datetime, math\n"
        "odd = pa.table({'text': [None, '', 'NaN', 'null', '∅', 'a\\nb'], 'number': [None, math.nan, 1.5, math.inf, -1.0, 0.0],"
        "'big': [2**53 + 1, None, 0, 1, 2, 3], 'list': [[1, 2], [], None, [3], [4], [5]],"
        "'when': [datetime.datetime(2026, 1, 31, 12), None, None, None, None, None]})\nshown(odd)",
        "none = pa.table({'text': pa.array([], pa.string())})\nshown(none)",
        "wide = pa.table({f'column {i}': list(range(50)) for i in range(300)})\nshown(wide)",
        "long = pa.table({'text': ['x' * 1_000_000] * 20})\nt = shown(long)\nt",
    )
    odd = ready(page, 1)
    rows = odd.locator("tbody tr")
    expect(rows.nth(0).locator("td").nth(1).locator("[aria-label=null]")).to_have_text("∅")
    expect(rows.nth(1).locator("td").nth(1).locator("[aria-label='empty text']")).to_have_text('""')
    expect(rows.nth(2).locator("td").nth(1).locator(".st-cell")).to_have_text("NaN")
    expect(rows.nth(1).locator("td").nth(2).locator(".st-null")).to_have_text("NaN")
    expect(rows.nth(3).locator("td").nth(1).locator(".st-cell")).to_have_text("null")
    expect(rows.nth(4).locator("td").nth(1).locator(".st-cell")).to_have_text("∅")
    expect(rows.nth(0)).to_contain_text("9007199254740993")
    expect(rows.nth(0)).to_contain_text("2026-01-31 12:00:00")
    odd.get_by_role("button", name="Summaries").click()
    expect(odd.locator("th", has_text="number").locator(".st-summary")).to_contain_text("1 null (17%), 1 NaN")
    expect(odd.locator("th", has_text="big").locator(".st-bins")).to_be_visible()
    picture(page, "odd", odd)
    expect(ready(page, 2)).to_contain_text("no rows")
    wide = ready(page, 3)
    expect(wide.locator("tbody tr").first.locator("td")).to_have_count(301)
    wide.locator("th", has_text="column 299").scroll_into_view_if_needed()
    expect(wide.locator("th", has_text="column 299")).to_be_in_viewport()
    picture(page, "wide", wide)
    long = ready(page, 4)
    expect(first_row(long)).to_contain_text("… (+999,700)")
    first_row(long).locator("td").nth(1).click()
    expect(long.locator(".st-pane")).to_contain_text("Show all 1,000,000 characters")
    long.get_by_role("button", name="Show all 1,000,000 characters").click()
    expect(long.locator(".st-pane pre")).to_have_text("x" * 1_000_000)
    assert traffic.errors == []


def test_the_first_page_is_there_while_later_cells_run(run, page, lab_server, tmp_path):
    done = tmp_path / "done"
    run("%load_ext sutro_magic")
    notebook(
        lab_server.root / "busy.ipynb",
        [
            "%load_ext sutro_magic",
            "%sutro_demo",
            "%sutro_results job-demo-films",
            f"import pathlib, time\nwhile not pathlib.Path({str(done)!r}).exists(): time.sleep(0.05)",
        ],
    )
    open_notebook(page, lab_server, "busy.ipynb")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    table = cell_output(page, 2)
    expect(table.locator(".st-grid tbody tr").first).to_contain_text("The Ministry of Naps", timeout=30_000)
    expect(table.locator(".dt-info")).to_have_count(0)  # no program yet: its messages wait
    expect(table.locator(".st-foot")).to_have_text("10,000 rows; the rest comes when the kernel is free")
    table.locator(".st-search").fill("volcano")
    done.touch()
    expect(table.locator(".dt-info")).to_contain_text(
        "found among 10,000"
    )  # what was typed meanwhile is asked
    expect(table.locator(".st-foot")).to_have_text("")


def test_it_follows_the_theme(run, page):
    run("%load_ext sutro_magic", "%sutro_results job-demo-films")
    table = ready(page, 1)
    colours = """node => { const c = (e, p) => getComputedStyle(e)[p].match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0);
        return [c(node, 'color'), c(node, 'backgroundColor'), c(node.querySelector('.dt-info'), 'color'), c(node.querySelector('th'), 'backgroundColor')] }"""
    text, back, info, head = table.locator(".sutro-table").evaluate(colours)
    assert max(text, info) < 300 < min(back, head)
    set_theme(page, dark=True)
    text, back, info, head = table.locator(".sutro-table").evaluate(colours)
    assert max(back, head) < 300 < min(text, info)


def test_what_cannot_be_answered_is_said_and_taken_back(run, page, traffic):
    run("%load_ext sutro_magic", "r = %sutro_results job-demo-films\nr")
    table = ready(page, 1)
    info, problem, panel = table.locator(".dt-info"), table.locator(".st-problem"), table.locator(".st-panel")
    year = table.locator("th[data-column]", has_text="year")
    year.locator(".dt-column-order").click()
    expect(first_row(table)).to_contain_text("1950")
    table.locator(".dt-paging-button.next").click()
    expect(info).to_have_text("rows 11 to 20 of 10,000")
    year.locator(".st-menu").click()
    for low, high, said in (
        ("abc", "", "'abc' is not a number. Correct the bound."),
        ("2000", "1990", "No value is between 2000 and 1990. Swap the bounds."),
    ):
        panel.get_by_label("from").fill(low)
        panel.get_by_label("to", exact=True).fill(high)
        panel.get_by_role("button", name="Filter").click()
        expect(problem).to_have_text(said)
        expect(table.locator(".st-chip")).to_have_count(0)
        expect(info).to_have_text("rows 11 to 20 of 10,000")
        expect(year).to_have_attribute("aria-sort", "ascending")
    table.locator(".st-search").fill("volcano")  # goes on as if that had not been asked
    expect(info).to_contain_text("found among 10,000")
    expect(problem).to_be_hidden()
    panel.get_by_label("from").fill("")
    panel.get_by_label("to", exact=True).fill(" ")
    panel.get_by_role("button", name="Filter").click()  # no bounds are no filter
    expect(table.locator(".st-chip")).to_have_count(0)

    table.locator(".st-search").fill("no such film")
    expect(info).to_have_text("no rows found among 10,000")
    table.locator(".st-tick-all").click()
    expect(table.locator(".st-chip")).to_have_count(0)
    go_to_page = table.get_by_label("go to page")
    for typed, said in (
        ("1", "No rows are found, so there is no page."),
        ("words", "words is not a whole number."),
        ("1,5", "1,5 is not a whole number."),
        ("99999999999999999999", "99999999999999999999 is too large."),
    ):
        go_to_page.fill(typed)
        go_to_page.press("Enter")
        expect(problem).to_have_text(said)
    table.locator(".st-search").fill("")
    expect(info).to_have_text("rows 1 to 10 of 10,000")
    for typed in ("0", "-1", "1001"):
        go_to_page.fill(typed)
        go_to_page.press("Enter")
        expect(problem).to_have_text("Pages go from 1 to 1,000.")
    go_to_page.fill("1000")
    go_to_page.press("Enter")
    expect(info).to_have_text("rows 9,991 to 10,000 of 10,000")
    expect(go_to_page).to_have_value("")
    for name in ("go to page", "go to row, by its number"):
        table.get_by_label(name).fill(" ")
        table.get_by_label(name).press("Enter")
    table.locator(".dt-length select").select_option("100")
    expect(info).to_have_text("rows 9,901 to 10,000 of 10,000")
    assert traffic.errors == []


def test_columns_shuffling_and_binding_while_the_table_changes(run, page, traffic):
    run("%load_ext sutro_magic", "r = %sutro_results job-demo-films\nr")
    table = ready(page, 1)
    panel, heads = table.locator(".st-panel"), table.locator("thead th[data-column]")
    columns = table.get_by_role("button", name="Columns")
    columns.click()
    panel.get_by_role("button", name="Hide all").click()
    expect(heads).to_have_count(0)
    table.get_by_role("button", name="Summaries").click()
    panel.get_by_label("genre").check()
    expect(heads).to_have_count(1)
    expect(heads.locator(".st-summary")).to_contain_text("6 distinct")  # it was hidden when summaries came
    panel.get_by_role("button", name="Show all").click()
    expect(heads).to_have_count(6)
    years = table.locator("thead th[data-column]").filter(has_text="year").locator(".st-summary")
    expect(years).to_contain_text("null76 distinct")  # counted: not "about 77"
    panel.get_by_label("genre").focus()
    page.keyboard.press("Escape")
    expect(columns).to_be_focused()
    table.get_by_role("button", name="Summaries").click()

    shuffle, year = (
        table.get_by_role("button", name="Shuffle"),
        table.locator("th[data-column]", has_text="year"),
    )
    shuffle.click()
    expect(table.locator(".st-chip")).to_contain_text("shuffled, seed")
    year.locator(".st-title").click()
    expect(first_row(table)).to_contain_text("1950")
    expect(table.locator(".st-chip")).to_have_count(0)
    shuffle.click()
    expect(table.locator(".st-chip")).to_contain_text("shuffled, seed")
    expect(table.locator("th[aria-sort]")).to_have_count(0)

    table.get_by_role("button", name="Bind…").click()
    rows = panel.get_by_label("rows").locator("option")
    expect(rows).to_have_text(["the 10,000 rows shown", "the 0 rows ticked"])
    table.locator(".st-search").fill("volcano")
    expect(rows.first).not_to_have_text("the 10,000 rows shown")
    table.locator(".st-tick").first.check()
    expect(rows.last).to_have_text("the 1 row ticked")
    for name, said in (
        ("", "The name of the variable is empty."),
        ("class", "'class' is a keyword of Python"),
        ("print", "'print' would hide what Python or IPython calls by that name"),
    ):
        panel.get_by_label("name of the variable").fill(name)
        panel.get_by_label("name of the variable").press("Enter")
        expect(table.locator(".st-problem")).to_contain_text(said)
    assert traffic.errors == []


def test_prompts_come_and_what_is_held_follows(run, page):
    run("%load_ext sutro_magic", "r = %sutro_results job-demo-reviews\nr")
    table = ready(page, 1)
    table.locator(".st-tick").nth(2).check()
    table.get_by_role("button", name="Fetch prompts").click()
    table.get_by_role("button", name="Fetch the prompts").click()
    expect(table.locator("th", has_text="inputs")).to_be_visible()
    expect(table.locator(".st-chip")).to_have_text("1 row ticked✕")
    table.locator(".st-tick").nth(4).check()
    expect_in_kernel(page, "print(r.selected.to_pandas()._row.tolist())", "[2, 4]")


def test_it_can_be_used_by_keyboard_and_says_what_is_what(run, page):
    run(MADE, "shown(pa.table({'only': [3, 1, 2]}))")
    table = ready(page, 1)
    expect(table.get_by_role("table", name="3 rows, one page of them")).to_be_visible()
    head = table.get_by_role(
        "button", name="only: press to sort, with Shift to sort by it as well", exact=True
    )
    head.focus()
    page.keyboard.press("Enter")
    expect(first_row(table)).to_contain_text("1")
    menu = table.get_by_role("button", name="column only: sort, filter, hide", exact=True)
    menu.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # sort downwards
    expect(first_row(table)).to_contain_text("3")
    page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    first_row(table).focus()
    page.keyboard.press("Enter")
    expect(table.get_by_role("region", name="one row")).to_contain_text("row 0")
    page.keyboard.press("ArrowDown")
    expect(table.get_by_role("region", name="one row")).to_contain_text("row 2")
    page.keyboard.press("Escape")
    page.keyboard.press("Space")
    expect(table.get_by_label("tick row 2")).to_be_checked()


def test_a_table_that_was_shown_again_at_once_has_its_program(run, page, lab_server, tmp_path):
    done = tmp_path / "done"
    run(MADE)
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(done)!r}).exists(): time.sleep(0.05)"
    again = "from IPython.display import clear_output\nclear_output()\nshown(table)"
    notebook(
        lab_server.root / "again.ipynb",
        [
            MADE,
            "import time\ntable = pa.table({'a': list(range(50))})\ndisplay(shown(table))\ntime.sleep(1)\n"
            + again,
            wait,
        ],
    )
    open_notebook(page, lab_server, "again.ipynb")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    table = cell_output(page, 1)
    # Both views have asked for the program; the first is gone before any of it comes.
    expect(table.locator(".st-foot")).to_contain_text("50 rows", timeout=30_000)
    page.wait_for_function("() => document.querySelectorAll('.sutro-table').length === 1")
    done.touch()
    expect(table.locator(".dt-info")).to_have_text("rows 1 to 10 of 50", timeout=15_000)


def test_two_tables_keep_apart_and_share_one_bundle(run, page):
    run("%load_ext sutro_magic", "%sutro_results job-demo-films", "%sutro_results job-demo-films")
    one, two = ready(page, 1), ready(page, 2)
    one.locator(".st-search").fill("volcano")
    expect(one.locator(".dt-info")).to_contain_text("found among")
    expect(two.locator(".dt-info")).to_have_text("rows 1 to 10 of 10,000")
    assert page.locator("style[data-from=itables]").count() == 1


def test_a_table_whose_kernel_was_restarted_says_so_and_keeps_its_rows(run, page, lab_server):
    run("%load_ext sutro_magic", "%sutro_results job-demo-films")
    table = ready(page, 1)
    expect(table.locator(".st-dead")).to_be_hidden()
    table.locator(".st-search").fill("volcano")
    expect(table.locator(".dt-info")).to_contain_text("found among")
    table.locator("tr[data-row]").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    expect(table.locator(".st-chip")).to_have_text("1 row ticked✕")
    picture(page, "focused", table)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    expect(table.locator(".st-dead")).to_be_visible()
    expect(table.locator(".st-dead")).to_contain_text("Run the cell again")
    expect(table.locator(".st-chip").first).to_have_text("search “volcano”")
    expect(table.locator(".st-chip button")).to_be_hidden()
    expect(table.locator(".st-grid tbody tr")).to_have_count(10)
    expect(table.locator(".st-tools")).to_be_hidden()
    picture(page, "restarted", table)


def test_a_saved_notebook_stays_small(run, page, lab_server):
    run("%load_ext sutro_magic", *["%sutro_results job-demo-films"] * 5)
    for index in range(1, 6):
        ready(page, index)
    command(page, "docmanager:save")
    assert (lab_server.root / "paged.ipynb").stat().st_size < 300_000


def test_it_works_in_notebook_7(page, traffic, demo, tmp_path):
    if find_chromium() is None:
        pytest.skip(NO_CHROMIUM)
    root = tmp_path / "notebooks"
    root.mkdir()
    with lab(root, notebook7=True) as server:
        notebook(
            root / "seven.ipynb",
            ["%load_ext sutro_magic", "r = %sutro_results job-demo-films\nr", "%sutro_browse"],
        )
        open_notebook(page, server, "seven.ipynb")
        set_kernel_env(
            page,
            {
                "SUTRO_API_URL": demo.url,
                "SUTRO_API_KEY": demo.api_key,
                "SUTRO_MAGIC_CACHE_DIR": str(tmp_path / "cache"),
            },
        )
        run_all(page)
        table = page.locator(".sutro-table")
        expect(table.locator(".dt-info")).to_have_text("rows 1 to 10 of 10,000")
        table.locator("th", has_text="year").locator(".dt-column-order").click()
        expect(table.locator("tbody tr").first).to_contain_text("1950")
        table.locator(".st-search").fill("volcano")
        expect(table.locator(".dt-info")).to_contain_text("found among 10,000")
        table.locator("tbody tr").first.locator("td").nth(1).click()
        expect(table.locator(".st-pane")).to_be_visible()
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / "paged-notebook7.png")

        # It hears of keys before the widgets do: they are no commands all the same.
        cells = page.locator(".jp-Notebook .jp-Cell")
        shown = table.locator(".st-bar b").inner_text()
        for key in ("a", "b", "x", "ArrowDown"):
            page.keyboard.press(key)
        expect(table.locator(".st-bar b")).not_to_have_text(shown)
        page.keyboard.press("Escape")
        expect(table.locator(".st-pane")).to_be_hidden()
        table.locator(".st-search").press("Shift+Enter")
        table.locator("th", has_text="score").locator(".dt-column-order").focus()
        page.keyboard.press("Shift+Enter")
        expect(table.locator(".st-order")).to_have_count(2)  # sorted by it as well
        expect(table.locator(".st-search")).to_have_value("volcano")
        browser = page.locator(".sutro-browser")
        jobs = browser.locator("tr[data-key]")
        jobs.nth(1).click()
        for key in ("a", "x", "ArrowDown"):
            page.keyboard.press(key)
        expect(jobs.nth(2)).to_be_focused()
        browser.get_by_role("button", name="Refresh").focus()
        page.keyboard.press("x")
        expect(cells).to_have_count(3)
    assert external_requests(traffic) == []
